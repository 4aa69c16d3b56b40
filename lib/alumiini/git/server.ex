defmodule Alumiini.Git.Server do
  @moduledoc false

  # The process between the callers and the worker. It owns the worker's port, the pending requests
  # with their deadlines, and the decision what to do when a worker dies. It takes the messages:
  # `Requests` has the life of a request, `Workers` that of a worker. It never waits for anything:
  # not for a worker (`Writer` writes), not for a caller (`Reply` answers), not for a kill.
  #
  # Its messages, and those that go back, are described in `Alumiini.Git.Server.Call`.

  use GenServer

  alias Alumiini.Git.{Info, Options, Telemetry}

  alias Alumiini.Git.Server.{
    Call,
    LeaseKeeper,
    Pending,
    Protocol,
    Reply,
    Requests,
    Shared,
    State,
    Worker,
    Workers,
    Writer
  }

  import State, only: [put_worker: 2]

  @spec start_link(Options.Check.start()) :: GenServer.on_start()
  def start_link(options) do
    registration = if options.name, do: [name: options.name], else: []
    GenServer.start_link(__MODULE__, options, registration)
  end

  # The way to ask a worker for anything that is on the wire: the request as `protocol/README.md`
  # has it, without `id` and `timeout`. Tests add `fault` to one.
  #
  #   * `:timeout` - ms
  #   * `:as` - `:lease` for a request that a keeper is to make, and to go on with
  #   * `:on_event` - called in this process with each event's name and map, if the request has
  #     `"progress" => true`
  @spec call(GenServer.server(), map, keyword) :: {:ok, map} | {:error, Alumiini.Git.Error.t()}
  defdelegate call(server, request, options \\ []), to: Call, as: :run

  # What the server is doing, in numbers. Exits as any call of a GenServer; `Look` does not.
  @spec info(GenServer.server()) :: Info.t()
  def info(server), do: GenServer.call(server, :info)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    {:ok, State.new(options), {:continue, :start}}
  end

  @impl true
  def handle_continue(:start, state), do: {:noreply, Workers.start_main(state)}

  @impl true
  def handle_call(:info, _from, state), do: {:reply, numbers(state), state}

  def handle_call({Shared, question}, _from, state) do
    {answer, shared} = Shared.answer(state.shared, question, state.name)
    {:reply, answer, %{state | shared: shared}}
  end

  def handle_call(_unknown, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl true
  def handle_cast(_unknown, state), do: {:noreply, state}

  @impl true
  # What another version of this library may send from another node is not taken.
  def handle_info(
        {Call, :request,
         %{ref: _, caller: _, op: _, request: %{}, timeout: _, deadline: _, events?: _} = request},
        state
      ) do
    {:noreply, Requests.add(state, request)}
  end

  def handle_info({Call, :lease, %{ref: _, caller: _, request: %{}} = request}, state) do
    LeaseKeeper.start(state.name, request)
    {:noreply, state}
  end

  def handle_info({Call, :info, %{ref: _, caller: _} = request}, state) do
    Reply.result(request, {:ok, numbers(state)})
    {:noreply, state}
  end

  def handle_info({Call, :cancel, ref}, state) do
    case Pending.id(state.pending, ref) do
      {:ok, id} -> {:noreply, Requests.give_up(state, id, fn _entry -> :ok end)}
      :error -> {:noreply, state}
    end
  end

  # A caller is gone: nobody waits for its request. Or it is a process that users shared.
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Pending.id(state.pending, monitor) do
      {:ok, id} -> {:noreply, Requests.give_up(state, id, fn _entry -> :ok end)}
      :error -> {:noreply, %{state | shared: Shared.down(state.shared, monitor)}}
    end
  end

  def handle_info({:deadline, id}, state),
    do: {:noreply, Requests.give_up(state, id, &Reply.timeout/1)}

  def handle_info({port, {:data, frame}}, state) when is_port(port) do
    case state.workers do
      # What a worker says that is being killed is not waited for: its requests are replayed.
      %{^port => %{status: status} = worker} when status != :killed ->
        # Whatever it says, it is at work.
        worker = %{worker | heard_at: State.now()}
        {:noreply, Requests.frame(put_worker(state, worker), worker, Protocol.decode(frame))}

      _gone ->
        {:noreply, state}
    end
  end

  def handle_info({port, {:exit_status, status}}, state) when is_port(port) do
    {:noreply, Workers.gone(state, port, {:exit_status, status})}
  end

  def handle_info({:EXIT, port, reason}, state) when is_port(port) do
    {:noreply, Workers.gone(state, port, {:exit, reason})}
  end

  # A defect: the server itself ends writers, and does not hear of that.
  def handle_info({:EXIT, writer, reason}, state) when is_pid(writer) and reason != :normal do
    case Enum.find(state.workers, fn {_port, worker} -> worker.writer == writer end) do
      {_port, worker} -> {:noreply, Workers.kill(state, worker, Worker.writer_gone(worker))}
      nil -> {:noreply, state}
    end
  end

  def handle_info({Writer, :unsendable, port, id, why}, state) do
    {:noreply, Requests.answer(state, port, id, &Reply.unsendable(&1, why))}
  end

  def handle_info({:start, :main}, state), do: {:noreply, Workers.start_main(state)}

  def handle_info({:start, :isolated}, state) do
    {:noreply, Workers.run_suspects(%{state | isolated_paused?: false})}
  end

  def handle_info({:handshake_timeout, port}, state) do
    case state.workers do
      %{^port => %{status: :starting} = worker} ->
        {:noreply,
         Workers.start_failed(state, worker, Worker.late(worker, state.options.handshake_timeout))}

      _up_or_gone ->
        {:noreply, state}
    end
  end

  def handle_info({:heartbeat, port, due}, state) do
    case state.workers do
      %{^port => %{status: :up} = worker} -> {:noreply, Workers.heartbeat(state, worker, due)}
      _gone -> {:noreply, state}
    end
  end

  def handle_info({:grace, port, id}, state) do
    case state.workers do
      %{^port => %{releasing: %{^id => _timer}} = worker} ->
        {:noreply, Workers.kill(state, worker, Worker.unresponsive(worker, state.options.grace))}

      _let_go ->
        {:noreply, state}
    end
  end

  # The kill had no effect: what was started is no worker of ours, or the binary that kills is gone.
  # The end of its input is all that can still be told to it.
  def handle_info({:abandon, port}, state) do
    case state.workers do
      %{^port => worker} ->
        Worker.close(worker)
        {:noreply, Workers.gone(state, port, {:exit, :abandoned})}

      _gone ->
        {:noreply, state}
    end
  end

  def handle_info(_unknown, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for {_port, worker} <- state.workers do
      # One that does not read, or is stopped, would not see the end of its input. To the others it
      # makes no difference: they end at once then, whatever is under way.
      Worker.kill_and_wait(worker)
      Worker.close(worker)
      Telemetry.worker_down(state.name, worker, :shutdown)
    end

    :ok
  end

  # A callback since Elixir 1.17; gen_server itself calls it since OTP 25.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)

  def format_status(status) do
    Map.new(status, fn
      {:state, %State{} = state} ->
        {:state,
         %{
           name: state.name,
           pending: Pending.size(state.pending),
           workers: map_size(state.workers),
           shared: Shared.size(state.shared),
           attempts: state.attempts,
           unavailable: state.unavailable && state.unavailable.why
         }}

      {:message, {Call, :request, request}} ->
        {:message, {Call, :request, request.op}}

      {:message, {port, {:data, _frame}}} ->
        {:message, {port, {:data, :hidden}}}

      {:log, _events} ->
        {:log, []}

      shown ->
        shown
    end)
  end

  defp numbers(state) do
    main = state.workers[state.main]
    {pending, in_flight} = {Pending.size(state.pending), Pending.in_flight(state.pending)}

    %Info{
      os_pid: main && main.os_pid,
      version: main && main.version,
      target: main && main.target,
      libgit2: main && main.libgit2,
      binary: main && main.binary,
      pending: pending,
      in_flight: in_flight,
      queued: pending - in_flight,
      workers: map_size(state.workers),
      attempts: state.attempts
    }
  end
end
