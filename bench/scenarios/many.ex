defmodule Alumiini.Git.Bench.Scenarios.Many do
  @moduledoc """
  10,000 repositories without a working tree on one worker: what they keep in memory and open, how
  long a round of polls takes, and, with all of them there, how long after a push its commit is
  there, at 100 pushes a second.
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Measure, Result, Statistics, Terminal, Way}
  alias Alumiini.Git.Test.{GitCommand, Manifests, OsProcess, Repository}

  @repositories 10_000
  @at_once 256
  # As many `git fetch` are run, and taken for all of them.
  @sample 256
  @pushed 100
  @push_every 10
  @rounds 3
  @bytes_each 64 * 1024
  @throughput 20.0
  @files 512

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    Fixtures.fleet!(fixtures, 2)

    # All of these are one repository on the server, which costs nothing there, and are many to who
    # asks.
    way = Way.http(fixtures)
    dir = Fixtures.fresh(fixtures, "many")
    all = for n <- 1..@repositories, do: {Way.url(way, "many-#{n}.git"), Path.join(dir, "#{n}")}
    theirs = clone!(fixtures, Enum.take(all, @sample))

    Fixtures.with_worker(fixtures, fn server ->
      sync = fn {url, path} -> Fixtures.sync!(server, url, path, working_tree: false) end
      before = memory(server)
      Terminal.progress("cloning #{@repositories} repositories")
      cloning = Measure.time(fn -> Fixtures.all_at_once(all, sync, @at_once) end)
      Terminal.progress("that took #{Format.time(cloning)}")
      Fixtures.all_at_once(all, sync, @at_once)

      taken =
        Measure.interleave("#{@repositories} repositories", @rounds,
          ours: fn _ -> Measure.time(fn -> Fixtures.all_at_once(all, sync, @at_once) end) end,
          git: fn _ -> div(Measure.time(fn -> fetch!(theirs) end) * @repositories, @sample) end
        )

      count = Format.count(@repositories)
      memory = Statistics.summary([max(memory(server) - before, 1)])
      files = open_files(server, "files open with #{count} repositories")
      beside = "git fetch --depth 1 of #{@sample} of them, xargs -P #{parallel()}, taken for all"

      [
        Result.throughput(
          "many",
          "#{count} repositories with nothing new",
          {beside, taken.git},
          taken.ours,
          @throughput
        ),
        Result.limit(
          "many-memory",
          "memory that #{count} repositories take",
          memory,
          @repositories * @bytes_each
        ),
        pushes(fixtures, server)
      ] ++ files
    end)
  end

  defp memory(server), do: OsProcess.memory(os_pid(server))
  # Nothing where the system does not tell.
  defp open_files(server, name) do
    case File.ls("/proc/#{os_pid(server)}/fd") do
      {:ok, open} -> [Result.count("many-files", name, Statistics.summary([length(open)]), @files)]
      {:error, _no_proc} -> []
    end
  end

  defp os_pid(server) do
    {:ok, _names} = Alumiini.Git.files(System.tmp_dir!(), nil, server: server)
    Alumiini.Git.Server.info(server).os_pid
  end

  defp parallel, do: 2 * System.schedulers_online()

  defp clone!(fixtures, some) do
    dir = Fixtures.fresh(fixtures, "many-git")
    File.mkdir_p!(dir)

    for {{url, _path}, n} <- Enum.with_index(some, 1) do
      Terminal.progress("cloning with git: #{n} of #{@sample}")
      GitCommand.run!(Fixtures.clone_arguments(url, Path.join(dir, "#{n}")))
    end

    dir
  end

  defp fetch!(dir) do
    Fixtures.xargs!(
      "seq #{@sample}",
      parallel(),
      "git -C {} #{Enum.join(Fixtures.fetch_arguments(), " ")}",
      dir
    )
  end

  # One push each 10 ms, each to another repository, and a sync as a webhook would ask for it.
  defp pushes(fixtures, server) do
    way = Way.http_backend(fixtures)
    {names, commits} = pushed!(fixtures)

    [ours, theirs] =
      for label <- ["pushed", "pushed-git"] do
        dir = Fixtures.fresh(fixtures, label)

        for {name, n} <- Enum.with_index(names),
            do: {name, Way.url(way, name), Path.join(dir, "#{n}")}
      end

    sync = fn {_name, url, path} -> Fixtures.sync!(server, url, path, working_tree: false) end
    Enum.each(ours, sync)
    for {_name, url, path} <- theirs, do: GitCommand.run!(Fixtures.clone_arguments(url, path))
    fetch = fn {_name, _url, path} -> GitCommand.run!(Fixtures.fetch_arguments(), cd: path) end

    # The two commits in turn, so that each push is one.
    pushes = fn repositories, visible, place ->
      fn round ->
        push!(fixtures, repositories, Enum.at(commits, rem(2 * round + place, 2)), visible)
      end
    end

    taken =
      Measure.interleave("#{@pushed} pushes in a second", 2 * @rounds,
        ours: pushes.(ours, sync, 0),
        git: pushes.(theirs, fetch, 1)
      )

    name = "100 pushes a second: until one is visible"

    Result.time("many-pushes", name, {"git fetch --depth 1", taken.git}, taken.ours, 0.5, [
      {"the slowest of ours", %{taken.ours | median: taken.ours.max}}
    ])
  end

  defp push!(fixtures, repositories, commit, visible) do
    repositories
    |> Enum.with_index()
    |> Enum.map(fn {{name, _url, _path} = repository, n} ->
      Task.async(fn ->
        Process.sleep(n * @push_every)
        File.write!(Path.join([fixtures.origins, name, "refs/heads/main"]), commit <> "\n")
        Measure.time(fn -> visible.(repository) end)
      end)
    end)
    |> Task.await_many(:infinity)
  end

  defp pushed!(fixtures) do
    Terminal.progress("making #{@pushed} repositories to push to")
    first = Repository.create!(fixtures.origins, "pushed-1.git")
    one = Repository.commit!(first, Manifests.shop())

    two =
      Repository.commit!(first, %{"deploy/cart/configmap.yaml" => Manifests.configmap("basket")})

    Repository.repack!(first)
    for n <- 2..@pushed, do: File.cp_r!(first, Path.join(fixtures.origins, "pushed-#{n}.git"))
    {for(n <- 1..@pushed, do: "pushed-#{n}.git"), [one, two]}
  end
end
