defmodule Alumiini.Git.Bench.Scenarios.Distance do
  @moduledoc """
  A sync with nothing new from far away: how many round trips it takes where one takes 50 ms, and
  how many bytes go each way.
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Measure, Result, Statistics, Way}
  alias Alumiini.Git.Test.Relay

  # Each way: a round trip is 50 ms longer.
  @delay 25
  @rounds 15
  @polls 20
  @kibibyte 1_024

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    ways = [Way.http(fixtures), Way.https(fixtures), Way.ssh(fixtures)]

    for(way <- ways, do: far(fixtures, way)) ++
      for refs <- [10, 20_000], do: bytes(fixtures, hd(ways), refs)
  end

  defp far(fixtures, way) do
    {:ok, relay} = Relay.start_link(to: way.port, delay: @delay, log: false)
    {url, options} = through(way, relay, Fixtures.manifests!(fixtures, 10))
    path = Fixtures.fresh(fixtures, "far")

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        sync = fn _round -> Measure.time(fn -> Fixtures.sync!(server, url, path, options) end) end
        Fixtures.settle(fn -> sync.(0) end)
        echo = echo!()

        Measure.interleave("from far away over #{way.name}", @rounds,
          ours: sync,
          echo: fn _ -> Measure.time(fn -> ask!(echo) end) end
        )
      end)

    GenServer.stop(relay)

    Result.time(
      "far-#{String.downcase(way.name)}",
      "nothing new over #{way.name}, 50 ms away",
      {"one round trip (an echo over the same distance)", taken.echo},
      taken.ours,
      1.2
    )
  end

  defp bytes(fixtures, way, refs) do
    {:ok, relay} = Relay.start_link(to: way.port, log: false)
    {url, options} = through(way, relay, Fixtures.manifests!(fixtures, refs))
    path = Fixtures.fresh(fixtures, "bytes")

    samples =
      Fixtures.with_worker(fixtures, fn server ->
        Fixtures.sync!(server, url, path, options)

        for _poll <- 1..@polls do
          Relay.reset(relay)
          Fixtures.sync!(server, url, path, options)
          %{up: up, down: down} = Relay.stats(relay)
          max(up, down)
        end
      end)

    GenServer.stop(relay)

    Result.limit(
      "bytes-#{refs}",
      "bytes of that, the larger way, #{Format.count(refs)} refs",
      Statistics.summary(samples),
      @kibibyte
    )
  end

  # The host key is known by the port.
  defp through(way, relay, name) do
    {way.url.(name, Relay.port(relay)), Way.options(way, Relay.port(relay))}
  end

  defp echo! do
    {:ok, listener} =
      :gen_tcp.listen(0, [:binary, active: false, nodelay: true, ip: {127, 0, 0, 1}])

    {:ok, port} = :inet.port(listener)
    spawn_link(fn -> repeat(listener) end)
    {:ok, relay} = Relay.start_link(to: port, delay: @delay, log: false)
    options = [:binary, active: false, nodelay: true]
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Relay.port(relay), options)
    socket
  end

  defp repeat(listener) do
    {:ok, socket} = :gen_tcp.accept(listener)
    say_again(socket)
  end

  defp say_again(socket) do
    with {:ok, said} <- :gen_tcp.recv(socket, 0),
         :ok <- :gen_tcp.send(socket, said),
         do: say_again(socket)
  end

  defp ask!(socket) do
    :ok = :gen_tcp.send(socket, "?")
    {:ok, "?"} = :gen_tcp.recv(socket, 1, 30_000)
  end
end
