defmodule Fleet.Placement do
  @moduledoc """
  Follows this node's share of the repositories. One on each node; together they are a group of syn.

  Two nodes need not learn at the same moment that a third one has come or gone. So a change takes
  two steps:

    1. A placement that sees another group stops what is no longer its own, and then says to all in
       the group that it has settled for that group.
    2. It starts what is its own only when all in the group have settled for the same one.

  Whoever has a repository under another view of the group has stopped it by then. What may still
  be two are the sides of a netsplit, which do not see each other: see the guide "Many nodes". A
  node that has just started waits until it sees all placements of the nodes that it is connected
  to, so that it does not begin with everything.

  A node that has died says nothing and is not waited for: syn takes it out of the group when its
  connection is gone. That is at once where its process died, and after the tick time of the kernel
  (`net_ticktime`, 60 seconds) where its machine vanished.
  """

  use GenServer, shutdown: 30_000

  require Logger

  alias Fleet.{Repository, Share}

  @scope :fleet
  @group :placements
  # Until a start is tried again, ms: where another node's registration is about to go, and where
  # the repository's own processes cannot start.
  @soon 200
  @later 5_000
  # How long a node is waited for that is connected and does not answer, ms.
  @patience 5_000

  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "The placements of all nodes in sight."
  def members, do: for({pid, _meta} <- :syn.members(@scope, @group), do: pid)

  @doc "Has it look at the group again."
  def look do
    if pid = Process.whereis(__MODULE__), do: send(pid, :look)
    :ok
  end

  @doc "The URLs that this node follows."
  def local, do: GenServer.call(__MODULE__, :local, :infinity)

  @impl true
  def init(options) do
    # For `terminate/2`.
    Process.flag(:trap_exit, true)
    :ok = :syn.join(@scope, @group, self())

    state = %{
      options: options,
      repositories: [],
      # The group as this node sees it, and for which group each of it has settled.
      group: MapSet.new(),
      settled: %{},
      # The group that all has been announced to.
      announced: nil,
      # Placements that are there, and not in the group yet.
      awaited: MapSet.new(),
      # url => the supervisor of what follows it
      running: %{},
      retry: nil
    }

    {:ok, state, {:continue, :begin}}
  end

  @impl true
  def handle_continue(:begin, state) do
    there = there()
    Enum.each(there, &Process.monitor/1)
    handle_info(:refresh, %{state | awaited: MapSet.new(there)})
  end

  # Asked of the nodes, not of their placements, which may ask the same at this moment.
  defp there do
    Node.list()
    |> :erpc.multicall(Process, :whereis, [__MODULE__], @patience)
    |> Enum.flat_map(fn
      {:ok, pid} when is_pid(pid) -> [pid]
      # A node without a placement, or none of this kind.
      _other -> []
    end)
  end

  @impl true
  def handle_call(:local, _from, state), do: {:reply, Map.keys(state.running), state}

  @impl true
  # Also says again for what this node has settled, and what it follows, if that was lost with a
  # connection.
  def handle_info(:refresh, state) do
    Process.send_after(self(), :refresh, state.options.refresh)
    state = %{state | announced: nil}
    {:noreply, settle(%{state | repositories: repositories(state)}, group())}
  end

  def handle_info(:look, state) do
    case group() do
      same when same == state.group -> {:noreply, state}
      group -> {:noreply, settle(state, group)}
    end
  end

  def handle_info({:settled, pid, group}, state),
    do: {:noreply, start_own(%{state | settled: Map.put(state.settled, pid, group)})}

  def handle_info(:retry, state), do: {:noreply, start_own(%{state | retry: nil})}

  # What follows it gave up; its supervisor has said why.
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    case Enum.find(state.running, &match?({_url, ^pid}, &1)) do
      {url, _pid} -> {:noreply, state |> stopped(url) |> retry(@soon)}
      nil -> {:noreply, no_longer_awaited(state, pid)}
    end
  end

  defp no_longer_awaited(state, pid) do
    if pid in state.awaited,
      do: settle(%{state | awaited: MapSet.delete(state.awaited, pid)}, group()),
      else: state
  end

  @impl true
  # The node is stopped, in good order: nobody else starts before this is out of the group.
  def terminate(_reason, state) do
    Enum.reduce(Map.keys(state.running), state, &stop/2)
    :syn.leave(@scope, @group, self())
  end

  defp group, do: MapSet.new(members())

  # A list that cannot be had changes nothing.
  defp repositories(%{options: %{repositories: list}}) when is_list(list), do: Enum.uniq(list)

  defp repositories(%{options: %{repositories: read}} = state) do
    Enum.uniq(read.())
  rescue
    error ->
      Logger.error("the list of repositories cannot be read: #{Exception.message(error)}")
      state.repositories
  end

  ## Step 1

  defp settle(state, group) do
    awaited = MapSet.difference(state.awaited, group)
    state = %{state | group: group, awaited: awaited}
    if MapSet.size(awaited) == 0, do: settle(state), else: state
  end

  defp settle(state) do
    own = MapSet.new(own(state))

    state =
      state.running
      |> Map.keys()
      |> Enum.reject(&MapSet.member?(own, &1))
      |> Enum.reduce(state, &stop/2)

    for pid <- state.group, do: send(pid, {:settled, self(), state.group})
    %{state | settled: Map.take(state.settled, MapSet.to_list(state.group))}
  end

  defp own(state) do
    nodes = Enum.map(state.group, &node/1)
    Enum.filter(state.repositories, &(Share.owner(&1, nodes, state.options.quorum) == node()))
  end

  defp stop(url, state) do
    # It is gone when this returns.
    _ = DynamicSupervisor.terminate_child(Fleet.Repositories, state.running[url])
    stopped(state, url)
  end

  defp stopped(state, url) do
    event(:stop, url)
    %{state | running: Map.delete(state.running, url)}
  end

  ## Step 2

  defp start_own(state) do
    if self() in state.group and Enum.all?(state.group, &(state.settled[&1] == state.group)) do
      state = announce(state)
      missing = Enum.reject(own(state), &is_map_key(state.running, &1))
      Enum.reduce(missing, state, &start/2)
    else
      state
    end
  end

  # Once for each group: a node that has just come may have heard otherwise.
  defp announce(%{announced: group, group: group} = state), do: state

  defp announce(state) do
    for {url, pid} <- state.running, do: Repository.announce(pid, url)
    %{state | announced: state.group}
  end

  defp start(url, state) do
    event(:start, url)

    case DynamicSupervisor.start_child(Fleet.Repositories, {Repository, {url, state.options}}) do
      {:ok, pid} ->
        Process.monitor(pid)
        %{state | running: Map.put(state.running, url, pid)}

      # It is registered elsewhere: syn has not heard yet that it ended there.
      {:error, {:shutdown, {:failed_to_start_child, _child, {:already_started, _pid}}}} ->
        event(:stop, url)
        retry(state, @soon)

      {:error, reason} ->
        Logger.error("#{Repository.shown(url)} cannot be followed: #{inspect(reason)}")
        event(:stop, url)
        retry(state, @later)
    end
  end

  # One timer for all, for the first of them.
  defp retry(state, pause) do
    left = state.retry && Process.read_timer(state.retry)

    if is_integer(left) and left <= pause do
      state
    else
      if state.retry, do: Process.cancel_timer(state.retry)
      %{state | retry: Process.send_after(self(), :retry, pause)}
    end
  end

  defp event(what, url), do: :telemetry.execute([:fleet, :repository, what], %{}, %{url: url})
end
