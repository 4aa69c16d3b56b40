defmodule Cluster.Supervisor do
  @moduledoc """
  A stand-in for the Hex package `libcluster`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has its supervisor, and the strategy `Cluster.Strategy.Epmd`, as they are documented. It is
  never published.
  """

  use Supervisor

  def start_link([topologies]), do: start_link([topologies, []])

  def start_link([topologies, options]),
    do: Supervisor.start_link(__MODULE__, topologies, options)

  @impl true
  def init(topologies) do
    children =
      for {topology, options} <- topologies do
        config = Keyword.get(options, :config, [])
        %{id: topology, start: {Keyword.fetch!(options, :strategy), :start_link, [config]}}
      end

    Supervisor.init(children, strategy: :one_for_one)
  end
end

defmodule Cluster.Strategy.Epmd do
  @moduledoc false
  use GenServer

  def start_link(config) do
    case Keyword.get(config, :hosts, []) do
      [] -> :ignore
      hosts -> GenServer.start_link(__MODULE__, {hosts, Keyword.get(config, :timeout, :infinity)})
    end
  end

  @impl true
  def init({hosts, timeout}), do: connect(hosts, timeout, :ok)

  @impl true
  def handle_info(:timeout, {hosts, timeout}), do: connect(hosts, timeout, :noreply)

  defp connect(hosts, timeout, tag) do
    for host <- hosts, host != node(), do: Node.connect(host)
    {tag, {hosts, timeout}, timeout}
  end
end
