defmodule Alumiini.Git.Bench.Fixtures do
  @moduledoc """
  Repositories to measure with, a server in front of them, and a worker; all below one directory.
  """

  alias Alumiini.Git.Bench.Terminal
  alias Alumiini.Git.Test.{GitCommand, HttpServer, Manifests, Nginx, Repository}

  @enforce_keys [:origins, :work, :binary, :http, :web]
  defstruct [:origins, :work, :binary, :http, :web]

  @typedoc """
  `http` runs Git for each request; `web` answers from a cache what it was asked before (see `Way`).
  """
  @type t :: %__MODULE__{origins: Path.t(), work: Path.t(), binary: Path.t(), http: pid, web: pid}

  @files 3_000
  # Longer than the ticks of file systems' clocks (`repo/status_cache.rs`), ms.
  @settle 4_000
  # Data that does not compress, in each of them.
  @bytes 1_024

  @spec start!(Path.t(), Path.t()) :: t
  def start!(dir, binary) do
    origins = Path.join(dir, "origins")
    work = Path.join(dir, "work")
    File.mkdir_p!(origins)
    File.mkdir_p!(work)

    # A kept log would grow, and a shell per request would be in everybody's way.
    {:ok, http} = HttpServer.start_link(root: origins, log: false, stderr: :inherit)
    # However many of one are asked for, Git is run once for each thing that is asked.
    many = ~S"rewrite ^/many-\d+\.git/(.*)$ /fleet-1.git/$1 last;"
    {:ok, web} = Nginx.start_link(root: origins, dir: work, cache: true, config: [many])
    %__MODULE__{origins: origins, work: work, binary: binary, http: http, web: web}
  end

  @doc """
  The name of a repository of 3,000 manifests (or as many as said) on a branch `main`, with so many
  refs in all. Made when it is first asked for.
  """
  @spec manifests!(t, pos_integer, pos_integer) :: String.t()
  def manifests!(fixtures, refs, files \\ @files) do
    name = "manifests-#{refs}-#{files}.git"

    unless File.dir?(Path.join(fixtures.origins, name)) do
      Terminal.progress("making a repository of #{files} files and #{refs} refs")
      repository = Repository.create!(fixtures.origins, name)
      id = Repository.commit!(repository, Manifests.many(files, bytes: @bytes))
      topics!(repository, id, refs - 1)
      Repository.repack!(repository)
      GitCommand.run!(["pack-refs", "--all"], cd: repository)
    end

    name
  end

  defp topics!(repository, id, count) do
    creates = for n <- 1..count, do: "create refs/heads/topic/#{n} #{id}\n"
    input = ["start\n", creates, "commit\n"]
    done? = &String.contains?(&1, "commit: ok")
    GitCommand.converse!(["update-ref", "--stdin"], input, done?, cd: repository)
  end

  @doc "The names of so many small repositories."
  @spec fleet!(t, pos_integer) :: [String.t()]
  def fleet!(fixtures, count) do
    Terminal.progress("making #{count} repositories")
    first = Repository.create!(fixtures.origins, "fleet-1.git")
    Repository.commit!(first, Manifests.shop())
    Repository.repack!(first)
    for n <- 2..count, do: File.cp_r!(first, Path.join(fixtures.origins, "fleet-#{n}.git"))
    for n <- 1..count, do: "fleet-#{n}.git"
  end

  @doc "The name of a directory that is not there."
  @spec fresh(t, String.t()) :: Path.t()
  def fresh(fixtures, label) do
    Path.join(fixtures.work, "#{label}-#{System.unique_integer([:positive])}")
  end

  @doc "Runs `fun` with a worker that has done nothing before."
  @spec with_worker(t, (GenServer.server() -> result)) :: result when result: term
  def with_worker(fixtures, fun) do
    {:ok, server} = Alumiini.Git.start_link(name: nil, binary: fixtures.binary)

    try do
      fun.(server)
    after
      GenServer.stop(server)
    end
  end

  @spec sync!(GenServer.server(), String.t(), Path.t(), keyword) :: String.t()
  def sync!(server, url, path, options \\ []) do
    {:ok, id} = Alumiini.Git.sync(url, "main", path, [server: server] ++ options)
    id
  end

  @doc "Runs `fun` on all of them, at most so many at once."
  @spec all_at_once([item], (item -> any), pos_integer) :: :ok when item: term
  def all_at_once(items, fun, at_once) do
    items
    |> Task.async_stream(fun, max_concurrency: at_once, ordered: false, timeout: :infinity)
    |> Enum.each(fn {:ok, _} -> :ok end)
  end

  @doc "Runs a command for each number that another one writes, so many at a time, in a directory."
  @spec xargs!(String.t(), pos_integer, String.t(), Path.t()) :: :ok
  def xargs!(numbers, parallel, command, dir) do
    script = "#{numbers} | xargs -P #{parallel} -I{} #{command} > /dev/null"
    env = GitCommand.environment() ++ GitCommand.config([{"safe.directory", "*"}])
    {_, 0} = System.cmd("/bin/sh", ["-c", script], cd: dir, env: env, stderr_to_stdout: true)
    :ok
  end

  @doc """
  Runs `sync` until what it makes is "warm": a clone that has been there for a while. What is
  seconds old is looked at more closely, and the second look may write the index once more.
  """
  @spec settle((() -> any)) :: :ok
  def settle(sync) do
    for _look <- 1..2 do
      sync.()
      Process.sleep(@settle)
    end

    sync.()
    :ok
  end

  @doc "The `git clone` that ours is measured beside."
  @spec clone_arguments(String.t(), Path.t()) :: [String.t()]
  def clone_arguments(url, path) do
    ["clone", "--quiet", "--depth", "1", "--single-branch", "--no-tags", url, path]
  end

  @doc """
  The `git fetch` that ours is measured beside. It looks whether there is something to tidy up, as
  it does by default, but not behind our backs: in the background that would go on while the next
  one is measured (`maintenance.autoDetach` of git-config).
  """
  @spec fetch_arguments() :: [String.t()]
  def fetch_arguments do
    [
      "-c",
      "maintenance.autoDetach=false",
      "-c",
      "gc.autoDetach=false",
      "fetch",
      "--quiet",
      "--depth",
      "1"
    ]
  end

  @spec remove!(Path.t()) :: :ok
  def remove!(dir) do
    File.rm_rf!(dir)
    :ok
  end
end
