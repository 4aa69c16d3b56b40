defmodule Alumiini.Git.Bench.Scenarios.Poll do
  @moduledoc """
  A sync with nothing new, the check of 3,000 files included, which is where most of its time goes,
  so there is one with 300, too: with few refs on the server and with many, over each way that leads
  to one.
  """

  alias Alumiini.Git.Bench.{Baseline, Fixtures, Format, Measure, Result, Way}
  alias Alumiini.Git.Test.GitCommand

  @rounds 25
  @few 10
  @many 20_000
  @fewer_files 300

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    [http, https] = [Way.http(fixtures), Way.https(fixtures)]

    [
      poll(fixtures, http, @few, 0.12, files: @fewer_files),
      poll(fixtures, http, @few, 0.12, others: beside_a_server(fixtures)),
      poll(fixtures, http, @many, 0.12),
      alike(http, fixtures),
      poll(fixtures, https, @few, 0.12),
      poll(fixtures, https, @many, 0.12),
      alike(https, fixtures),
      poll(fixtures, Way.ssh(fixtures), @few, 0.1)
    ]
  end

  defp poll(fixtures, way, refs, target, options \\ []) do
    files = options[:files]

    name =
      if files,
        do: Fixtures.manifests!(fixtures, refs, files),
        else: Fixtures.manifests!(fixtures, refs)

    taken = measure(fixtures, way, name)

    Result.time(
      Enum.join(["poll", String.downcase(way.name), refs | List.wrap(files)], "-"),
      "nothing new over #{way.name}, #{Format.count(refs)} refs#{if files, do: ", #{files} files"}",
      {"git fetch --depth 1", taken.git},
      taken.ours,
      target,
      Keyword.get(options, :others, [])
    )
  end

  # The same where a server that is as slow as Git itself has to share the client's cores: what it
  # takes alone leaves next to nothing for a client to be quick in.
  defp beside_a_server(fixtures) do
    way = Way.http_backend(fixtures)
    socket = Baseline.connect!(way.port)
    name = Fixtures.manifests!(fixtures, @few)
    url = Way.url(way, name)
    server = [server: fn _ -> Measure.time(fn -> Baseline.ask!(socket, url) end) end]
    taken = measure(fixtures, way, name, server)
    :gen_tcp.close(socket)

    [
      {"with git http-backend on the same cores, ours", taken.ours},
      {"with git http-backend on the same cores, git fetch --depth 1", taken.git},
      {"the bare request to git http-backend, on an open connection", taken.server}
    ]
  end

  defp measure(fixtures, way, name, more \\ []) do
    url = Way.url(way, name)
    [ours, theirs] = for label <- ["poll", "poll-git"], do: Fixtures.fresh(fixtures, label)
    GitCommand.run!(Fixtures.clone_arguments(url, theirs), config: way.config)

    Fixtures.with_worker(fixtures, fn server ->
      sync = fn _round ->
        Measure.time(fn -> Fixtures.sync!(server, url, ours, Way.options(way, way.port)) end)
      end

      fetch = fn -> GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs, config: way.config) end
      Fixtures.settle(fn -> sync.(0) end)

      contenders = [ours: sync, git: fn _ -> Measure.time(fetch) end]
      Measure.interleave("nothing new over #{way.name}, #{name}", @rounds, contenders ++ more)
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

        Fixtures.settle(fn -> for one <- [few, many], do: sync.(one).(0) end)

        Measure.interleave("few refs and many over #{way.name}", @rounds,
          few: sync.(few),
          many: sync.(many)
        )
      end)

    Result.time(
      "alike-#{String.downcase(way.name)}",
      "the same over #{way.name}: #{Format.count(@many)} refs beside #{@few}",
      {"ours with #{@few} refs", taken.few},
      taken.many,
      1.2
    )
  end
end
