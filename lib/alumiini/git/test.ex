defmodule Alumiini.Git.Test do
  @moduledoc """
  For the tests of an application that uses `Alumiini.Git`: answers without a worker, a network or a
  disk, and repositories without `git`. The guide [Testing](testing.md) shows it in use.

  ## Stubs

  A stub server takes the place of `Alumiini.Git`. All between it and the test is the real library:
  options are checked, functions with `!` raise, telemetry events are executed.

      test "applies what is new" do
        server =
          Alumiini.Git.Test.stub(
            sync: {:ok, "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"},
            read: fn %{file: "deploy/app.yaml"} -> {:ok, "kind: Deployment\\n"} end
          )

        assert MyApp.Deployer.run(server: server) == :applied
      end

  Where the code that is tested names no server, start one under the name that it calls, once, in
  `test/test_helper.exs` or in place of `Alumiini.Git` in the supervision tree:

      {:ok, _pid} = Alumiini.Git.Test.start_link(name: Alumiini.Git)

  and stub it in each test, `Alumiini.Git.Test.stub(Alumiini.Git, sync: {:ok, sha})`. Stubs belong
  to the process that calls `stub/2`, and go when it ends, so tests can be `async: true`. They count
  for that process, for those that it starts (tasks, and what `start_supervised!/1` of ExUnit
  starts, an `Alumiini.Git.Follower` for one), and for those that `allow/3` names. Any other call
  raises.

  ## What a stub is

  Either a function of `{op, arguments}`, or a keyword list of `op` and what it answers: a value, or
  a function of the arguments. `op` is the name of the function, such as `:sync`; `:normalize` is
  `Alumiini.Git.Url.normalize/2`. A function of which no clause takes the call leaves it to the
  stubs that were there before; the newest is asked first. A call that nothing answers raises
  `Alumiini.Git.Test.NoStubError` in the process that calls, and so does whatever a stub raises.

  `arguments` is a map. It has the parameters by the names in the documentation of `Alumiini.Git`
  (`url`, `ref`, `path`, `subpath`, `file`, `rev`, `from`, `to`, `dest`, `sha`) and the options that
  were given, with defaults where the library sends them. Paths are absolute. Some differ:

    * `url` is without credentials, which are in `auth`, as a map: `%{"type" => "basic", …}`
    * a branch is its name alone, as `ref`; a version is the tag that was found
    * `:path` of `Alumiini.Git.log/2` is `file`, and `:prefix` is a list; what
      `Alumiini.Git.release/2` is given is `path`, and the lease's id as `lease`
    * `:server`, `:timeout`, `:progress` and `:telemetry_metadata` are missing

  What it answers is what the function returns:

  | function | |
  | --- | --- |
  #{for {op, returned} <- Enum.sort(Alumiini.Git.Test.Answers.returned()) do
    "| `#{op}` | `#{returned}` |\n"
  end}

  or `{:error, Alumiini.Git.Test.error(reason)}`. Structs need only the fields that they enforce.

  `Alumiini.Git.info/2` needs none: it tells how many calls wait for a stub, and of no worker.

  A sync of `{:semver, requirement}` asks for `refs` first, as it always does, so both need a stub.
  """

  alias Alumiini.Git.{Error, Ops}
  alias Alumiini.Git.Options.Check
  alias Alumiini.Git.Test.{Fixture, Janitor, StubServer}

  @ops [:normalize | Ops.all()]

  @typedoc "A call, as a stub is asked about it."
  @type call :: {op :: atom, arguments :: map}

  @typedoc "What a stub answers."
  @type answer :: {:ok, term} | :ok | {:error, Error.t()} | Error.t()

  @typedoc "See \"What a stub is\"."
  @type stub :: (call -> answer) | [{op :: atom, answer | (arguments :: map -> answer)}]

  @typedoc """
  A commit of a fixture: its files, or a keyword list. Of a file the content, `:delete`,
  `{:executable, content}` or `{:symlink, target}`.
  """
  @type commit ::
          %{Path.t() => binary | :delete | {:executable | :symlink, binary}} | keyword

  ## Stubs

  @doc "A child specification, to start a stub server where a supervision tree has `Alumiini.Git`."
  @spec child_spec(name: GenServer.name()) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: options[:name]
    %{id: name || Alumiini.Git, start: {__MODULE__, :start_link, [options]}}
  end

  @doc """
  Starts a stub server, linked to the caller, under `:name`. Default: `Alumiini.Git`.

  It has no stubs. Each test adds its own with `stub/2`.
  """
  @spec start_link(name: GenServer.name()) :: GenServer.on_start()
  def start_link(options \\ []) do
    case options do
      [] -> StubServer.start_link(Alumiini.Git)
      [name: name] when name not in [nil, true, false] -> StubServer.start_link(name)
      _other -> raise ArgumentError, "the one option of Alumiini.Git.Test.start_link/1 is :name"
    end
  end

  @doc """
  Starts a stub server of the calling process, and returns it, for the option `:server`. It is there
  for as long as that process. Whoever calls it gets its answers.
  """
  @spec stub(stub) :: pid
  def stub(stub) do
    stubs = stubs!(stub)
    server = StubServer.start(self())
    :ok = StubServer.stub(server, stubs)
    server
  end

  @doc """
  Adds stubs of the calling process to a server, and returns the server. They are asked before those
  that were there.
  """
  @spec stub(server, stub) :: server when server: GenServer.server()
  def stub(server, stub) do
    stubs = stubs!(stub)
    :ok = running!(server, &StubServer.stub(&1, stubs))
    server
  end

  @doc """
  Has the stubs of `owner` count for another process: a pid, or a name, which may be that of a
  process that is started later.
  """
  @spec allow(GenServer.server(), pid, GenServer.server()) :: :ok
  def allow(server, owner, allowed) when is_pid(owner),
    do: running!(server, &StubServer.allow(&1, owner, allowed))

  @doc "The calls that the stubs of the calling process were asked about, in their order."
  @spec calls(GenServer.server()) :: [call]
  def calls(server), do: running!(server, &StubServer.calls/1)

  @doc """
  An error as the library makes them, for a stub to answer: `retryable?` is what it is for that
  reason, and `op` becomes the function that is called. Raises `ArgumentError` for what is not in
  the list of reasons.

  ## Options

    * `:message` - the sentence
    * `:detail` - a map, with keys of those that `Alumiini.Git.Error` documents
    * `:op` - a function's name, where the error is not answered by a stub
    * `:retryable?` - `false` for a `:worker_unavailable` of which nothing changes by itself

  ## Examples

      iex> error = Alumiini.Git.Test.error(:ref_not_found, detail: %{near: ["main"]})
      iex> {error.reason, error.retryable?, error.detail.near}
      {:ref_not_found, false, ["main"]}
  """
  @spec error(Error.reason(), keyword) :: Error.t()
  def error(reason, options \\ []) do
    %{retryable: retryable, final: final} = Error.reasons()

    if reason not in retryable and reason not in final do
      raise ArgumentError,
            "no error has the reason #{Check.shown(reason)}; those of Alumiini.Git.Error are " <>
              Enum.map_join(retryable ++ final, ", ", &inspect/1)
    end

    Enum.each(error_options!(options), &error_option!(reason, &1))
    message = Keyword.get(options, :message, "it failed with #{reason}, as a stub says")
    error = Error.new(reason, options[:op], message, Keyword.get(options, :detail, %{}))
    if options[:retryable?] == false, do: %{error | retryable?: false}, else: error
  end

  defp error_options!(options) do
    known = [:message, :detail, :op, :retryable?]

    if not Keyword.keyword?(options) or Keyword.keys(options) -- known != [] do
      raise ArgumentError,
            "the options of Alumiini.Git.Test.error/2 are #{Enum.map_join(known, ", ", &inspect/1)}"
    end

    options
  end

  defp error_option!(_reason, {:message, message}) do
    if not (is_binary(message) and String.valid?(message)),
      do: raise(ArgumentError, "option :message must be a string, got: #{Check.shown(message)}")
  end

  defp error_option!(_reason, {:detail, detail}) do
    if not (is_map(detail) and Map.keys(detail) -- Error.details() == []) do
      raise ArgumentError,
            "option :detail must be a map with keys of #{inspect(Error.details())}"
    end
  end

  defp error_option!(_reason, {:op, op}) do
    if op not in @ops, do: raise(ArgumentError, "option :op must be one of #{inspect(@ops)}")
  end

  defp error_option!(:worker_unavailable, {:retryable?, false}), do: :ok

  defp error_option!(reason, {:retryable?, value}) do
    right = reason in Error.reasons().retryable

    if value != right,
      do:
        raise(ArgumentError, "an error with the reason #{inspect(reason)} has retryable?: #{right}")
  end

  defp stubs!(function) when is_function(function, 1), do: [{:any, function}]

  defp stubs!(stubs) do
    if not (Keyword.keyword?(stubs) and stubs != []) do
      raise ArgumentError,
            "a stub must be a function of {op, arguments}, or a keyword list of functions of " <>
              "Alumiini.Git and what they answer, got: #{Check.shown(stubs)}"
    end

    case Keyword.keys(stubs) -- @ops do
      [] ->
        stubs

      [unknown | _] ->
        raise ArgumentError,
              "there is no function #{inspect(unknown)} to stub; those of Alumiini.Git are " <>
                Enum.map_join(@ops, ", ", &inspect/1)
    end
  end

  defp running!(server, call) do
    call.(server)
  catch
    :exit, {reason, _call} when reason in [:noproc, :normal] ->
      raise ArgumentError,
            "no stub server is running as #{inspect(server)}; start it in test/test_helper.exs: " <>
              "Alumiini.Git.Test.start_link(name: #{inspect(server)})"
  else
    # A real one.
    {:error, :unknown_call} ->
      raise ArgumentError,
            "the server #{inspect(server)} is no stub server; in tests, start " <>
              "{Alumiini.Git.Test, name: #{inspect(server)}} in its place"

    result ->
      result
  end

  ## Repositories

  @doc """
  Makes a repository with these commits, without `git`, and returns an `Alumiini.Git.Test.Fixture`.
  It is one that `Alumiini.Git.sync/4` takes by its `url`, and that Git finds nothing wrong with.

  A commit is a map of paths and contents, which changes the commit before, or a keyword list:

    * `:files` - that map. Default: none, which makes a commit without a change
    * `:branch` - the branch that it is on. A new one begins at the tip of the first
    * `:from` - its parent, by its id. Default: the tip of the branch
    * `:message`, `:author`, `:email`, `:timestamp` - what `Alumiini.Git.Commit` has. By default
      each is an hour after the one before, so ids are the same in each run
    * `:tag` - a tag, or a list of tags: a name, or `{name, message}` for an annotated one

  ## Options

    * `:path` - the directory, absent or empty. Default: a new one, which is gone when the calling
      process is
    * `:branch` - what HEAD is on. Default: `"main"`

  ## Examples

      repository =
        Alumiini.Git.Test.repository([
          %{"deploy/app.yaml" => "replicas: 1\\n", "bin/run" => {:executable, "#!/bin/sh\\n"}},
          [files: %{"deploy/app.yaml" => "replicas: 2\\n"}, tag: ["v1.0.0", {"v1.0.1", "Release"}]]
        ])

      {:ok, sha} = Alumiini.Git.sync(repository.url, "main", path)
      sha == List.last(repository.commits)
  """
  @spec repository(commit | [commit], path: Path.t(), branch: String.t()) :: Fixture.t()
  def repository(commits, options \\ []) do
    if not Keyword.keyword?(options) or Keyword.keys(options) -- [:path, :branch] != [] do
      raise ArgumentError, "the options of Alumiini.Git.Test.repository/2 are :path and :branch"
    end

    commits = if is_map(commits) or commit?(commits), do: [commits], else: commits

    if not is_list(commits),
      do: raise(ArgumentError, "the commits must be a list, got: #{Check.shown(commits)}")

    path =
      case options[:path] do
        nil -> Path.join(Janitor.directory!(), "repository.git")
        path -> Check.path!(path, "the path of the fixture")
      end

    path
    |> Fixture.create!(Keyword.get(options, :branch, "main"))
    |> then(&Enum.reduce(commits, &1, fn commit, fixture -> Fixture.commit!(fixture, commit) end))
  end

  defp commit?(commits), do: commits != [] and Keyword.keyword?(commits)

  @doc """
  Adds a commit to a repository that `repository/2` made, and returns what it is then: for tests of
  what happens when there is something new.
  """
  @spec commit(Fixture.t(), commit) :: Fixture.t()
  def commit(repository, commit), do: Fixture.commit!(repository, commit)
end
