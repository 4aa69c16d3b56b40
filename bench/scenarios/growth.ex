defmodule Alumiini.Git.Bench.Scenarios.Growth do
  @moduledoc """
  How the cost of the main job grows with a repository: a first clone, a sync with nothing new (settled, and right after a change), an update
  of ten files, each with 300 to 50,000 files, and with 50,000 that have a directory each. A ratio that rises with size is a fault, whatever it is
  at one of them.

  `SIZES=300,3000` takes some of the sizes only.
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Measure, Result, Way}
  alias Alumiini.Git.Test.{GitCommand, Manifests, Repository}

  @sizes [300, 3_000, 15_000, 50_000]
  @changed 10
  # By how much a ratio may rise from the smallest size to any other.
  @rise 1.5

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    shapes = for size <- sizes(), do: {size, 30}
    wide = if 50_000 in sizes(), do: [{50_000, 1}], else: []
    results = Enum.flat_map(shapes ++ wide, fn shape -> measure(fixtures, shape) end)
    rising = results |> Enum.group_by(&what/1) |> Enum.flat_map(fn {_what, rows} -> rising(rows) end)
    for sentence <- rising, do: IO.puts(:stderr, sentence)
    if rising != [], do: System.at_exit(fn _status -> exit({:shutdown, 1}) end)
    results
  end

  @doc "The sizes to measure."
  @spec sizes() :: [pos_integer]
  def sizes do
    case System.get_env("SIZES", "") do
      "" -> @sizes
      some -> some |> String.split(",", trim: true) |> Enum.map(&String.to_integer/1)
    end
  end

  @doc "A sentence for each of `rows`, which are of one thing at growing sizes, whose ratio is more than half as high again as the first's."
  @spec rising([Result.t()]) :: [String.t()]
  def rising([first | rest]) do
    for row <- rest, row.ratio > @rise * first.ratio, not row.reached do
      "#{row.name}: #{Format.ratio(row)}, and #{Format.ratio(first)} for #{first.name}: the ratio rises with size"
    end
  end

  defp what(result), do: result.id |> String.split("-") |> Enum.at(1)

  defp measure(fixtures, {size, _each} = shape) do
    {name, paths} = repository!(fixtures, shape)
    backend = Way.http_backend(fixtures)
    url = Way.url(backend, name)
    repository = Path.join(fixtures.origins, name)

    Fixtures.with_worker(fixtures, fn server ->
      clone = clone(fixtures, server, url, shape)
      [ours, theirs] = for label <- ["grown", "grown-git"], do: Fixtures.fresh(fixtures, label)
      Fixtures.sync!(server, url, ours)
      GitCommand.run!(Fixtures.clone_arguments(url, theirs))
      update = update(server, url, {ours, theirs}, shape, {repository, paths})
      commit!(repository, paths)
      Fixtures.sync!(server, url, ours)
      early = poll(server, url, {ours, theirs}, shape, "early")
      Fixtures.settle(fn -> Fixtures.sync!(server, url, ours) end)
      settled = poll(server, url, {ours, theirs}, shape, "settled")
      for path <- [ours, theirs], size > 3_000, do: File.rm_rf!(path)
      [clone, update, early, settled]
    end)
  end

  defp repository!(fixtures, {size, each}) do
    name = "grown-#{size}-#{each}.git"
    repository = Repository.create!(fixtures.origins, name)
    files = Manifests.many(size, bytes: 200, each: each)
    Repository.commit!(repository, files)
    Repository.repack!(repository)
    # Those that an update changes: spread over the repository, each in another directory.
    {name, files |> Enum.take_every(div(size, @changed)) |> Enum.map(&elem(&1, 0))}
  end

  defp rounds(size) when size > 3_000, do: 3
  defp rounds(_size), do: 9

  defp clone(fixtures, server, url, {size, _each} = shape) do
    fresh = fn clone ->
      fn _round ->
        path = Fixtures.fresh(fixtures, "growth")
        taken = Measure.time(fn -> clone.(path) end)
        if size > 3_000, do: File.rm_rf!(path)
        taken
      end
    end

    taken =
      Measure.interleave("clone, #{title(shape)}", rounds(size),
        ours: fresh.(&Fixtures.sync!(server, url, &1)),
        git: fresh.(&GitCommand.run!(Fixtures.clone_arguments(url, &1)))
      )

    beside = {"git clone --depth 1 --single-branch --no-tags", taken.git}
    Result.time(id("clone", shape), "clone at depth 1, #{title(shape)}", beside, taken.ours, 0.9)
  end

  defp update(server, url, {ours, theirs}, {size, _each} = shape, {repository, paths}) do
    # Each contender gets a commit of its own, made before its time begins.
    with_commit = fn update ->
      fn _round ->
        commit!(repository, paths)
        Measure.time(update)
      end
    end

    taken =
      Measure.interleave("update of #{@changed} files, #{title(shape)}", rounds(size),
        ours: with_commit.(fn -> Fixtures.sync!(server, url, ours) end),
        git:
          with_commit.(fn ->
            GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs)
            GitCommand.run!(["reset", "--quiet", "--hard", "FETCH_HEAD"], cd: theirs)
          end)
      )

    beside = {"git fetch --depth 1 and git reset --hard", taken.git}
    Result.time(id("update", shape), "update of #{@changed} files, #{title(shape)}", beside, taken.ours, 0.5)
  end

  defp commit!(repository, paths) do
    text = "# #{System.unique_integer([:positive])}\n"
    Repository.commit!(repository, Map.new(paths, &{&1, text}))
  end

  defp poll(server, url, paths, shape, "early") do
    taken = polled(server, url, paths, "right after a change, #{title(shape)}", 5)
    row("early", "nothing new right after a change, #{title(shape)}", taken, shape)
  end

  defp poll(server, url, paths, shape, "settled") do
    taken = polled(server, url, paths, "nothing new, #{title(shape)}", 9)
    row("settled", "nothing new, #{title(shape)}", taken, shape)
  end

  defp polled(server, url, {ours, theirs}, title, rounds) do
    Measure.interleave(title, rounds,
      ours: fn _round -> Measure.time(fn -> Fixtures.sync!(server, url, ours) end) end,
      git: fn _round -> Measure.time(fn -> GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs) end) end
    )
  end

  defp row(id, name, taken, {size, _each} = shape) do
    target = if size > 3_000, do: 0.25, else: 0.12
    Result.time(id(id, shape), name, {"git fetch --depth 1", taken.git}, taken.ours, target)
  end

  defp id(what, {size, each}), do: "growth-#{what}-#{size}-#{each}"

  defp title({size, 1}), do: "#{Format.count(size)} files in a directory each"
  defp title({size, _each}), do: "#{Format.count(size)} files"
end
