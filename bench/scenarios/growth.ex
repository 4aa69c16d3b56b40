defmodule Alumiini.Git.Bench.Scenarios.Growth do
  @moduledoc """
  How the cost of the main job grows with a repository: a first clone, an update of ten files, a
  sync with nothing new (settled, and right after a change), each with a working tree and without
  one, with 300 to 50,000 files, and with 50,000 that have a directory each. A ratio that rises with
  size is a fault, whatever it is at one of them.

  `SIZES=300,3000` takes some of the sizes only.
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Growth, Measure, Result, Terminal, Way}
  alias Alumiini.Git.Test.{GitCommand, Manifests, Repository}

  @sizes [300, 3_000, 15_000, 50_000]
  @changed 10
  @ways [tree: [], bare: [working_tree: false]]
  @what %{
    "clone" => "clone at depth 1",
    "update" => "update of #{@changed} files",
    "early" => "nothing new right after a change",
    "settled" => "nothing new"
  }

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    shapes = for size <- sizes(), do: {size, 30}
    wide = if 50_000 in sizes(), do: [{50_000, 1}], else: []
    results = Enum.flat_map(shapes ++ wide, fn shape -> measure(fixtures, shape) end)
    rising = Growth.rising(results)
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

  defp measure(fixtures, {size, _each} = shape) do
    {name, paths} = repository!(fixtures, shape)
    repository = Path.join(fixtures.origins, name)
    url = Way.url(Way.http_backend(fixtures), name)

    Fixtures.with_worker(fixtures, fn server ->
      clones = clone(fixtures, server, url, shape)
      theirs = Fixtures.fresh(fixtures, "grown-git")
      GitCommand.run!(Fixtures.clone_arguments(url, theirs))

      ours =
        for {way, options} <- @ways, do: {way, Fixtures.fresh(fixtures, "grown-#{way}"), options}

      syncs = fn url ->
        for {way, path, options} <- ours, do: {way, sync(server, url, path, options)}
      end

      for {_way, sync} <- syncs.(url), do: sync.()
      updates = update(syncs.(url), theirs, shape, fn -> commit!(repository, paths) end)

      # By nginx, which answers these from its cache: what is measured is the client. It was not
      # asked before the last change.
      web = syncs.(Way.url(Way.http(fixtures), name))
      commit!(repository, paths)
      for {_way, sync} <- web, do: sync.()
      web_url = Way.url(Way.http(fixtures), name)
      GitCommand.run!(["remote", "set-url", "origin", web_url], cd: theirs)
      early = polls(web, theirs, shape, "early")
      Fixtures.settle(fn -> for {_way, sync} <- web, do: sync.() end)
      settled = polls(web, theirs, shape, "settled")

      for path <- [theirs | for({_way, path, _options} <- ours, do: path)],
          size > 3_000,
          do: File.rm_rf!(path)

      clones ++ updates ++ early ++ settled
    end)
  end

  defp sync(server, url, path, options), do: fn -> Fixtures.sync!(server, url, path, options) end

  defp repository!(fixtures, {size, each} = shape) do
    Terminal.progress("making a repository of #{title(shape)}")
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

    ours =
      for {way, options} <- @ways,
          do: {way, fresh.(fn path -> sync(server, url, path, options).() end)}

    git = fresh.(&GitCommand.run!(Fixtures.clone_arguments(url, &1)))
    taken = Measure.interleave("clone, #{title(shape)}", rounds(size), ours ++ [git: git])
    beside = {"git clone --depth 1 --single-branch --no-tags", taken.git}
    rows(taken, "clone", shape, beside, tree: 0.9, bare: 0.5)
  end

  defp update(syncs, theirs, {size, _each} = shape, commit) do
    # Each contender gets a commit of its own, made before its time begins.
    with_commit = fn update ->
      fn _round ->
        commit.()
        Measure.time(update)
      end
    end

    git = fn ->
      GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs)
      GitCommand.run!(["reset", "--quiet", "--hard", "FETCH_HEAD"], cd: theirs)
    end

    contenders = for {name, update} <- syncs ++ [git: git], do: {name, with_commit.(update)}

    taken =
      Measure.interleave("update of #{@changed} files, #{title(shape)}", rounds(size), contenders)

    rows(taken, "update", shape, {"git fetch --depth 1 and git reset --hard", taken.git},
      tree: 0.5,
      bare: 0.3
    )
  end

  defp commit!(repository, paths) do
    text = "# #{System.unique_integer([:positive])}\n"
    Repository.commit!(repository, Map.new(paths, &{&1, text}))
  end

  defp polls(syncs, theirs, {size, _each} = shape, what) do
    fetch = fn -> GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs) end

    contenders =
      for {name, poll} <- syncs ++ [git: fetch], do: {name, fn _round -> Measure.time(poll) end}

    taken = Measure.interleave("#{@what[what]}, #{title(shape)}", 9, contenders)
    with_files = if size > 3_000, do: 0.25, else: 0.12
    rows(taken, what, shape, {"git fetch --depth 1", taken.git}, tree: with_files, bare: 0.08)
  end

  defp rows(taken, what, {size, each} = shape, beside, targets) do
    for {way, target} <- targets do
      without = if way == :bare, do: ", no working tree"
      name = "#{@what[what]}, #{title(shape)}#{without}"
      Result.time(Growth.id({what, way, size, each}), name, beside, taken[way], target)
    end
  end

  defp title({size, 1}), do: "#{Format.count(size)} files in a directory each"
  defp title({size, _each}), do: "#{Format.count(size)} files"
end
