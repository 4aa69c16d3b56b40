defmodule Alumiini.Git.Bench.Scenarios.Clone do
  @moduledoc "The first sync of 3,000 files."

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result}
  alias Alumiini.Git.Test.GitCommand

  @rounds 9
  @target 1.0

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    url = Fixtures.manifests!(fixtures, 10)

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

  defp into_fresh(fixtures, clone) do
    fn _round ->
      path = Fixtures.fresh(fixtures, "clone")
      taken = Measure.time(fn -> clone.(path) end)
      Fixtures.remove!(path)
      taken
    end
  end
end
