defmodule Fleet do
  @moduledoc """
  Follows many repositories from many nodes. Each repository is followed by one node at a time: when
  a node ends or dies, the others take its repositories over, and when one comes, it gets its share.

      children = [{Fleet, directory: "/var/lib/fleet", repositories: ["https://git.example.com/a.git"]}]

  Start it on each node, with the same repositories. libcluster connects the nodes; syn tells each
  of them which others there are, and knows on which node each repository is followed.

  ## Options

    * `:directory` - where this node keeps its repositories. One of its own for each node. Required
    * `:repositories` - the URLs: a list, or a function that returns one, which is asked again once
      in `:refresh`. It must not take long: other nodes wait for this one meanwhile. Required
    * `:worker` - the module of the process that works with a repository, one for each: see
      `Fleet.Worker`, the default
    * `:quorum` - with fewer nodes than this in sight nothing is followed. Default: 1
    * `:refresh` - how often to look at the repositories again, in milliseconds. Default: 60,000
    * `:topologies` - for libcluster, see `Cluster.Supervisor`. Default: none
    * `:server` - options of the `Alumiini.Git` that is started here. Default: `[]`
    * `:follower` - options of each `Alumiini.Git.Follower`, such as `:interval` and `:auth`.
      Default: `[ref: :default]`

  ## Telemetry

  `[:fleet, :repository, :start]` and `[:fleet, :repository, :stop]`, on the node that it is about,
  with `%{url: url}`: before a repository is first looked at there, and after the last time. Between
  the two it is this node's.
  """

  use Supervisor

  @options [
    :directory,
    :repositories,
    worker: Fleet.Worker,
    quorum: 1,
    refresh: 60_000,
    topologies: [],
    server: [],
    follower: [ref: :default]
  ]

  @scope :fleet

  def start_link(options),
    do: Supervisor.start_link(__MODULE__, options!(options), name: __MODULE__)

  @doc "The URLs that this node follows."
  def local, do: Fleet.Placement.local()

  @doc "The node that follows `url` now, or `nil`, as far as this one knows."
  def node_of(url) do
    case :syn.lookup(@scope, url) do
      {pid, _meta} -> node(pid)
      :undefined -> nil
    end
  end

  @doc """
  The name of the follower of `url`, wherever it runs: for `Alumiini.Git.Follower.subscribe/3`,
  `poke/2` and `status/1`.
  """
  def follower(url), do: {:via, :syn, {@scope, url}}

  @doc "Pokes all followers that a push is about, on each node: what a webhook's receiver calls."
  def poke_all(push) do
    nodes = for pid <- Fleet.Placement.members(), do: node(pid)

    nodes
    |> :erpc.multicall(Alumiini.Git.Follower, :poke_all, [push], 5_000)
    |> Enum.reduce(0, fn
      {:ok, poked}, sum -> sum + poked
      # It is gone, and another node begins with a poll of its own.
      _gone, sum -> sum
    end)
  end

  @impl true
  def init(options) do
    :ok = :syn.add_node_to_scopes([@scope])
    :ok = :syn.set_event_handler(Fleet.Events)

    children = [
      {Cluster.Supervisor, [options.topologies, [name: Fleet.ClusterSupervisor]]},
      {Alumiini.Git, options.server},
      {DynamicSupervisor, name: Fleet.Repositories},
      # Last, so that it ends first: it gives up this node's repositories in good order.
      {Fleet.Placement, options}
    ]

    # Whatever ends, the placement begins anew: it knows what it started.
    Supervisor.init(children, strategy: :one_for_all)
  end

  defp options!(options) do
    options = options |> Keyword.validate!(@options) |> Map.new()

    for required <- [:directory, :repositories], not is_map_key(options, required) do
      raise ArgumentError, "Fleet needs the option #{inspect(required)}"
    end

    options
  end
end
