defmodule Alumiini.Git.Server do
  @moduledoc false

  # The process between the callers and the worker. It owns the worker's port, the pending requests with their deadlines,
  # and the decision what to do when a worker dies. It never waits for anything: not for a worker (`Writer` writes), not
  # for a caller (`Reply` answers), not for a kill.
  #
  # What is sent to it: `{Server, :request, request}` and `{Server, :cancel, ref}`, both by `Alumiini.Git.Call`, where
  # the messages that go back are described, too.

  use GenServer

  alias Alumiini.Git.{Backoff, Call, Options, Pending, Protocol, Reply, Telemetry, Worker, Writer}

  require Logger

  # Suspects that run at the same time, each in a worker of its own.
  @isolated_at_once 4
  # A kill works at once. Where it has not after this time, it will not.
  @kill_timeout 2_000

  @enforce_keys [:name, :options, :starts, :isolated_starts]
  defstruct [
    :name,
    :options,
    # The backoff of the main worker's starts, and that of isolated ones.
    :starts,
    :isolated_starts,
    # The port of the main worker, also while it is starting.
    :main,
    # Why callers do not wait for a worker: the cause of the last start that failed.
    :unavailable,
    # A pause between two starts of isolated workers is under way.
    isolated_paused?: false,
    pending: %Pending{},
    workers: %{},
    last_id: 0,
    attempts: 0
  ]

  @type t :: %__MODULE__{
          name: term,
          options: Options.start(),
          starts: Backoff.t(),
          isolated_starts: Backoff.t(),
          main: port | nil,
          unavailable: Worker.cause() | nil,
          isolated_paused?: boolean,
          pending: Pending.t(),
          workers: %{port => Worker.t()},
          last_id: non_neg_integer,
          attempts: non_neg_integer
        }

  @spec start_link(Options.start()) :: GenServer.on_start()
  def start_link(options) do
    registration = if options.name, do: [name: options.name], else: []
    GenServer.start_link(__MODULE__, options, registration)
  end

  # The way to ask a worker for anything that is on the wire: the request as `protocol/README.md` has it, without `id` and
  # `timeout`. Tests add `fault` to one.
  #
  #   * `:timeout` - ms
  #   * `:on_event` - called in this process with each event's name and map, if the request has `"progress" => true`
  @spec call(GenServer.server(), map, keyword) :: {:ok, map} | {:error, Alumiini.Git.Error.t()}
  defdelegate call(server, request, options \\ []), to: Call, as: :run

  # What the server is doing, in numbers.
  @spec info(GenServer.server()) :: %{
          os_pid: non_neg_integer | nil,
          version: String.t() | nil,
          pending: non_neg_integer,
          in_flight: non_neg_integer,
          workers: non_neg_integer,
          attempts: non_neg_integer
        }
  def info(server), do: GenServer.call(server, :info)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      name: options.name || self(),
      options: options,
      starts: Backoff.new(options.backoff_initial, options.backoff_max),
      isolated_starts: Backoff.new(options.backoff_initial, options.backoff_max)
    }

    {:ok, state, {:continue, :start}}
  end

  @impl true
  def handle_continue(:start, state), do: {:noreply, start_main(state)}

  @impl true
  def handle_call(:info, _from, state) do
    main = state.workers[state.main]

    {:reply,
     %{
       os_pid: main && main.os_pid,
       version: main && main.version,
       pending: Pending.size(state.pending),
       in_flight: Pending.in_flight(state.pending),
       workers: map_size(state.workers),
       attempts: state.attempts
     }, state}
  end

  def handle_call(_unknown, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl true
  def handle_cast(_unknown, state), do: {:noreply, state}

  @impl true
  def handle_info({__MODULE__, :request, request}, state), do: {:noreply, request(state, request)}

  def handle_info({__MODULE__, :cancel, ref}, state) do
    case Pending.id(state.pending, ref) do
      {:ok, id} -> {:noreply, give_up(state, id, fn _entry -> :ok end)}
      :error -> {:noreply, state}
    end
  end

  # A caller is gone: nobody waits for its request.
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Pending.id(state.pending, monitor) do
      {:ok, id} -> {:noreply, give_up(state, id, fn _entry -> :ok end)}
      :error -> {:noreply, state}
    end
  end

  def handle_info({:deadline, id}, state), do: {:noreply, give_up(state, id, &Reply.timeout/1)}

  def handle_info({port, {:data, frame}}, state) when is_port(port) do
    case state.workers do
      # What a worker says that is being killed is not waited for: its requests are replayed.
      %{^port => %{status: status} = worker} when status != :killed ->
        {:noreply, frame(state, worker, Protocol.decode(frame))}

      _gone ->
        {:noreply, state}
    end
  end

  def handle_info({port, {:exit_status, status}}, state) when is_port(port) do
    {:noreply, worker_gone(state, port, {:exit_status, status})}
  end

  def handle_info({:EXIT, port, reason}, state) when is_port(port) do
    {:noreply, worker_gone(state, port, {:exit, reason})}
  end

  # A writer ends normally when its port is closed, and then the port tells why.
  def handle_info({:EXIT, writer, reason}, state) when is_pid(writer) and reason != :normal do
    case Enum.find(state.workers, fn {_port, worker} -> worker.writer == writer end) do
      {_port, worker} -> {:noreply, kill(state, worker, Worker.writer_gone(worker))}
      nil -> {:noreply, state}
    end
  end

  def handle_info({Writer, :unsendable, port, id, why}, state) do
    {:noreply, answer(state, port, id, &Reply.unsendable(&1, why))}
  end

  def handle_info({:start, :main}, state), do: {:noreply, start_main(state)}

  def handle_info({:start, :isolated}, state) do
    {:noreply, run_suspects(%{state | isolated_paused?: false})}
  end

  def handle_info({:handshake_timeout, port}, state) do
    case state.workers do
      %{^port => %{status: :starting} = worker} ->
        {:noreply, start_failed(state, worker, Worker.late(worker, state.options.handshake_timeout))}

      _up_or_gone ->
        {:noreply, state}
    end
  end

  def handle_info({:grace, port, id}, state) do
    case state.workers do
      %{^port => %{releasing: %{^id => _timer}} = worker} ->
        {:noreply, kill(state, worker, Worker.unresponsive(worker, state.options.grace))}

      _let_go ->
        {:noreply, state}
    end
  end

  # The kill had no effect: what was started is no worker of ours, or the binary that kills is gone. The end of its input
  # is all that can still be told to it.
  def handle_info({:abandon, port}, state) do
    case state.workers do
      %{^port => worker} ->
        Worker.close(worker)
        {:noreply, worker_gone(state, port, {:exit, :abandoned})}

      _gone ->
        {:noreply, state}
    end
  end

  def handle_info(_unknown, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for {_port, worker} <- state.workers do
      # One that does not read would not see the end of its input either.
      if Worker.stuck?(worker), do: Worker.kill_and_wait(worker)
      Worker.close(worker)
      Telemetry.worker_down(state.name, worker, :shutdown)
    end

    :ok
  end

  # A callback since Elixir 1.17; gen_server itself calls it since OTP 25.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)

  def format_status(status) do
    Map.new(status, fn
      {:state, %__MODULE__{} = state} ->
        {:state,
         %{
           name: state.name,
           pending: Pending.size(state.pending),
           workers: map_size(state.workers),
           attempts: state.attempts,
           unavailable: state.unavailable && state.unavailable.why
         }}

      {:message, {__MODULE__, :request, request}} ->
        {:message, {__MODULE__, :request, request.op}}

      {:message, {port, {:data, _frame}}} ->
        {:message, {port, {:data, :hidden}}}

      {:log, _events} ->
        {:log, []}

      shown ->
        shown
    end)
  end

  ## Requests

  defp request(%{unavailable: %{} = cause} = state, request) do
    Reply.cause(request, cause)
    state
  end

  defp request(state, request) do
    if full?(state) do
      Reply.overloaded(request, state.options.max_pending)
      state
    else
      id = state.last_id + 1
      deadline = Call.deadline(request)

      entry =
        Map.merge(request, %{
          id: id,
          deadline: deadline,
          monitor: Process.monitor(request.caller),
          timer: Process.send_after(self(), {:deadline, id}, max(deadline, now()), abs: true)
        })

      dispatch(%{state | last_id: id, pending: Pending.add(state.pending, entry)}, id)
    end
  end

  # What nobody waits for any more but a worker still works on has its place, too: it may be queued in the writer.
  defp full?(state) do
    releasing = Enum.reduce(state.workers, 0, fn {_port, worker}, sum -> sum + map_size(worker.releasing) end)
    Pending.size(state.pending) + releasing >= state.options.max_pending
  end

  defp dispatch(state, id) do
    case state.workers[state.main] do
      %{status: :up} = worker -> send_to(state, worker, id)
      _none_yet -> state
    end
  end

  defp send_to(state, worker, id) do
    {:ok, entry} = Pending.fetch(state.pending, id)
    added = %{"id" => id, "timeout" => max(1, entry.deadline - now())}
    Writer.write(worker.writer, id, Map.merge(entry.request, added))
    %{state | pending: Pending.place(state.pending, id, {:worker, worker.port})}
  end

  # A request ends without the worker's answer: its time is over, or its caller is not interested or not there.
  defp give_up(state, id, reply) do
    case take(state, id) do
      {entry, state} ->
        reply.(entry)
        release(state, entry)

      :error ->
        state
    end
  end

  defp take(state, id) do
    with {entry, pending} <- Pending.take(state.pending, id) do
      Process.demonitor(entry.monitor, [:flush])
      Process.cancel_timer(entry.timer)
      {entry, %{state | pending: pending}}
    end
  end

  defp release(state, %{place: {:worker, port}, id: id}) do
    case state.workers do
      %{^port => %{status: :up} = worker} ->
        Writer.write(worker.writer, id, %{"op" => "cancel", "id" => id})
        timer = Process.send_after(self(), {:grace, port, id}, state.options.grace)
        put_worker(state, %{worker | releasing: Map.put(worker.releasing, id, timer)})

      # It is being killed, and cannot be asked.
      _dying ->
        state
    end
  end

  # The worker that was started for it is not needed.
  defp release(state, %{place: {:starting, port}}), do: dismiss(state, port)
  defp release(state, _unsent), do: state

  # The worker's answer, or what stands for it, to the request `id`.
  defp answer(state, port, id, reply) do
    with {:ok, %{place: {:worker, ^port}}} <- Pending.fetch(state.pending, id),
         {entry, state} <- take(state, id) do
      reply.(entry)
      answered(state, port)
    else
      _not_pending_there -> released(state, port, id)
    end
  end

  defp released(state, port, id) do
    case state.workers do
      %{^port => %{releasing: %{^id => timer}} = worker} ->
        Process.cancel_timer(timer)
        state |> put_worker(%{worker | releasing: Map.delete(worker.releasing, id)}) |> answered(port)

      _unknown ->
        log(
          :warning,
          state,
          "a worker answered a request that nobody made (id #{id}); the answer was dropped"
        )

        state
    end
  end

  # A worker that answers is of use; one that was there for that answer only is not any more.
  defp answered(state, port) do
    case state.workers do
      %{^port => %{job: {:isolated, _id}}} ->
        dismiss(state, port)

      %{^port => %{job: :main, proven?: false} = worker} ->
        put_worker(%{state | starts: Backoff.proven(state.starts)}, %{worker | proven?: true})

      _nothing_new ->
        state
    end
  end

  ## Frames

  defp frame(state, %{status: :starting, hello_id: id} = worker, {:ok, {:reply, id, reply}}) do
    case Worker.handshake(worker, reply) do
      {:ok, worker} -> up(state, worker)
      {:error, cause} -> start_failed(state, worker, cause)
    end
  end

  # A worker that cannot read `hello` cannot say which request its error is for.
  defp frame(state, %{status: :starting} = worker, {:ok, {:reply, nil, reply}}) do
    case Worker.handshake(worker, reply) do
      {:ok, worker} -> start_failed(state, worker, Worker.garbage(worker))
      {:error, cause} -> start_failed(state, worker, cause)
    end
  end

  defp frame(state, %{status: :starting} = worker, _too_early) do
    start_failed(state, worker, Worker.garbage(worker))
  end

  defp frame(state, worker, {:ok, {:reply, id, reply}}) when is_integer(id) do
    answer(state, worker.port, id, &Reply.answer(&1, reply))
  end

  defp frame(state, _worker, {:ok, {:reply, nil, _reply}}) do
    log(:warning, state, "a worker answered without saying which request; the answer was dropped")
    state
  end

  defp frame(state, %{port: port}, {:ok, {:event, id, name, event}}) do
    case Pending.fetch(state.pending, id) do
      {:ok, %{place: {:worker, ^port}} = entry} -> event(state, entry, name, event)
      _not_waited_for -> state
    end
  end

  defp frame(state, worker, :error) do
    log(:error, state, "worker #{worker.os_pid} wrote something that is no frame, and is replaced")
    kill(state, worker, Worker.garbage(worker))
  end

  defp event(state, entry, "healed", event) do
    {news?, pending} = Pending.healed(state.pending, entry)
    if news?, do: Telemetry.healed(state.name, event["path"], event["reason"])
    %{state | pending: pending}
  end

  defp event(state, entry, name, event) do
    Reply.event(entry, name, event)
    state
  end

  ## Workers

  defp start_main(%{main: nil} = state) do
    case open(state, :main) do
      {:ok, worker, state} -> put_worker(%{state | main: worker.port}, worker)
      {:error, cause, state} -> main_failed(state, cause)
    end
  end

  defp start_main(state), do: state

  defp open(state, job) do
    state = %{state | attempts: state.attempts + 1, last_id: state.last_id + 1}

    case Worker.open(state.options.binary, job, state.attempts, state.last_id) do
      {:ok, worker} ->
        timer = Process.send_after(self(), {:handshake_timeout, worker.port}, state.options.handshake_timeout)
        {:ok, %{worker | timer: timer}, state}

      {:error, cause} ->
        never = %{os_pid: nil, version: nil, attempt: state.attempts, job: job, up_at: nil}
        Telemetry.worker_down(state.name, never, cause.why)
        {:error, cause, state}
    end
  end

  defp up(state, worker) do
    Process.cancel_timer(worker.timer)
    worker = %{worker | timer: nil}
    Telemetry.worker_up(state.name, worker)
    state |> put_worker(worker) |> serve(worker)
  end

  defp serve(state, %{job: :main} = worker) do
    if state.unavailable, do: log(:info, state, "a worker is up again")
    state = %{state | unavailable: nil, starts: Backoff.up(state.starts)}

    state.pending
    |> Pending.waiting()
    |> Enum.reduce(state, fn entry, state -> send_to(state, worker, entry.id) end)
    |> run_suspects()
  end

  defp serve(state, %{job: {:isolated, id}} = worker) do
    send_to(%{state | isolated_starts: Backoff.up(state.isolated_starts)}, worker, id)
  end

  defp kill(state, worker, cause) do
    if worker.timer, do: Process.cancel_timer(worker.timer)
    worker = Worker.kill(worker, cause)
    put_worker(state, %{worker | timer: Process.send_after(self(), {:abandon, worker.port}, @kill_timeout)})
  end

  defp worker_gone(state, port, how) do
    case Map.pop(state.workers, port) do
      # It was dismissed, or told twice.
      {nil, _workers} ->
        state

      {worker, workers} ->
        Worker.forget(worker)
        cause = worker.ending || Worker.gone(worker, how)
        Telemetry.worker_down(state.name, worker, cause.why)
        state = %{state | workers: workers}
        if worker.settled?, do: state, else: lost(state, worker, cause)
    end
  end

  # One that does not come up is killed, but what follows from it does not wait for its end: nothing was sent to it.
  defp start_failed(state, worker, cause) do
    state |> kill(%{worker | settled?: true}, cause) |> lost(worker, cause)
  end

  defp lost(state, worker, cause) do
    {exited, replayed, pending} = Pending.worker_died(state.pending, worker.port)
    Enum.each(exited, &done(&1, fn entry -> Reply.worker_exited(entry, cause) end))
    after_death(%{state | pending: pending}, worker, cause, replayed)
  end

  defp done(entry, reply) do
    Process.demonitor(entry.monitor, [:flush])
    Process.cancel_timer(entry.timer)
    reply.(entry)
  end

  defp after_death(state, %{job: :main, up_at: nil}, cause, _replayed) do
    main_failed(%{state | main: nil}, cause)
  end

  defp after_death(state, %{job: :main} = worker, cause, replayed) do
    log(:warning, state, "#{cause.message}; #{replayed} requests in flight are run again")
    starts = if Worker.proven?(worker), do: Backoff.proven(state.starts), else: state.starts
    {pause, starts} = Backoff.died(starts)
    run_suspects(start_in(%{state | main: nil, starts: starts}, pause))
  end

  defp after_death(state, %{job: {:isolated, _id}, up_at: nil}, cause, _replayed) do
    isolated_failed(state, cause)
  end

  defp after_death(state, %{job: {:isolated, _id}}, cause, _replayed) do
    log(:error, state, "#{cause.message}; the request that it ran alone is given up")
    run_suspects(state)
  end

  defp main_failed(state, cause) do
    {pause, starts} = Backoff.start_failed(state.starts)
    state = start_in(%{state | starts: starts}, pause)

    if cause.final? or Backoff.hopeless?(starts), do: unavailable(state, cause), else: state
  end

  defp start_in(state, 0), do: start_main(state)

  defp start_in(state, pause) do
    Process.send_after(self(), {:start, :main}, pause)
    state
  end

  defp unavailable(state, cause) do
    # Once for each cause, not for each attempt.
    unless state.unavailable && state.unavailable.why == cause.why do
      log(:error, state, "#{cause.message}; trying again")
    end

    refuse(%{state | unavailable: cause}, Pending.unsent(state.pending), cause)
  end

  defp refuse(state, entries, cause) do
    Enum.reduce(entries, state, fn %{id: id}, state ->
      {entry, state} = take(state, id)
      Reply.cause(entry, cause)
      state
    end)
  end

  ## Suspects

  defp run_suspects(%{isolated_paused?: true} = state), do: state

  defp run_suspects(state) do
    with true <-
           Enum.count(state.workers, &match?({_port, %{job: {:isolated, _}, settled?: false}}, &1)) <
             @isolated_at_once,
         {:ok, %{id: id}} <- Pending.next_suspect(state.pending) do
      case open(state, {:isolated, id}) do
        {:ok, worker, state} ->
          pending = Pending.place(state.pending, id, {:starting, worker.port})
          run_suspects(put_worker(%{state | pending: pending}, worker))

        {:error, cause, state} ->
          isolated_failed(state, cause)
      end
    else
      _enough_or_none -> state
    end
  end

  # It is not the suspect's fault, which has not been sent to that worker.
  defp isolated_failed(state, cause) do
    {pause, starts} = Backoff.start_failed(state.isolated_starts)
    Process.send_after(self(), {:start, :isolated}, pause)
    state = %{state | isolated_starts: starts, isolated_paused?: true}

    if cause.final? or Backoff.hopeless?(starts),
      do: refuse(state, Pending.suspects(state.pending), cause),
      else: state
  end

  # Ends an isolated worker that has nothing to do, and gives its place to the next suspect.
  defp dismiss(state, port) do
    {worker, workers} = Map.pop!(state.workers, port)
    Worker.close(worker)
    Telemetry.worker_down(state.name, worker, :done)
    run_suspects(%{state | workers: workers, isolated_starts: Backoff.proven(state.isolated_starts)})
  end

  defp put_worker(state, worker), do: %{state | workers: Map.put(state.workers, worker.port, worker)}

  defp now, do: System.monotonic_time(:millisecond)

  defp log(level, state, message) do
    Logger.log(level, fn -> "Alumiini.Git #{inspect(state.name)}: #{message}" end)
  end
end
