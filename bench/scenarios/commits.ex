defmodule Alumiini.Git.Bench.Scenarios.Commits do
  @moduledoc """
  Reads of commits: a snapshot of 1,000 manifests of 2 KiB, with a working tree and without one,
  and with all of them known; what ten changed files are, at two sizes; the newest 100 commits.
  """

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result}
  alias Alumiini.Git.Test.{GitCommand, Manifests, Repository}

  @rounds 15
  @manifests 1_000
  @bytes 2_048
  @sizes [3_000, 15_000]
  @commits 5_000
  @snapshot 0.3
  @known 0.05
  @half 0.5

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    Fixtures.with_worker(fixtures, fn server ->
      snapshots(fixtures, server) ++
        Enum.flat_map(@sizes, &diff(fixtures, server, &1)) ++ log(fixtures, server)
    end)
  end

  defp snapshots(fixtures, server) do
    origin = Repository.create!(fixtures.origins, "snapshot.git")
    Repository.commit!(origin, Manifests.many(@manifests, bytes: @bytes))
    Repository.repack!(origin)
    [tree, bare] = for label <- ["snapshot", "snapshot-bare"], do: Fixtures.fresh(fixtures, label)
    Fixtures.sync!(server, origin, tree)
    Fixtures.sync!(server, origin, bare, working_tree: false)
    {:ok, snapshot} = Alumiini.Git.snapshot(bare, server: server)
    known = Enum.map(snapshot.files, & &1.oid)

    ours = fn path, options ->
      timed(fn ->
        {:ok, snapshot} = Alumiini.Git.snapshot(path, [server: server] ++ options)
        @manifests = length(snapshot.files)
      end)
    end

    taken =
      Measure.interleave("snapshot", @rounds,
        tree: ours.(tree, []),
        bare: ours.(bare, []),
        known: ours.(bare, known: known),
        git: git(bare, ["archive", "--format=tar", "HEAD"])
      )

    beside = {"git archive", taken.git}
    what = "snapshot of 1,000 manifests of 2 KiB"

    [
      Result.time("snapshot", what, beside, taken.tree, @snapshot),
      Result.time("snapshot-bare", "the same, no working tree", beside, taken.bare, @snapshot),
      Result.time("snapshot-known", "the same, all known", beside, taken.known, @known)
    ]
  end

  defp diff(fixtures, server, size) do
    origin = Path.join(fixtures.origins, Fixtures.manifests!(fixtures, 10, size))
    path = Fixtures.fresh(fixtures, "diff")
    old = Fixtures.sync!(server, origin, path, working_tree: false)
    changed = size |> Manifests.many(bytes: 512, seed: 2) |> Enum.take_every(div(size, 10))
    changed = Map.new(changed, fn {path, content} -> {path, IO.iodata_to_binary(content)} end)
    new = Repository.commit!(origin, changed)
    Fixtures.sync!(server, origin, path, working_tree: false, keep: 2)

    taken =
      Measure.interleave("diff", @rounds,
        ours:
          timed(fn ->
            {:ok, changes} = Alumiini.Git.diff(path, old, new, server: server)
            10 = length(changes)
          end),
        git: git(path, ["diff", "--name-status", old, new])
      )

    GitCommand.run!(["update-ref", "refs/heads/main", old], cd: origin)
    what = "diff of ten files of #{Alumiini.Git.Bench.Format.count(size)}"
    [Result.time("diff-#{size}", what, {"git diff --name-status", taken.git}, taken.ours, @half)]
  end

  defp log(fixtures, server) do
    origin = Repository.create!(fixtures.origins, "log.git")
    Repository.history!(origin, @commits)
    Repository.repack!(origin)
    path = Fixtures.fresh(fixtures, "log")
    Fixtures.sync!(server, origin, path, working_tree: false, depth: :infinity)

    taken =
      Measure.interleave("log", @rounds,
        ours:
          timed(fn ->
            {:ok, commits} = Alumiini.Git.log(path, server: server)
            100 = length(commits)
          end),
        git: git(path, ["log", "-100"])
      )

    [Result.time("log", "log of 100 commits", {"git log -100", taken.git}, taken.ours, @half)]
  end

  defp timed(fun), do: fn _round -> Measure.time(fun) end

  defp git(path, arguments) do
    timed(fn -> GitCommand.run!(arguments, cd: Path.join(path, ".git")) end)
  end
end
