defmodule Alumiini.Git.Follower do
  @moduledoc """
  Follows a ref of a remote, and tells processes what changed, by path.

  Put one into your supervision tree, beside the server that it uses:

      children = [
        Alumiini.Git,
        {Alumiini.Git.Follower,
         name: Shop.Follower,
         url: "https://git.example.com/shop.git",
         ref: "main",
         path: "/var/lib/shop"}
      ]

  and subscribe to what a process cares for:

      {:ok, current} = Alumiini.Git.Follower.subscribe(Shop.Follower, ["deploy/", "charts/app"])

  From then on that process gets a message for each move of the ref that changes something there,
  and none for others:

      receive do
        {:alumiini_git, Shop.Follower, %Alumiini.Git.Update{} = update} ->
          for change <- update.changes, do: {change.status, change.path}
      end

  ## Messages

  `{:alumiini_git, follower, update}`, where `follower` is what was subscribed to, a pid or a name,
  as it was given. Of the `Alumiini.Git.Update`

    * `sha` is the commit that the ref is at, and what `path` holds,
    * `previous` is the commit that this subscriber was told of before, or did not have to be told
      of: `changes` is what differs between the two,
    * `changes` is a list of `Alumiini.Git.Change`, of what was subscribed to only; or `:all` where
      anything may have changed: the first time, and where the commit before cannot be read any more
      (the repository was repaired, or `since:` names a commit that is gone).

  The state of the ref is what counts. Moves that come quickly may be one message, from the commit
  last told to the newest. That one is always told, and none is told twice. A force-push, and a ref
  that goes back to an older commit, are moves as any other. Who subscribed to `:all` is told of
  each move, also of one that changes no file.

  A message is sent when the commit can be read. A reader that is slow can find that the ref is
  further on: read with `at: update.sha`, which stays readable for as long as `:keep` says (see
  `Alumiini.Git.sync/4`), or take a lease (`Alumiini.Git.lease/3`).

  ## What is shared

  Followers of one server that are equal in URL, ref, path and options share one poll and one
  directory, however many there are. With nothing new that is one request in an interval: the
  shortest of theirs. So it does not matter whether a thousand processes subscribe to one follower,
  or each has its own. Followers of one URL at several refs or paths poll each for itself; the
  server asks a question once that several ask at the same time.

  A path belongs to one URL, ref and set of options: `start_link/1` of a follower that has others
  for a path that is followed already returns `{:error, error}`, with the reason `:occupied`.

  ## When it polls

  The first time at once; of many that are started together, 200 begin in each second. From then on
  in each interval, which varies by a tenth to either side. After an error that may go away by
  itself it polls again after a second, then less and less often, down to once in `:backoff_max`.
  After an error that somebody has to put right (`:auth`, `:ref_not_found`, …) it waits for longer
  than the interval from the start; it never gives up. A server that names a time (`Retry-After`) is
  not asked before.

  `poke/2` makes it poll at once: see the guide [Following repositories](following.md).

  ## What it outlives

  Its worker, its server and its network. It monitors the server's part, and comes back when a
  server is there again. Subscriptions stay, and nothing is lost or told twice. When the follower
  itself ends, so do its subscriptions: monitor it, and subscribe again with the commit that was
  last told.

      Alumiini.Git.Follower.subscribe(Shop.Follower, "deploy", since: state.sha)

  ## Where it runs

  A follower holds the subscriptions, and sends the messages. The polls are made, and changes found
  and filtered, by processes beside the server, on its node: there `path` is, and a function given
  as `:auth` is called.
  """

  alias Alumiini.Git.{Options, Update}
  alias Alumiini.Git.Follower.{Paths, Publisher, Settings, Source, Status}
  alias Alumiini.Git.Options.Value
  alias Alumiini.Git.Server.Shared

  @type follower :: GenServer.server()

  @typedoc """
  An option of `start_link/1`. Those that are not there are documented at `Alumiini.Git.sync/4` and
  in `Alumiini.Git.Options`.
  """
  @type option ::
          {:url, String.t()}
          | {:ref, Alumiini.Git.ref()}
          | {:path, Path.t()}
          | {:name, GenServer.name()}
          | {:interval, pos_integer}
          | {:backoff_max, pos_integer}
          | Options.sync()

  @typedoc "An option of `subscribe/3`."
  @type subscribe ::
          {:since, Alumiini.Git.sha() | nil} | {:errors, boolean} | {:timeout, pos_integer}

  @doc """
  A child specification. Its id is the `:name`, or else made of URL, ref and path, so several
  followers fit under one supervisor. What may be secret is kept out of what a supervisor logs.
  """
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Settings.id(options),
      start: {__MODULE__, :start_link, [Settings.seal(options)]},
      type: :worker
    }
  end

  @doc """
  Starts a follower, linked to the caller. It does not wait for its first poll, nor for a server.

  ## Options

    * `:url`, `:ref`, `:path` - what to follow, and where to keep it, as `Alumiini.Git.update/4` has
      them. Required
    * `:name` - what to register it as: an atom, `{:global, term}` or `{:via, module, term}`
    * `:interval` - from one poll to the next, in milliseconds. Default: 30,000
    * `:backoff_max` - the longest pause after errors, in milliseconds. Default: 600,000
    * `:working_tree` - default: `false`, unlike that of `Alumiini.Git.sync/4`. Nothing is checked
      out: a poll looks at no file, and reads answer from the commit
    * `:paths`, `:ignore`, `:depth`, `:keep`, `:force`, `:auth`, `:allow_insecure`, `:tls`,
      `:proxy`, `:no_proxy`, `:server`, `:timeout`, `:telemetry_metadata` - as
      `Alumiini.Git.update/4` has them. A poll takes at most `:timeout`. With `:paths`, subscribers
      are told of changes elsewhere, too

  Raises `ArgumentError` for an option that is unknown or has a wrong value. Returns
  `{:error, error}` where the path is followed already with another URL, ref or options (and, as any
  process that cannot start, exits with that).
  """
  @spec start_link([option]) :: GenServer.on_start()
  def start_link(options), do: options |> Settings.check!() |> Publisher.start_link()

  @doc """
  Subscribes the calling process to changes below `paths`: files or directories, from the top of the
  repository, or `:all`. Returns the last known state, an `Alumiini.Git.Update`, or `nil` before the
  first poll.

  From then on the process is told what changed since that state. Where that is `nil`, the first
  message tells the first state, with `changes: :all`.

  A process has one subscription to a follower: a second one takes the place of the first. It ends
  with the process, or with `unsubscribe/2`.

  ## Options

    * `:since` - the commit that the process knows: it is told at once what changed since, if
      anything did. With `nil` it is told the state itself, with `changes: :all`. That is for a
      process that was restarted: nothing is lost in between
    * `:errors` - with `true` it gets `{:alumiini_git, follower, {:error, error}}`, too, with an
      `Alumiini.Git.Error`, when polls begin to fail or fail for another reason. Default: `false`
    * `:timeout` - how long to wait for the follower, in milliseconds. Default: 5,000

  Exits as `GenServer.call/3` does where no such follower is running. Raises `ArgumentError` for
  paths that are none.
  """
  @spec subscribe(follower, :all | Path.t() | [Path.t()], [subscribe]) ::
          {:ok, Update.t() | nil}
  def subscribe(follower, paths \\ :all, options \\ []) do
    {subscription, timeout} = subscription!(paths, options)
    subscription = Map.merge(subscription, %{pid: self(), as: follower})
    GenServer.call(follower, {:subscribe, subscription}, timeout)
  end

  defp subscription!(paths, options) do
    known = [:since, :errors, :timeout]
    Options.Check.known!(options, known, "Alumiini.Git.Follower.subscribe/3")
    errors? = Keyword.get(options, :errors, false)
    Value.boolean!(:errors, errors?)
    paths = Paths.normalize!(paths)

    since =
      case Keyword.fetch(options, :since) do
        {:ok, sha} when is_nil(sha) or (is_binary(sha) and sha != "") -> {:commit, sha}
        {:ok, other} -> Value.wrong!(:since, "the id of a commit, or nil", other)
        :error -> :current
      end

    {%{paths: paths, errors?: errors?, since: since}, timeout!(options)}
  end

  defp timeout!(options) do
    timeout = Keyword.get(options, :timeout, 5_000)
    Value.positive!(:timeout, timeout, 2_147_483_647)
    timeout
  end

  @doc """
  Ends the subscription of the calling process, if it has one. After that no message is sent; one
  that was sent before may still be in the mailbox. Takes the option `:timeout` of `subscribe/3`.
  """
  @spec unsubscribe(follower, [{:timeout, pos_integer}]) :: :ok
  def unsubscribe(follower, options \\ []) do
    Options.Check.known!(options, [:timeout], "Alumiini.Git.Follower.unsubscribe/2")
    GenServer.call(follower, {:unsubscribe, self()}, timeout!(options))
  end

  @doc """
  Makes a follower poll at once, without waiting for that. For webhooks: `commit` is the commit that
  the branch is said to be at. It is fetched while the remote is asked whether it is.

  Pokes that come while a poll is under way cause exactly one more. A poke with the commit that the
  branch is known to be at causes none. Where the remote does not have the commit yet (a replica
  that is behind), it is polled a few times more within seconds.
  """
  @spec poke(follower, Alumiini.Git.sha() | nil) :: :ok
  def poke(follower, commit \\ nil) do
    commit!(commit)
    GenServer.cast(follower, {:poke, commit})
  end

  defp commit!(commit) do
    if not (is_nil(commit) or (is_binary(commit) and commit != "")) do
      raise ArgumentError,
            "the commit of a poke must be its id, or nil, got: #{Options.Check.shown(commit)}"
    end
  end

  @doc """
  Pokes all followers that a push is about: those whose URL is one of `push.urls`, however it is
  written (over HTTPS or SSH, with and without `.git`), and whose ref is the one that was pushed.
  Returns how many followers that were.

  `push` is what a webhook tells: a map or a struct with `urls`, `ref` (the full name,
  `"refs/heads/main"`) and `after`, the new commit (`nil` where the ref was deleted). Followers of
  `:default` are poked by a push to any branch, and those of `{:semver, requirement}` by one to any
  tag.

  ## Options

    * `:server` - the server whose followers are meant. Default: `Alumiini.Git`

  Returns 0 where no such server is running.
  """
  @spec poke_all(
          %{
            :urls => [String.t()],
            :ref => String.t(),
            :after => Alumiini.Git.sha() | nil,
            optional(any) => any
          },
          [{:server, GenServer.server()}]
        ) :: non_neg_integer
  def poke_all(push, options \\ []) do
    Options.Check.call!(:"Follower.poke_all", [:server], options)
    {urls, ref, commit} = push!(push)
    server = Keyword.get(options, :server, Alumiini.Git)

    case Shared.ask(server, {:find, Enum.map(urls, &Settings.label/1)}) do
      {:ok, sources} -> Source.poke_all(sources, ref, commit)
      {:error, _not_there} -> 0
    end
  end

  defp push!(%{urls: urls, ref: ref, after: commit}) when is_list(urls) and is_binary(ref) do
    commit!(commit)
    if Enum.all?(urls, &is_binary/1), do: {urls, ref, commit}, else: wrong_push!()
  end

  defp push!(_other), do: wrong_push!()

  # Not what it is: URLs may have passwords.
  @spec wrong_push!() :: no_return
  defp wrong_push! do
    raise ArgumentError,
          "a push must be a map or a struct with urls: a list of strings, ref: the full name of " <>
            "a ref, and after: the id of a commit, or nil"
  end

  @doc """
  How a follower fares: an `Alumiini.Git.Follower.Status`. Exits as `GenServer.call/3` does where no
  such follower is running.
  """
  @spec status(follower) :: Status.t()
  def status(follower) do
    {status, source} = GenServer.call(follower, :status)

    with true <- is_pid(source), {:ok, polls} <- Source.status(source) do
      struct!(status, polls)
    else
      _gone -> status
    end
  end
end
