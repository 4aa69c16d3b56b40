defmodule Alumiini.Git.Bench.Scenarios.Poll do
  @moduledoc "A sync with nothing new, the check of 3,000 files included; with few refs on the server and with many."

  alias Alumiini.Git.Bench.{Fixtures, Floor, Format, Measure, Result}
  alias Alumiini.Git.Test.{GitCommand, HttpServer}

  @rounds 25
  @target 0.15
  @settle 4_000

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures), do: for(refs <- [10, 20_000], do: poll(fixtures, refs))

  defp poll(fixtures, refs) do
    url = Fixtures.manifests!(fixtures, refs)
    [ours, theirs] = for label <- ["poll", "poll-git"], do: Fixtures.fresh(fixtures, label)
    GitCommand.run!(Fixtures.clone_arguments(url, theirs))
    socket = Floor.connect!(HttpServer.port(fixtures.http))

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        Fixtures.sync!(server, url, ours)
        # "Warm" is a clone that has been there for a while: what is seconds old is looked at more closely.
        Process.sleep(@settle)
        Fixtures.sync!(server, url, ours)

        Measure.interleave("sync with nothing new, #{refs} refs", @rounds,
          ours: fn _ -> Measure.time(fn -> Fixtures.sync!(server, url, ours) end) end,
          git: fn _ -> Measure.time(fn -> GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs) end) end,
          server: fn _ -> Measure.time(fn -> Floor.ask!(socket, url) end) end
        )
      end)

    :gen_tcp.close(socket)

    Result.time(
      "poll-#{refs}",
      "sync with nothing new, 3,000 files, #{Format.count(refs)} refs",
      {"git fetch --depth 1", taken.git},
      taken.ours,
      @target,
      [{"of that, the server's answer (the bare request, on an open connection)", taken.server}]
    )
  end
end
