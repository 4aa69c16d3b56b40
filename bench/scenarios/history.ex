defmodule Alumiini.Git.Bench.Scenarios.History do
  @moduledoc """
  The first sync of a whole history: 40,000 commits, each of which changes some lines of one of
  2,000 manifests, and with it the trees above it; 200,000 objects, nearly all of them deltas.
  """

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result, Statistics, Terminal, Way}
  alias Alumiini.Git.Test.{GitCommand, OsProcess, Repository}

  @commits 40_000
  @files 2_000
  @each 30
  @rounds 3
  @target 0.8
  @memory 256 * 1024 * 1024

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    {name, objects} = repository!(fixtures)
    url = Way.url(Way.http_backend(fixtures), name)

    {taken, peak} =
      Fixtures.with_worker(fixtures, fn server ->
        ours = fn options -> &Fixtures.sync!(server, url, &1, [depth: :infinity] ++ options) end

        taken =
          Measure.interleave("clone, all history", @rounds,
            ours: into_fresh(fixtures, ours.([])),
            bare: into_fresh(fixtures, ours.(working_tree: false)),
            git: into_fresh(fixtures, &GitCommand.run!(clone_arguments(url, &1)))
          )

        {taken, OsProcess.memory(Alumiini.Git.Server.info(server).os_pid, :peak)}
      end)

    what = "clone, all history, #{Alumiini.Git.Bench.Format.count(objects)} objects"
    beside = {"git clone --single-branch --no-tags", taken.git}

    [
      Result.time("history", what, beside, taken.ours, @target),
      Result.time("history-bare", "the same, no working tree", beside, taken.bare, @target),
      Result.limit(
        "history-memory",
        "memory, at most during such clones",
        Statistics.summary([peak]),
        @memory
      )
    ]
  end

  defp clone_arguments(url, path),
    do: ["clone", "--quiet", "--single-branch", "--no-tags", url, path]

  defp into_fresh(fixtures, clone) do
    fn _round ->
      path = Fixtures.fresh(fixtures, "history")
      taken = Measure.time(fn -> clone.(path) end)
      File.rm_rf!(path)
      taken
    end
  end

  defp repository!(fixtures) do
    Terminal.progress("making a history of #{@commits} commits")
    repository = Repository.create!(fixtures.origins, "history.git")
    first = for file <- 0..(@files - 1), into: %{}, do: {path(file), content(file, 0)}
    # Some files change more often than others.
    random = :rand.seed_s(:exsss, 1)

    {changes, _random} =
      Enum.map_reduce(1..@commits, random, fn n, random ->
        {at, random} = :rand.uniform_s(random)
        file = trunc(at * at * @files)

        {%{
           files: %{path(file) => content(file, n)},
           message: "Set tenant #{file} to revision #{n}\n"
         }, random}
      end)

    Repository.commits!(repository, [%{files: first} | changes])
    Terminal.progress("packing it")
    Repository.repack!(repository)
    {"history.git", objects(repository)}
  end

  defp objects(repository) do
    counted = GitCommand.run!(["count-objects", "-v"], cd: repository)
    [_, packed] = Regex.run(~r/in-pack: (\d+)/, counted)
    String.to_integer(packed)
  end

  defp path(file), do: "tenants/#{pad(div(file, @each))}/#{pad(rem(file, @each))}-deployment.yaml"
  defp pad(number), do: number |> Integer.to_string() |> String.pad_leading(3, "0")

  # Some 2 KB, of which a revision has a few lines of its own.
  defp content(file, revision) do
    lines =
      for line <- 1..50, own? = rem(line, 12) == rem(revision, 12) do
        value = if own?, do: revision, else: 0
        "  setting-#{line}: #{Base.encode16(:erlang.md5(<<file::32, line::32, value::32>>))}\n"
      end

    ["kind: ConfigMap\nmetadata:\n  name: tenant-#{file}\n  revision: #{revision}\ndata:\n", lines]
  end
end
