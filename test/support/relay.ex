defmodule Alumiini.Git.Test.Relay do
  @moduledoc """
  Stands between a client and a server on loopback, and makes the way between them longer, or lead
  nowhere.

      relay = start_supervised!({Relay, to: SshServer.port(server)})
      Relay.stall_after(relay, 1_200)
      Relay.port(relay)

  It counts connections and bytes, delays each byte (not the number of bytes in a time), stops
  passing on what the server says, and cuts connections. It knows nothing of what passes through it.
  """

  use GenServer

  alias Alumiini.Git.Test.Relay.Connection

  @type server :: GenServer.server()
  @type stats :: %{
          connections: non_neg_integer,
          open: non_neg_integer,
          peak: non_neg_integer,
          stalled: non_neg_integer,
          stalls: non_neg_integer,
          up: non_neg_integer,
          down: non_neg_integer
        }

  @doc """
  Starts a relay. Options:

    * `:to` - the server's port on loopback (required)
    * `:delay` - milliseconds by which each direction is later; 0
    * `:log` - `false` keeps no record of the turns, for benchmarks
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    GenServer.start_link(__MODULE__, Keyword.validate!(options, [:to, delay: 0, log: true]))
  end

  @doc "Several relays may run under one supervisor."
  def child_spec(options) do
    %{id: make_ref(), start: {__MODULE__, :start_link, [options]}, restart: :temporary}
  end

  @spec port(server) :: :inet.port_number()
  def port(relay), do: GenServer.call(relay, :port)

  @doc """
  From now on, connections pass on so many bytes of the server's, and then nothing in either
  direction. `:never` undoes it.
  """
  @spec stall_after(server, non_neg_integer | :never) :: :ok
  def stall_after(relay, bytes), do: GenServer.call(relay, {:set, :stall, bytes})

  @doc """
  From now on, the connections that are open pass on nothing more: a firewall has forgotten them.
  """
  @spec silence(server) :: :ok
  def silence(relay), do: GenServer.call(relay, :silence)

  @doc """
  Ends all connections, by `:close`, or `:reset` as a firewall or a crash does. Returns when they
  are gone.
  """
  @spec cut(server, :close | :reset) :: :ok
  def cut(relay, how \\ :close) do
    GenServer.call(relay, {:cut, how})
    await(relay, {:open, 0})
  end

  @doc """
  Counts since the start or `reset/1`; `up` is what clients sent, `down` what the server did, in
  bytes, `peak` the most connections that were open at a time, and `stalls` how many came to where
  `stall_after/2` let them end.
  """
  @spec stats(server) :: stats
  def stats(relay), do: GenServer.call(relay, :stats)

  @doc """
  How many bytes the server had sent before each time that it spoke after the client did, or first:
  where in a conversation it can fall silent. Of connections that are one after the other.
  """
  @spec turns(server) :: [non_neg_integer]
  def turns(relay), do: GenServer.call(relay, :turns)

  @doc "Sets the counts of bytes and connections, and the turns, to nothing."
  @spec reset(server) :: :ok
  def reset(relay), do: GenServer.call(relay, :reset)

  @doc """
  Waits until exactly `{:open, n}` connections are open, `{:stalled, n}` of them (or none) stalled,
  or `{:connections, n}` have been accepted; raises where that does not come in time.
  """
  @spec await(server, {:open | :stalled | :connections, non_neg_integer}, timeout) :: :ok
  def await(relay, condition, timeout \\ 10_000) do
    ref = GenServer.call(relay, {:notify, condition})

    receive do
      {^ref, :reached} -> :ok
    after
      timeout ->
        GenServer.call(relay, {:forget, ref})

        # It may have come in between.
        receive do
          {^ref, :reached} -> :ok
        after
          0 -> raise "#{inspect(condition)} not reached in #{timeout} ms; #{inspect(stats(relay))}"
        end
    end
  end

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    {:ok, listener} =
      :gen_tcp.listen(0, [ip: {127, 0, 0, 1}, backlog: 1024] ++ Connection.socket_options())

    {:ok, port} = :inet.port(listener)

    state = %{
      listener: listener,
      port: port,
      settings: %{
        relay: self(),
        to: options[:to],
        delay: options[:delay],
        log?: options[:log],
        stall: :never,
        counters: :counters.new(2, [:write_concurrency])
      },
      connections: 0,
      open: %{},
      peak: 0,
      stalled: MapSet.new(),
      stalls: 0,
      turns: [],
      last: :up,
      logged: 0,
      waiting: []
    }

    for _ <- 1..8, do: start_acceptor(state)
    {:ok, state}
  end

  # The settings of a connection are those of the time when it is accepted, so the acceptor asks for
  # them then.
  defp start_acceptor(%{listener: listener}) do
    relay = self()

    spawn_link(fn ->
      case :gen_tcp.accept(listener) do
        {:ok, socket} -> Connection.run(socket, GenServer.call(relay, :accepted))
        {:error, :closed} -> :ok
      end
    end)
  end

  @impl true
  def handle_call(:accepted, {pid, _tag}, state) do
    # Whether it is stalled, for both directions to see at once.
    flag = :atomics.new(1, [])
    open = Map.put(state.open, pid, flag)
    peak = max(state.peak, map_size(open))
    state = %{state | connections: state.connections + 1, open: open, peak: peak}
    start_acceptor(state)
    {:reply, Map.put(state.settings, :stalled, flag), check(state)}
  end

  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:turns, _from, state), do: {:reply, Enum.reverse(state.turns), state}
  def handle_call(:stats, _from, state), do: {:reply, counts(state), state}

  def handle_call({:set, key, value}, _from, state) do
    {:reply, :ok, put_in(state.settings[key], value)}
  end

  def handle_call({:cut, how}, _from, state) do
    for {pid, _flag} <- state.open, do: send(pid, {:cut, how})
    {:reply, :ok, state}
  end

  def handle_call(:silence, _from, state) do
    for {_pid, flag} <- state.open, do: :atomics.put(flag, 1, 1)
    {:reply, :ok, check(%{state | stalled: state.open |> Map.keys() |> MapSet.new()})}
  end

  def handle_call(:reset, _from, state) do
    for index <- 1..2, do: :counters.put(state.settings.counters, index, 0)

    {:reply, :ok,
     %{
       state
       | connections: 0,
         peak: map_size(state.open),
         stalls: 0,
         turns: [],
         last: :up,
         logged: 0
     }}
  end

  def handle_call({:notify, condition}, {pid, _tag}, state) do
    ref = make_ref()
    {:reply, ref, check(%{state | waiting: [{ref, pid, condition} | state.waiting]})}
  end

  def handle_call({:forget, ref}, _from, state) do
    {:reply, :ok, %{state | waiting: Enum.reject(state.waiting, &(elem(&1, 0) == ref))}}
  end

  @impl true
  def handle_info({:passed, :up, _bytes}, state), do: {:noreply, %{state | last: :up}}

  def handle_info({:passed, :down, bytes}, state) do
    turns = if state.last == :up, do: [state.logged | state.turns], else: state.turns
    {:noreply, %{state | last: :down, turns: turns, logged: state.logged + bytes}}
  end

  def handle_info({:stalled, pid}, state) do
    stalled = MapSet.put(state.stalled, pid)
    {:noreply, check(%{state | stalled: stalled, stalls: state.stalls + 1})}
  end

  def handle_info({:EXIT, pid, _reason}, state) do
    {open, stalled} = {Map.delete(state.open, pid), MapSet.delete(state.stalled, pid)}
    {:noreply, check(%{state | open: open, stalled: stalled})}
  end

  defp counts(state) do
    %{
      connections: state.connections,
      open: map_size(state.open),
      peak: state.peak,
      stalled: MapSet.size(state.stalled),
      stalls: state.stalls,
      up: :counters.get(state.settings.counters, 1),
      down: :counters.get(state.settings.counters, 2)
    }
  end

  defp check(state) do
    counts = counts(state)

    waiting =
      Enum.reject(state.waiting, fn {ref, pid, {what, n}} ->
        count = Map.fetch!(counts, what)
        reached? = if what == :open or n == 0, do: count == n, else: count >= n
        if reached?, do: send(pid, {ref, :reached})
        reached?
      end)

    %{state | waiting: waiting}
  end
end
