defmodule Alumiini.Git do
  @moduledoc """
  Git for BEAM applications: clone and update repositories, list and read what is in them.

  The work is done by a separate process, the worker `alumiini-git`, which serves all repositories
  at once. It may crash; the BEAM does not notice more than that a call took longer. There is no NIF
  and no `git` command involved.

  ## Getting started

  Put a server into your supervision tree:

      children = [
        Alumiini.Git
      ]

  and call it from any process:

      url = "https://github.com/octocat/Hello-World.git"
      {:ok, sha} = Alumiini.Git.sync(url, "master", "/var/lib/hello")
      {:ok, names} = Alumiini.Git.files("/var/lib/hello", "deploy")
      {:ok, yaml} = Alumiini.Git.read("/var/lib/hello", "deploy/app.yaml")

  Calling `sync/4` again is how a repository is kept current: if there is nothing new, that costs
  one round trip on a connection that is open already (two over SSH, where a repository has more
  than some 50 refs). An `Alumiini.Git.Follower` does that for you, and tells processes what
  changed.

  ## What to expect

    * Calls run concurrently, also on one server. A slow remote delays nobody else. Two syncs of one
      directory run one after the other, and identical ones share the work.
    * Every call ends by its `:timeout`. When a caller dies, its work is stopped.
    * If the worker dies, it is replaced and the calls that were under way are run again; none of
      them fails, except one that ends every worker it is given to (`:worker_exited`).
    * Functions return `{:ok, value}` or `{:error, error}` with an `Alumiini.Git.Error`, and do not
      exit. Only misuse raises (`ArgumentError`: an unknown option, a path that is no string), and a
      function of yours that does (`:progress`, `:auth`). Each has a variant with `!`, which returns
      the value alone, and raises the error.
    * No secret is in any error, log line, telemetry event or file. See `Alumiini.Git.Auth`.

  ## Options

  Those of `start_link/1`, and those that several functions share (`:server`, `:timeout`, `:auth`,
  `:at` and the like), are in `Alumiini.Git.Options`. The others are with their functions.

  ## Several nodes

  A server can be called from any node: `server: {Alumiini.Git, :"git@host"}`. The repositories are
  then on that node's disk, and relative paths are not of use. Run the same version of this library
  on both.

  ## While there is no worker

  A worker that dies is replaced at once. Calls wait, within their timeouts, while one is starting.
  After three starts in a row that failed, and at once if the binary is missing or speaks another
  protocol version, calls are answered with `:worker_unavailable` or `:protocol` and the cause,
  until a start succeeds. Attempts go on, with growing pauses.

  Events for metrics and logs are documented in `Alumiini.Git.Telemetry`, and what there is for
  tests in `Alumiini.Git.Test`.
  """

  @behaviour Alumiini.Git.Behaviour

  import Alumiini.Git.Bang, only: [bang: 1]

  alias Alumiini.Git.{Change, Commit, Error, Export, Info, Lease, Ops, Options, Ref}
  alias Alumiini.Git.{Server, Snapshot, Status, Update}

  @typedoc """
  What to sync or to ask for. Names are bytes, as they are to Git, and need not be UTF-8. See "Refs"
  at `sync/4`.
  """
  @type ref ::
          String.t()
          | {:branch, String.t()}
          | {:tag, String.t()}
          | {:semver, String.t()}
          | {:semver, String.t(), [Options.semver()]}
          | {:commit, String.t()}
          | {:ref, String.t()}
          | :default

  @typedoc "The id of a commit, in hex."
  @type sha :: String.t()

  @typedoc "See `Alumiini.Git.Error`."
  @type reason :: Error.reason()

  @typedoc """
  How far a call is, as a `:progress` function gets it.

  `phase` is `:connect` (no numbers are known yet), `:receive` (`done` of `total` objects, `bytes`
  of the pack so far), `:index` (deltas) or `:checkout` (files). Not every phase occurs in every
  call.
  """
  @type progress :: %{
          phase: :connect | :receive | :index | :checkout,
          done: non_neg_integer,
          total: non_neg_integer,
          bytes: non_neg_integer
        }

  @doc """
  A child specification. Its id is the `:name`, so several servers fit under one supervisor:

      children = [
        Alumiini.Git,
        {Alumiini.Git, name: MyApp.OtherGit, max_pending: 100}
      ]
  """
  @spec child_spec([Options.start()]) :: Supervisor.child_spec()
  def child_spec(options) do
    # Wrong options are for start_link/1 to refuse.
    name = if Keyword.keyword?(options), do: options[:name]

    %{
      id: name || __MODULE__,
      start: {__MODULE__, :start_link, [Options.Check.seal(options)]},
      type: :worker
    }
  end

  @doc """
  Starts a server, linked to the caller. It does not wait for its worker, and a worker that cannot
  be started does not take it down: calls then tell why.

  The options are in `Alumiini.Git.Options`, "Of a server". Raises `ArgumentError` for an option
  that is unknown or has a wrong value.
  """
  @spec start_link([Options.start()]) :: GenServer.on_start()
  def start_link(options \\ []), do: options |> Options.Check.start!() |> Server.start_link()

  @doc """
  Makes `path` equal to the newest commit of `ref` at `url`, and returns that commit's id.

  If `path` is absent or empty, the repository is cloned there. Otherwise the remote is asked what
  is new, only that is fetched, and the working tree follows, also when the remote was force-pushed,
  or when `url`, `ref` or the depth are not those of the last call. Files that somebody changed,
  deleted or added in the working tree of a repository that this library cloned are put right even
  if there is nothing new.

  `url` is an `https://`, `http://`, `ssh://` or `file://` URL, `user@host:path` for SSH, or a local
  path. It may hold credentials (`https://user:password@host/…`, percent-encoded); they are taken
  out before anything else happens.

  An integer as the last argument is the depth: `sync(url, "main", path, 1)` is
  `sync(url, "main", path, depth: 1)`.

  ## Refs

    * `"main"`, `{:branch, "main"}` - a branch. HEAD is on the branch of that name
    * `:default` - the branch that the remote's HEAD names
    * `{:tag, "v1.2.3"}` - a tag. Of an annotated one the commit is what is synced
    * `{:semver, "~> 1.2"}` - the tag of the newest version that the requirement takes, as `Version`
      of Elixir reads both. A tag may begin with `v`. Of tags for the same version (with and without
      `v`, or with other build metadata) it is the one whose name comes last.
      `{:semver, requirement, options}` takes these:
        * `prefix: "app-"` - only tags that begin like this, and the version is what follows
        * `filter: ~r/…/` - only tags whose names match
        * `pre: true` - pre-releases, too. Without it they count only where the requirement names
          one
    * `{:commit, sha}` - a commit, by its full id. Where the repository has it, the remote is not
      asked. A server that does not give commits by id is asked for its branches and tags, deeper
      and deeper, until one leads to the commit
    * `{:ref, "refs/pull/7/head"}` - any ref, by its full name

  HEAD is detached for all but the first two. A path may be synced to one kind after another.

  ## Options

    * `:depth` - how many commits of history to have, or `:infinity` for all. Default: 1
    * `:force` - overwrite local changes and commits in a repository that this library did not clone
      (one that it did is always overwritten). Default: `false`
    * `:hint` - the full id of a commit that the ref may be at by now, as a webhook says: it is
      fetched while the remote is asked what the ref is at, rather than after that. It is never
      believed: where the ref is at another commit, that is what is synced
    * `:keep` - how many of the commits that were synced stay readable, the newest among them, in a
      repository that this library cloned: their objects are kept when newer ones arrive. Default:
      2, at most 1,000
    * `:paths` - only these directories and files, as a list of their paths from the top. See "Some
      paths of a repository". Default: all
    * `:ignore` - without the files that these patterns take, as a list of lines of a `.gitignore`,
      or the text of a file such as Flux's `.sourceignore`. They are not fetched either, as with
      `:paths`. Default: none
    * `:working_tree` - with `false` no file is checked out: `path` holds `.git` and nothing else,
      and `head/2`, `files/3` and `read/3` answer from the commit itself, the same as with a working
      tree. See "Without a working tree". Default: `true`
    * `:progress` - a function that is called, in the calling process, with a `t:progress/0` now and
      then. If it raises, the work is stopped and the call raises the same
    * `:auth`, `:allow_insecure`, `:tls`, `:proxy`, `:no_proxy` - see `Alumiini.Git.Options`
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Without a working tree

  Who reads with `files/3` and `read/3` only, as a controller does, needs no files on disk. With
  `working_tree: false` nothing is written but what was fetched, a sync with nothing new looks at no
  file but those of `.git`, and nobody can change what is read. A read is of one commit, whatever is
  synced meanwhile. `checkout/3` moves HEAD, and what is read with it. To Git it is a bare
  repository: `git -C path log` works, `git -C path status` tells that there is no working tree.

  A sync without the option checks out; one with it takes away what was checked out, and whatever
  else lay there. What somebody puts beside `.git` after that is neither looked at nor touched. A
  repository that this library did not clone keeps its working tree: `:unsupported`, and nothing is
  touched.

  ## Some paths of a repository

  With `paths: ["deploy/", "charts/app"]` a repository has what is at and below these paths, and
  nothing else: for a monorepo, of which one directory is read. From a server that can filter
  (GitHub, GitLab, Gitea, Forgejo, Bitbucket, and Git's own with `uploadpack.allowFilter`) the first
  request brings commits and directories without any content of files, the second one the files at
  the paths. Where nothing changed there, the second is not made, and `update/4` says
  `changed?: false` with the new commit. Another server sends all, and the working tree is the same:
  `mix alumiini_git.doctor URL` tells which it is.

  To Git the repository is a partial, sparse clone: `git status` and `git fsck` find nothing to
  complain of, and `git checkout` fetches what it needs.

  The next sync may have other paths: what is new among them is fetched, and what is left out goes.
  Without the option all of the repository is fetched anew. `files/3`, `read/3`, `snapshot/3` and
  `export/3` know what is at the paths; to ask for something else is a `:path_not_found` that says
  so. `diff/4` and `log/2` see all paths. Of commits with other paths than those that they were
  synced with, not all files may be there.

  There may be 16,384 paths, of 64 KiB together with the rules.

  A path that is not in the commit is no error: it may come. A repository that this library did not
  clone takes no paths: `:unsupported`.

  ## Errors

  Among others: `:ref_not_found` (`detail.near` has similar names; what is at `path` stays),
  `:occupied` and `:dirty` (`path` holds something else, or local work; nothing was touched),
  `:auth`, `:host_key`, `:repo_not_found`, `:network`, `:certificate`, `:timeout`.

  ## Examples

      iex> Alumiini.Git.sync("https://git.example.com/team/app.git", "main", "/var/lib/app")
      {:ok, "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"}

      auth = Alumiini.Git.Auth.token(System.fetch_env!("GIT_TOKEN"))

      Alumiini.Git.sync(url, "main", path,
        auth: auth,
        depth: :infinity,
        timeout: 60_000,
        progress: fn p -> IO.puts("\#{p.phase} \#{p.done}/\#{p.total}") end
      )
  """
  @spec sync(String.t(), ref, Path.t(), pos_integer | [Options.sync()]) ::
          {:ok, sha} | {:error, Error.t()}
  def sync(url, ref, path, depth_or_options \\ 1)

  def sync(url, ref, path, depth) when is_integer(depth), do: sync(url, ref, path, depth: depth)

  def sync(url, ref, path, options), do: Ops.Sync.run(url, ref, path, options)

  @doc """
  The same as `sync/4`, told in full: an `Alumiini.Git.Update` that says whether there was something
  new, what was there before, and what came over the network.

  Takes the options of `sync/4`, and the depth among them.

  ## Errors

  Those of `sync/4`.

  ## Examples

      iex> url = "https://git.example.com/team/app.git"
      iex> {:ok, update} = Alumiini.Git.update(url, {:semver, "~> 1.2"}, "/var/lib/app")
      iex> {update.changed?, update.ref}
      {true, "refs/tags/v1.2.3"}
  """
  @spec update(String.t(), ref, Path.t(), [Options.sync()]) ::
          {:ok, Update.t()} | {:error, Error.t()}
  def update(url, ref, path, options \\ []), do: Ops.Update.run(url, ref, path, options)

  @doc """
  The names of the YAML files in a directory of a repository: those that end in `.yaml` or `.yml`
  and are not hidden, not those in directories below it. Sorted by bytes, relative to that
  directory.

  `subpath` is the directory, relative to `path`; `nil` is `path` itself, and it may be left out
  before options. This looks at the working tree, and any directory will do for `path`; in a
  repository, nothing outside of it can be reached. With `:at` it looks at a commit instead.

  A name that is not UTF-8 is returned as the bytes it consists of.

  ## Options

    * `:recursive` - also those in directories below it, hidden ones left out, with their paths from
      that directory. Default: `false`
    * `:at`, `:match`, `:ignore` - see `Alumiini.Git.Options`. With `:match` it is the files that it
      takes, whatever their names end in, hidden ones among them
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:path_not_found`, `:unsafe_path`, `:too_large` (names of more than 16 MiB, or links
  without end), `:incomplete` (a sync was interrupted in a way that only the next one can mend);
  with `:at`: `:ref_not_found`, `:not_a_repository`.

  ## Examples

      iex> Alumiini.Git.files("/var/lib/app", "deploy")
      {:ok, ["configmap.yaml", "deployment.yaml"]}

      iex> Alumiini.Git.files("/var/lib/app", at: "HEAD~1", recursive: true, match: "*.json")
      {:ok, ["dashboards/app.json"]}
  """
  @spec files(Path.t(), Path.t() | nil | [Options.files()], [Options.files()]) ::
          {:ok, [binary]} | {:error, Error.t()}
  def files(path, subpath \\ nil, options \\ [])

  def files(path, options, []) when is_list(options), do: files(path, nil, options)

  def files(path, subpath, options), do: Ops.Files.run(path, subpath, options)

  @doc """
  The content of a file in a repository, byte for byte.

  `file` is relative to `path`. This looks at the working tree, and any directory will do for
  `path`. With `:at` it looks at a commit instead. Symbolic links are followed while they stay
  inside of it; nothing outside and nothing in `.git` can be read.

  ## Options

    * `:at` - see `Alumiini.Git.Options`
    * `:max_bytes` - a file that is larger is answered with `:too_large`. Default: 16 MiB, at most
      64 MiB
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:path_not_found`, `:unsafe_path`, `:too_large`, `:incomplete` (see `files/3`); with
  `:at`: `:ref_not_found`, `:not_a_repository`.

  ## Examples

      iex> Alumiini.Git.read("/var/lib/app", "deploy/configmap.yaml")
      {:ok, "kind: ConfigMap\\n"}

      iex> Alumiini.Git.read("/var/lib/app", "deploy/configmap.yaml", at: "HEAD~1")
      {:ok, "kind: Secret\\n"}
  """
  @spec read(Path.t(), Path.t(), [Options.read()]) :: {:ok, binary} | {:error, Error.t()}
  def read(path, file, options \\ []), do: Ops.Read.run(path, file, options)

  @doc """
  The commit that HEAD of a repository is at, as an `Alumiini.Git.Commit`.

  ## Options

    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:path_not_found`, `:not_a_repository`, `:too_large` (a commit of more than 4 MiB),
  `:ref_not_found` (HEAD is on a branch without a commit).

  ## Examples

      iex> {:ok, commit} = Alumiini.Git.head("/var/lib/app")
      iex> {commit.author, DateTime.from_unix!(commit.timestamp)}
      {"Grace Hopper", ~U[2024-05-01 12:00:00Z]}
  """
  @spec head(Path.t(), [Options.call()]) :: {:ok, Commit.t()} | {:error, Error.t()}
  def head(path, options \\ []), do: Ops.Head.run(path, options)

  @doc """
  Makes the working tree equal to a commit that the repository has, and returns its id. HEAD is
  detached there; no branch is moved. The next `sync/4` puts HEAD back on its branch.

  `rev` is the id of a commit, or the name of a branch or tag that the repository has. Nothing is
  fetched: after a sync with depth 1 there is one commit.

  ## Options

    * `:force` - overwrite local changes in a repository that this library did not clone. Default:
      `false`
    * `:progress` - see `sync/4`
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:not_a_repository`, `:dirty`.

  ## Examples

      iex> Alumiini.Git.checkout("/var/lib/app", "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d")
      {:ok, "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"}
  """
  @spec checkout(Path.t(), String.t(), [Options.checkout()]) :: {:ok, sha} | {:error, Error.t()}
  def checkout(path, rev, options \\ []), do: Ops.Checkout.run(path, rev, options)

  @doc """
  The id of the commit that a remote has for a ref, without fetching anything.

  `ref` is `"HEAD"`, the name of a branch, a full name such as `"refs/heads/main"`, or one of the
  forms that `sync/4` takes ("Refs"), but for `{:commit, sha}`. Of an annotated tag it is the commit
  that the tag is of.

  ## Options

    * `:auth`, `:allow_insecure`, `:tls`, `:proxy`, `:no_proxy` - see `Alumiini.Git.Options`
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:auth`, `:host_key`, `:repo_not_found`, `:network`,
  `:certificate`.

  ## Examples

      iex> Alumiini.Git.ls_remote("https://git.example.com/team/app.git", {:tag, "v1.0.0"})
      {:ok, "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"}
  """
  @spec ls_remote(String.t(), ref | [Options.ls_remote()], [Options.ls_remote()]) ::
          {:ok, sha} | {:error, Error.t()}
  def ls_remote(url, ref \\ "HEAD", options \\ [])

  def ls_remote(url, options, []) when is_list(options), do: ls_remote(url, "HEAD", options)

  def ls_remote(url, ref, options), do: Ops.LsRemote.run(url, ref, options)

  @doc """
  The refs that a remote has, as a list of `Alumiini.Git.Ref` sorted by name, without fetching
  anything.

  ## Options

    * `:prefix` - only refs whose full names begin like this: a string such as `"refs/tags/v1."`,
      or a list of at most 256. Servers that know protocol version 2 send only those; without it all
      are sent, which may be many. Default: all refs
    * `:max_bytes` - a list whose names and ids have more bytes is answered with `:too_large`. Each
      byte takes some 40 of memory here while the list is made. Default: 4 MiB, some 40,000 refs; at
      most 64 MiB
    * `:auth`, `:allow_insecure`, `:tls`, `:proxy`, `:no_proxy` - see `Alumiini.Git.Options`
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:auth`, `:host_key`, `:repo_not_found`, `:network`, `:certificate`, `:too_large`
  (see `:max_bytes`).

  ## Examples

      iex> Alumiini.Git.refs("https://git.example.com/team/app.git", prefix: "refs/tags/")
      {:ok,
       [
         %Alumiini.Git.Ref{
           name: "refs/tags/v1.0.0",
           sha: "9fceb02d0ae598e95dc970b74767f19372d61af8",
           peeled: "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d",
           symref_target: nil
         }
       ]}
  """
  @spec refs(String.t(), [Options.refs()]) :: {:ok, [Ref.t()]} | {:error, Error.t()}
  def refs(url, options \\ []), do: Ops.Refs.run(url, options)

  @doc """
  All matching files of one commit, with their contents, in one call: an `Alumiini.Git.Snapshot`.

  It is read from the object database, never from the working tree: it is one commit, whole,
  whatever is synced meanwhile. Symbolic links are told as links and not followed, submodules with
  their commit, pointers of Git LFS as such.

  `subpath` is a directory of the commit; `nil` is its top, and it may be left out before options.
  The paths of files are from the top in any case.

  ## Options

    * `:at`, `:match`, `:ignore` - see `Alumiini.Git.Options`
    * `:known` - the ids (`oid`) of contents that the caller has already, as a list or a `MapSet`:
      files with these come without their content. Ids that nothing has do no harm. Default: none
    * `:content` - with `false` no file comes with its content. Default: `true`
    * `:max_bytes` - contents that are larger altogether are answered with `:too_large`; those that
      are known count nothing. Default: 64 MiB, at most 4 GiB. One file may have 64 MiB
    * `:max_files` - more files are answered with `:too_large`. Default: 100,000, at most 1,000,000
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:path_not_found` (no such directory in the commit),
  `:not_a_repository`, `:too_large` (its message says which limit, and how to ask for less),
  `:unsafe_path` (a commit that no working tree can hold), `:corrupt`.

  ## Examples

      iex> {:ok, snapshot} = Alumiini.Git.snapshot("/var/lib/app", "deploy", match: "*.yaml")
      iex> for file <- snapshot.files, do: {file.path, file.content}
      [{"deploy/app.yaml", "kind: Deployment\\n"}, {"deploy/base/app.yaml", "kind: Service\\n"}]
  """
  @spec snapshot(Path.t(), Path.t() | nil | [Options.snapshot()], [Options.snapshot()]) ::
          {:ok, Snapshot.t()} | {:error, Error.t()}
  def snapshot(path, subpath \\ nil, options \\ [])

  def snapshot(path, options, []) when is_list(options), do: snapshot(path, nil, options)

  def snapshot(path, subpath, options), do: Ops.Snapshot.run(path, subpath, options)

  @doc """
  What differs between two commits: a list of `Alumiini.Git.Change`, sorted by path.

  `from` and `to` are revisions as `:at` takes them (`Alumiini.Git.Options`). A commit has to be in
  the repository: after a sync, the one before is (see `:keep` at `sync/4`).

  ## Options

    * `:paths` - only these files and directories, with all that is in them: one path from the top,
      or a list. Default: all
    * `:match`, `:ignore` - see `Alumiini.Git.Options`
    * `:renames` - with `true`, a file that was deleted and one that was added with the same or a
      similar content are one change, as with `git diff -M`. Default: `false`
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:not_a_repository`, `:too_large` (more than 100,000 changes),
  `:unsafe_path`, `:corrupt`.

  ## Examples

      iex> {from, to} = {update.previous, update.sha}
      iex> {:ok, changes} = Alumiini.Git.diff("/var/lib/app", from, to, paths: "deploy")
      iex> for change <- changes, do: {change.status, change.path}
      [{:modified, "deploy/app.yaml"}, {:deleted, "deploy/old.yaml"}]
  """
  @spec diff(Path.t(), String.t(), String.t(), [Options.diff()]) ::
          {:ok, [Change.t()]} | {:error, Error.t()}
  def diff(path, from, to, options \\ []), do: Ops.Diff.run(path, from, to, options)

  @doc """
  The commits that lead to one, itself among them, as a list of `Alumiini.Git.Commit`: the newest
  first, as `git log` orders them.

  A clone has as much history as its depth: without `depth: :infinity`, or a number, at `sync/4`, it
  is one commit.

  ## Options

    * `:from` - the commit, as `:at` has it (`Alumiini.Git.Options`). Default: HEAD
    * `:limit` - how many commits at most. Default: 100, at most 100,000
    * `:path` - only the commits that changed this file, or anything in this directory, as
      `git log -- path` shows them. Default: all
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:not_a_repository`, `:too_large`, `:corrupt`.

  ## Examples

      iex> {:ok, commits} = Alumiini.Git.log("/var/lib/app", limit: 2, path: "deploy/app.yaml")
      iex> for commit <- commits, do: {commit.author, commit.message}
      [{"Grace Hopper", "Scale up\\n"}, {"Ada Lovelace", "Add the app\\n"}]
  """
  @spec log(Path.t(), [Options.log()]) :: {:ok, [Commit.t()]} | {:error, Error.t()}
  def log(path, options \\ []), do: Ops.Log.run(path, options)

  @doc """
  Writes the files of one commit to `dest`, for other programs (helm, kustomize), and returns an
  `Alumiini.Git.Export`.

  `dest` is a directory, or with `format: :tar_gz` an archive; it is outside of any working tree. It
  is written in a directory beside it, `.<name>.alumiini`, and put into its place by one rename: who
  reads there finds all of what was there before, or all of the new, never half of it, also where
  the worker is killed. What that left goes with the next export. The directory beside stays.

  Files are the committed bytes, and executable where the commit says so. Symbolic links are made as
  they are in the commit. A submodule is an empty directory.

  ## Options

    * `:at`, `:match`, `:ignore` - see `Alumiini.Git.Options`
    * `:subpath` - only what is in this directory of the commit, with paths from there. Default: its
      top
    * `:format` - `:directory` or `:tar_gz`. An archive of the same files is the same, byte for
      byte, wherever it is made, so that it can be served by its digest. Default: `:directory`
    * `:link` - with `true`, `dest` is a symbolic link to a directory in the one beside it, and it
      is the link that is replaced, as git-sync does it. A program that opened the directory before
      goes on reading there. Default: `false`
    * `:grace` - for how many milliseconds a directory that was replaced stays for the programs that
      still read there. Default: 0, at most a day
    * `:max_bytes` - files that are larger altogether are answered with `:too_large`. Default:
      4 GiB, at most 1 TiB
    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found`, `:path_not_found`, `:not_a_repository`, `:occupied` (at `dest` is
  something that no export put there; nothing was touched), `:unsafe_path` (`dest` is in a working
  tree), `:too_large`, `:unsupported` (a file system that cannot exchange two directories; a link it
  can), `:io`.

  ## Examples

      iex> {:ok, export} = Alumiini.Git.export("/var/lib/app", "/run/chart", subpath: "chart")
      iex> {export.digest, export.files}
      {"sha256:cf5e7eb3b9b8b6f1d8a09a06d4a26d4a3b4b8e0f1c3f0c5f4c9c9d4d1c3f6f4e", 12}
  """
  @spec export(Path.t(), Path.t(), [Options.export()]) :: {:ok, Export.t()} | {:error, Error.t()}
  def export(path, dest, options \\ []), do: Ops.Export.run(path, dest, options)

  @doc """
  What differs from the commit that HEAD is at in the working tree: a list of `Alumiini.Git.Status`,
  sorted by path. Nothing is put right, and nothing is written: the next `sync/4` does that.

  What a `.gitignore` names is untracked here in a working tree that this library made, where it is
  in the way like anything else. In a repository of somebody's own it is left out.

  ## Options

    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:not_a_repository`, `:unsupported` (there is no working tree), `:ref_not_found`
  (HEAD is on a branch without a commit), `:incomplete`, `:too_large`.

  ## Examples

      iex> {:ok, drift} = Alumiini.Git.status("/var/lib/app")
      iex> for one <- drift, do: {one.status, one.path}
      [{:modified, "deploy/app.yaml"}, {:untracked, "deploy/app.yaml.orig"}]
  """
  @spec status(Path.t(), [Options.call()]) :: {:ok, [Status.t()]} | {:error, Error.t()}
  def status(path, options \\ []), do: Ops.Status.run(path, options)

  @doc """
  Keeps a commit readable for as long as the calling process lives, or until `release/2`: returns an
  `Alumiini.Git.Lease`.

  A repository that this library cloned keeps the objects of the last commits that were synced (see
  `:keep` at `sync/4`) and drops others when it is repacked. Those of a commit with a lease stay,
  whatever is synced meanwhile, so that `snapshot/3`, `read/3` and the others can be asked for it
  with `:at`.

  The lease outlives workers that die and a server that is restarted under its name. If the whole
  BEAM ends, or the node of the caller cannot be reached, it ends, too: at the latest an hour later.
  Each call is a lease of its own, also of the same commit.

  ## Options

    * `:server`, `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:ref_not_found` (the repository does not have the commit, or not any more),
  `:not_a_repository`, `:unsupported` (this library did not clone it: what stays there is up to its
  owner).

  ## Examples

      iex> sha = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
      iex> {:ok, lease} = Alumiini.Git.lease("/var/lib/app", sha)
      iex> Alumiini.Git.release(lease)
      :ok
  """
  @spec lease(Path.t(), sha, [Options.call()]) :: {:ok, Lease.t()} | {:error, Error.t()}
  def lease(path, sha, options \\ []), do: Ops.Lease.run(path, sha, options)

  @doc """
  Ends a lease before its process ends. To release it again, or from another process, is fine.

  ## Options

    * `:timeout`, `:telemetry_metadata` - see `Alumiini.Git.Options`

  ## Errors

  Those that any call may have. The lease is then still there, and ends with its process.
  """
  @spec release(Lease.t(), [{:timeout, pos_integer} | {:telemetry_metadata, map}]) ::
          :ok | {:error, Error.t()}
  def release(lease, options \\ []), do: Ops.Release.run(lease, options)

  @doc """
  What a server does, in numbers: calls that wait and that are under way, its workers, and with
  `hosts: true` what is asked of each host, what waits there and why.

      {:ok, info} = Alumiini.Git.info()
      info.pending

      {:ok, %{hosts: hosts}} = Alumiini.Git.info(Alumiini.Git, hosts: true)
      for host <- hosts || [], host.waiting > 0, do: {host.host, host.waiting, host.repositories}

  The server answers from what it knows, so it does not matter what a worker is doing. Only `hosts`
  are asked for at the worker; where it does not tell in time, they are `nil`. Nothing here is a
  secret, so it may go into logs and metrics.

  `server` is what `:server` is to other calls. There are no telemetry events of this.

  ## Options

    * `:hosts` - whether to ask the worker for `hosts`: those at which something is under way or
      waits, that are left alone for now, could not be reached, or have repositories that fail; at
      most 256. Default: `false`
    * `:timeout` - in milliseconds. Default: 1,000

  ## Errors

  `:worker_unavailable` where there is no such server, and `:timeout`.
  """
  @spec info(GenServer.server(), [Options.info()]) :: {:ok, Info.t()} | {:error, Error.t()}
  def info(server \\ Alumiini.Git, options \\ []), do: Server.Look.run(server, options)

  ## The same, for who wants the value or an exception

  @spec sync!(String.t(), ref, Path.t(), pos_integer | [Options.sync()]) :: sha
  bang sync!(url, ref, path, depth_or_options \\ 1)

  @spec update!(String.t(), ref, Path.t(), [Options.sync()]) :: Update.t()
  bang update!(url, ref, path, options \\ [])

  @spec files!(Path.t(), Path.t() | nil | [Options.files()], [Options.files()]) :: [binary]
  bang files!(path, subpath \\ nil, options \\ [])

  @spec read!(Path.t(), Path.t(), [Options.read()]) :: binary
  bang read!(path, file, options \\ [])

  @spec head!(Path.t(), [Options.call()]) :: Commit.t()
  bang head!(path, options \\ [])

  @spec checkout!(Path.t(), String.t(), [Options.checkout()]) :: sha
  bang checkout!(path, rev, options \\ [])

  @spec ls_remote!(String.t(), ref | [Options.ls_remote()], [Options.ls_remote()]) :: sha
  bang ls_remote!(url, ref \\ "HEAD", options \\ [])

  @spec refs!(String.t(), [Options.refs()]) :: [Ref.t()]
  bang refs!(url, options \\ [])

  @spec snapshot!(Path.t(), Path.t() | nil | [Options.snapshot()], [Options.snapshot()]) ::
          Snapshot.t()
  bang snapshot!(path, subpath \\ nil, options \\ [])

  @spec diff!(Path.t(), String.t(), String.t(), [Options.diff()]) :: [Change.t()]
  bang diff!(path, from, to, options \\ [])

  @spec log!(Path.t(), [Options.log()]) :: [Commit.t()]
  bang log!(path, options \\ [])

  @spec export!(Path.t(), Path.t(), [Options.export()]) :: Export.t()
  bang export!(path, dest, options \\ [])

  @spec status!(Path.t(), [Options.call()]) :: [Status.t()]
  bang status!(path, options \\ [])

  @spec lease!(Path.t(), sha, [Options.call()]) :: Lease.t()
  bang lease!(path, sha, options \\ [])

  @spec release!(Lease.t(), [{:timeout, pos_integer} | {:telemetry_metadata, map}]) :: :ok
  bang release!(lease, options \\ [])

  @spec info!(GenServer.server(), [Options.info()]) :: Info.t()
  bang info!(server \\ Alumiini.Git, options \\ [])
end
