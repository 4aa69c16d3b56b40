defmodule Alumiini.Git.Bench.Scenarios.Clone do
  @moduledoc "The first sync of 3,000 files."

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result}
  alias Alumiini.Git.Test.{GitCommand, HttpServer}

  @rounds 9
  @target 1.0

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    url = HttpServer.url(fixtures.http, Fixtures.manifests!(fixtures, 10))

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        Measure.interleave("clone", @rounds,
          ours: into_fresh(fixtures, &Fixtures.sync!(server, url, &1)),
          git: into_fresh(fixtures, &GitCommand.run!(Fixtures.clone_arguments(url, &1)))
        )
      end)

    [
      Result.time(
        "clone",
        "clone at depth 1, 3,000 files",
        {"git clone --depth 1 --single-branch --no-tags", taken.git},
        taken.ours,
        @target
      )
    ]
  end

  # All of them stay until the end. ext4 looks for a long time for a free inode where many were
  # freed within the last seconds, and that would be measured.
  defp into_fresh(fixtures, clone) do
    fn _round ->
      path = Fixtures.fresh(fixtures, "clone")
      Measure.time(fn -> clone.(path) end)
    end
  end
end
