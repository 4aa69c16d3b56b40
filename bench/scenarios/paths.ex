defmodule Alumiini.Git.Bench.Scenarios.Paths do
  @moduledoc """
  One directory of a repository: the first sync of thirty files of 3,000 and of 15,000, and an
  update of one of them.
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Measure, Result, Terminal}
  alias Alumiini.Git.Test.{GitCommand, HttpServer, Manifests, Repository}

  @sizes [3_000, 15_000]
  @rounds 9
  # Files of a directory.
  @each 30

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures), do: Enum.flat_map(@sizes, &measure(fixtures, &1))

  defp measure(fixtures, size) do
    {name, file} = repository!(fixtures, size)
    directory = Path.dirname(file)
    url = HttpServer.url(fixtures.http, name)

    Fixtures.with_worker(fixtures, fn server ->
      options = [paths: [directory], working_tree: true]
      first = first(fixtures, server, url, directory, options, size)
      first ++ update(fixtures, server, {url, name}, file, options, size)
    end)
  end

  defp repository!(fixtures, size) do
    Terminal.progress("making a repository of #{Format.count(size)} files")
    name = "paths-#{size}.git"
    repository = Repository.create!(fixtures.origins, name)
    files = Manifests.many(size, bytes: 1_024, each: @each)
    Repository.commit!(repository, files)
    Repository.repack!(repository)
    {file, _content} = Enum.at(files, div(size, 2))
    {name, file}
  end

  defp first(fixtures, server, url, directory, options, size) do
    taken =
      Measure.interleave("paths, #{size} files", @rounds,
        ours: into_fresh(fixtures, &Fixtures.sync!(server, url, &1, options)),
        whole: into_fresh(fixtures, &GitCommand.run!(Fixtures.clone_arguments(url, &1))),
        sparse: into_fresh(fixtures, &sparse_clone!(url, &1, directory))
      )

    what = "first sync of #{@each} files of #{Format.count(size)}"
    whole = {"git clone --depth 1 --single-branch --no-tags", taken.whole}
    sparse = {"git clone --depth 1 --filter=blob:none --sparse", taken.sparse}

    [
      Result.time("paths-#{size}", what, whole, taken.ours, 0.2),
      Result.time("paths-sparse-#{size}", "the same, of Git's own way", sparse, taken.ours, 0.5)
    ]
  end

  defp sparse_clone!(url, path, directory) do
    GitCommand.run!(
      ["clone", "--quiet", "--depth", "1", "--single-branch", "--no-tags"] ++
        ["--filter=blob:none", "--sparse", url, path]
    )

    GitCommand.run!(["sparse-checkout", "set", directory], cd: path)
  end

  defp update(fixtures, server, {url, name}, file, options, size) do
    ours = Fixtures.fresh(fixtures, "paths-ours")
    theirs = Fixtures.fresh(fixtures, "paths-git")
    Fixtures.sync!(server, url, ours, options)
    sparse_clone!(url, theirs, Path.dirname(file))
    repository = Path.join(fixtures.origins, name)

    change = fn n ->
      Repository.commit!(repository, %{file => "round: #{n}\n#{System.unique_integer()}\n"})
    end

    fetch = fn ->
      GitCommand.run!(["fetch", "--quiet", "--depth", "1", "origin", "main"], cd: theirs)
      GitCommand.run!(["reset", "--quiet", "--hard", "FETCH_HEAD"], cd: theirs)
    end

    taken =
      Measure.interleave("update at a path, #{size} files", @rounds,
        ours: fn n ->
          change.(n)
          Measure.time(fn -> Fixtures.sync!(server, url, ours, options) end)
        end,
        git: fn n ->
          change.(n)
          Measure.time(fetch)
        end
      )

    beside = {"git fetch --depth 1 and git reset --hard, partial and sparse", taken.git}
    what = "update of one file at a path, of #{Format.count(size)}"
    [Result.time("paths-update-#{size}", what, beside, taken.ours, 0.5)]
  end

  # All of them stay until the end, see `Scenarios.Clone`.
  defp into_fresh(fixtures, clone) do
    fn _round ->
      path = Fixtures.fresh(fixtures, "paths")
      Measure.time(fn -> clone.(path) end)
    end
  end
end
