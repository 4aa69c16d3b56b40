defmodule Alumiini.Git.Telemetry.ServerInfo do
  @moduledoc false

  # The numbers of a server as events, for pollers.
  #
  # A host is told of while it is busy, or something is wrong there. So that what shows the last
  # number of each does not show it for ever, it is told of once more after that. Which ones those
  # are is known to the process that asks: a poller is one process.

  alias Alumiini.Git.{Error, Info}
  alias Alumiini.Git.Server.Look

  @counts [:pending, :in_flight, :queued, :workers, :attempts]
  @of_hosts [:running, :waiting, :limit, :failing]

  @spec dispatch(GenServer.server(), keyword) :: :ok
  def dispatch(server, options) do
    case Look.run(server, options) do
      {:ok, %Info{} = info} ->
        up = if info.version, do: 1, else: 0
        told = %{server: server, result: :ok, version: info.version, target: info.target}
        execute(:server, info |> Map.take(@counts) |> Map.put(:up, up), told)
        hosts(server, info.hosts)

      {:error, %Error{reason: reason}} ->
        told = %{server: server, result: reason, version: nil, target: nil}
        execute(:server, Map.new([:up | @counts], &{&1, 0}), told)
        hosts(server, [])
    end
  end

  # They were not asked for, or the worker did not tell.
  defp hosts(_server, nil), do: :ok

  defp hosts(server, hosts) do
    busy = Map.new(hosts, &{{&1.host, &1.proxy}, &1})
    before = Process.get({__MODULE__, server}, %{})
    Enum.each(Map.drop(before, Map.keys(busy)), fn {_key, host} -> host(server, idle(host)) end)
    Enum.each(hosts, &host(server, &1))
    _ = Process.put({__MODULE__, server}, busy)
    :ok
  end

  defp idle(host),
    do: %{host | running: 0, waiting: 0, failing: 0, held_for: nil, circuit: :closed}

  defp host(server, host) do
    measurements =
      host
      |> Map.take(@of_hosts)
      |> Map.put(:held_for, host.held_for || 0)
      |> Map.put(:open, if(host.circuit == :open, do: 1, else: 0))

    told = host |> Map.take([:host, :proxy, :circuit]) |> Map.put(:server, server)
    execute(:host, measurements, told)
  end

  defp execute(of, measurements, metadata),
    do: :telemetry.execute([:alumiini_git, of, :info], measurements, metadata)
end
