defmodule Alumiini.Git.Server.Requests do
  @moduledoc false

  # The life of a request: it is sent to a worker, and ends by the worker's answer, at its deadline,
  # or with its caller. `Pending` has the rules by which it is replayed, and `Workers` replays it.

  alias Alumiini.Git.Telemetry
  alias Alumiini.Git.Server.{Backoff, Call, Pending, Reply, State, Worker, Workers, Writer}

  import State, only: [log: 3, now: 0, put_worker: 2, send_to: 3, take: 2]

  @doc """
  Adds a caller's request, and sends it to the worker if one is up. It is refused, by a message to
  the caller, if no worker can be started or too many requests are pending.
  """
  @spec add(State.t(), map) :: State.t()
  def add(%State{unavailable: %{} = cause} = state, request) do
    Reply.cause(request, cause)
    state
  end

  def add(%State{} = state, request) do
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

  # What nobody waits for any more but a worker still works on has its place, too: it may be queued
  # in the writer.
  defp full?(state) do
    releasing =
      Enum.reduce(state.workers, 0, fn {_port, worker}, sum -> sum + map_size(worker.releasing) end)

    Pending.size(state.pending) + releasing >= state.options.max_pending
  end

  defp dispatch(state, id) do
    case state.workers[state.main] do
      %{status: :up} = worker -> send_to(state, worker, id)
      _none_yet -> state
    end
  end

  @doc """
  Ends a request without the worker's answer: its time is over, or its caller is not interested or
  not there. `reply` is what its caller is told.
  """
  @spec give_up(State.t(), pos_integer, (map -> term)) :: State.t()
  def give_up(%State{} = state, id, reply) do
    case take(state, id) do
      {entry, state} ->
        reply.(entry)
        release(state, entry)

      :error ->
        state
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
  defp release(state, %{place: {:starting, port}}), do: Workers.dismiss(state, port)
  defp release(state, _unsent), do: state

  @doc "The worker's answer to the request `id`, or what stands for it: `reply` sends it."
  @spec answer(State.t(), port, integer, (map -> term)) :: State.t()
  def answer(%State{} = state, port, id, reply) do
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
        _ = Process.cancel_timer(timer)

        state
        |> put_worker(%{worker | releasing: Map.delete(worker.releasing, id)})
        |> answered(port)

      _unknown ->
        log(
          state,
          :warning,
          "a worker answered a request that nobody made (id #{id}); the answer was dropped"
        )

        state
    end
  end

  # A worker that answers is of use; one that was there for that answer only is not any more.
  defp answered(state, port) do
    case state.workers do
      %{^port => %{job: {:isolated, _id}}} ->
        Workers.dismiss(state, port)

      %{^port => %{job: :main, proven?: false} = worker} ->
        put_worker(%{state | starts: Backoff.proven(state.starts)}, %{worker | proven?: true})

      _nothing_new ->
        state
    end
  end

  @doc "Takes a frame of a worker, as `Protocol.decode/1` reads it."
  @spec frame(State.t(), Worker.t(), {:ok, tuple} | :error) :: State.t()
  def frame(
        %State{} = state,
        %{status: :starting, hello_id: id} = worker,
        {:ok, {:reply, id, reply}}
      ) do
    case Worker.handshake(worker, reply) do
      {:ok, worker} -> Workers.up(state, worker)
      {:error, cause} -> Workers.start_failed(state, worker, cause)
    end
  end

  # A worker that cannot read `hello` cannot say which request its error is for.
  def frame(%State{} = state, %{status: :starting} = worker, {:ok, {:reply, nil, reply}}) do
    case Worker.handshake(worker, reply) do
      {:ok, worker} -> Workers.start_failed(state, worker, Worker.garbage(worker))
      {:error, cause} -> Workers.start_failed(state, worker, cause)
    end
  end

  def frame(%State{} = state, %{status: :starting} = worker, _too_early) do
    Workers.start_failed(state, worker, Worker.garbage(worker))
  end

  def frame(%State{} = state, %{ping: id} = worker, {:ok, {:reply, id, _pong}})
      when is_integer(id) do
    put_worker(state, %{worker | ping: nil})
  end

  def frame(%State{} = state, worker, {:ok, {:reply, id, reply}}) when is_integer(id) do
    answer(state, worker.port, id, &Reply.answer(&1, reply))
  end

  def frame(%State{} = state, _worker, {:ok, {:reply, nil, _reply}}) do
    log(state, :warning, "a worker answered without saying which request; the answer was dropped")
    state
  end

  def frame(%State{} = state, %{port: port}, {:ok, {:event, id, name, event}}) do
    case Pending.fetch(state.pending, id) do
      {:ok, %{place: {:worker, ^port}} = entry} -> event(state, entry, name, event)
      _not_waited_for -> state
    end
  end

  def frame(%State{} = state, worker, :error) do
    log(state, :error, "worker #{worker.os_pid} wrote something that is no frame, and is replaced")
    Workers.kill(state, worker, Worker.garbage(worker))
  end

  defp event(state, entry, "repaired", %{"reason" => reason} = event) when is_binary(reason) do
    {news?, pending} = Pending.repaired(state.pending, entry)
    if news?, do: Telemetry.repaired(state.name, event["path"], reason)
    %{state | pending: pending}
  end

  defp event(state, entry, name, event) do
    Reply.event(entry, name, event)
    state
  end
end
