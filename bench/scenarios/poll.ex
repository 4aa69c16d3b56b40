defmodule Alumiini.Git.Bench.Scenarios.Poll do
  @moduledoc """
  A sync with nothing new, the check of 3,000 files included: with few refs on the server and with many, over each way that
  leads to one.
  """

  alias Alumiini.Git.Bench.{Fixtures, Floor, Format, Measure, Result, Way}
  alias Alumiini.Git.Test.GitCommand

  @rounds 25
  @settle 4_000
  @few 10
  @many 20_000

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    web =
      for way <- [Way.http(fixtures), Way.https(fixtures)] do
        poll(fixtures, way, [@few, @many], 0.12) ++ [alike(way, fixtures)]
      end

    List.flatten(web) ++ poll(fixtures, Way.ssh(fixtures), [@few], 0.1)
  end

  defp poll(fixtures, way, sizes, target) do
    for refs <- sizes do
      taken = measure(fixtures, way, refs)

      others =
        case taken do
          %{server: server} ->
            [{"of that, the server's answer (the bare request, on an open connection)", server}]

          _none ->
            []
        end

      Result.time(
        "poll-#{String.downcase(way.name)}-#{refs}",
        "nothing new over #{way.name}, #{Format.count(refs)} refs",
        {"git fetch --depth 1", taken.git},
        taken.ours,
        target,
        others
      )
    end
  end

  defp measure(fixtures, way, refs) do
    name = Fixtures.manifests!(fixtures, refs)
    url = Way.url(way, name)
    [ours, theirs] = for label <- ["poll", "poll-git"], do: Fixtures.fresh(fixtures, label)
    GitCommand.run!(Fixtures.clone_arguments(url, theirs), config: way.config)

    Fixtures.with_worker(fixtures, fn server ->
      sync = fn _round ->
        Measure.time(fn -> Fixtures.sync!(server, url, ours, Way.options(way, way.port)) end)
      end

      fetch = fn -> GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs, config: way.config) end
      settle(sync)

      contenders = [ours: sync, git: fn _ -> Measure.time(fetch) end]
      Measure.interleave("nothing new over #{way.name}, #{refs} refs", @rounds, contenders ++ floor(way, url))
    end)
  end

  # What a sync with nothing new costs must not grow with what else is there.
  defp alike(way, fixtures) do
    [few, many] =
      for refs <- [@few, @many] do
        url = Way.url(way, Fixtures.manifests!(fixtures, refs))
        {url, Fixtures.fresh(fixtures, "alike")}
      end

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        sync = fn {url, path} ->
          fn _round ->
            Measure.time(fn -> Fixtures.sync!(server, url, path, Way.options(way, way.port)) end)
          end
        end

        for one <- [few, many], do: settle(sync.(one))
        Measure.interleave("few refs and many over #{way.name}", @rounds, few: sync.(few), many: sync.(many))
      end)

    Result.time(
      "alike-#{String.downcase(way.name)}",
      "the same over #{way.name}: #{Format.count(@many)} refs beside #{@few}",
      {"ours with #{@few} refs", taken.few},
      taken.many,
      1.2
    )
  end

  # "Warm" is a clone that has been there for a while: what is seconds old is looked at more closely, and the second look may write the
  # index once more.
  defp settle(sync) do
    for _look <- 1..2 do
      sync.(0)
      Process.sleep(@settle)
    end

    sync.(0)
  end

  defp floor(%Way{name: "HTTP"} = way, url) do
    socket = Floor.connect!(way.port)
    [server: fn _ -> Measure.time(fn -> Floor.ask!(socket, url) end) end]
  end

  defp floor(_way, _url), do: []
end
