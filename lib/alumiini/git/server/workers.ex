defmodule Alumiini.Git.Server.Workers do
  @moduledoc false

  # The server's half that deals with workers: starting, replacing and ending them, and where the
  # requests of one that died go. There is one main worker for everybody, and one more for each
  # suspect that runs (`Pending` says who is one).

  alias Alumiini.Git.Server.{Backoff, Pending, Reply, State, Worker, Writer}
  alias Alumiini.Git.Telemetry

  import State, only: [log: 3, put_worker: 2, send_to: 3]

  # Suspects that run at the same time, each in a worker of its own.
  @isolated_at_once 4
  # A kill works at once. Where it has not after this time, it will not.
  @kill_timeout 2_000

  @doc "Starts the main worker, if there is none."
  @spec start_main(State.t()) :: State.t()
  def start_main(%{main: nil} = state) do
    case open(state, :main) do
      {:ok, worker, state} -> put_worker(%{state | main: worker.port}, worker)
      {:error, cause, state} -> main_failed(state, cause)
    end
  end

  def start_main(state), do: state

  defp open(state, job) do
    state = %{state | attempts: state.attempts + 1, last_id: state.last_id + 1}

    case Worker.open(state.options, job, state.attempts, state.last_id) do
      {:ok, worker} ->
        timer =
          Process.send_after(
            self(),
            {:handshake_timeout, worker.port},
            state.options.handshake_timeout
          )

        {:ok, %{worker | timer: timer}, state}

      {:error, cause} ->
        never = %{os_pid: nil, version: nil, attempt: state.attempts, job: job, up_at: nil}
        Telemetry.worker_down(state.name, never, cause.why)
        {:error, cause, state}
    end
  end

  @doc "A worker has answered the handshake."
  @spec up(State.t(), Worker.t()) :: State.t()
  def up(state, worker) do
    _ = Process.cancel_timer(worker.timer)
    worker = %{worker | timer: nil, heard_at: State.now()}
    Telemetry.worker_up(state.name, worker)
    Writer.describe(worker.writer, worker)
    beat_in(state, worker)
    state |> put_worker(worker) |> serve(worker)
  end

  # Twice within the time that a worker may be silent: asked by the first, it has until the second
  # to be heard.
  defp beat_in(%{options: %{heartbeat: heartbeat}}, worker) do
    half = max(1, div(heartbeat, 2))
    Process.send_after(self(), {:heartbeat, worker.port, State.now() + half}, half)
  end

  # A timer that is later than this tells of a machine that stood still.
  @late 100

  @doc """
  Asks a worker whether it still reads requests, or ends one that has not been heard of for as long
  as it may be silent. `due` is when this was to be called: where it is much later, the whole
  machine stood still, and the worker gets another chance.
  """
  @spec heartbeat(State.t(), Worker.t(), integer) :: State.t()
  def heartbeat(state, worker, due) do
    heartbeat = state.options.heartbeat
    now = State.now()

    # The worker has been asked, since half of the time is the pause between two of these.
    if now - worker.heard_at >= heartbeat and worker.ping != nil and
         now - due < max(@late, div(heartbeat, 2)) do
      log(state, :warning, "worker #{worker.os_pid} has been silent for too long, and is replaced")
      kill(state, worker, Worker.silent(worker, heartbeat))
    else
      beat_in(state, worker)
      ping(state, worker)
    end
  end

  defp ping(state, %{ping: nil} = worker) do
    id = state.last_id + 1
    Writer.write(worker.writer, id, %{"op" => "ping", "id" => id})
    put_worker(%{state | last_id: id}, %{worker | ping: id})
  end

  # The answer is on its way, behind others.
  defp ping(state, worker), do: put_worker(state, worker)

  defp serve(state, %{job: :main} = worker) do
    if state.unavailable, do: log(state, :info, "a worker is up again")
    state = %{state | unavailable: nil, starts: Backoff.up(state.starts)}

    state.pending
    |> Pending.waiting()
    |> Enum.reduce(state, fn entry, state -> send_to(state, worker, entry.id) end)
    |> run_suspects()
  end

  defp serve(state, %{job: {:isolated, id}} = worker) do
    send_to(%{state | isolated_starts: Backoff.up(state.isolated_starts)}, worker, id)
  end

  @doc "Ends a worker that is of no use any more. What follows from that follows when it is gone."
  @spec kill(State.t(), Worker.t(), Worker.cause()) :: State.t()
  def kill(state, worker, cause) do
    _ = if worker.timer, do: Process.cancel_timer(worker.timer)
    worker = Worker.kill(worker, cause)

    put_worker(state, %{
      worker
      | timer: Process.send_after(self(), {:abandon, worker.port}, @kill_timeout)
    })
  end

  @doc "A port told that its process is gone."
  @spec gone(State.t(), port, {:exit_status, integer} | {:exit, term}) :: State.t()
  def gone(state, port, how) do
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

  @doc """
  A worker does not come up. It is killed, but what follows from that does not wait for its end:
  nothing was sent to it.
  """
  @spec start_failed(State.t(), Worker.t(), Worker.cause()) :: State.t()
  def start_failed(state, worker, cause) do
    state |> kill(%{worker | settled?: true}, cause) |> lost(worker, cause)
  end

  defp lost(state, worker, cause) do
    {exited, replayed, pending} = Pending.worker_died(state.pending, worker.port)

    Enum.each(exited, fn entry ->
      State.unwatch(entry)
      Reply.worker_exited(entry, cause)
    end)

    after_death(%{state | pending: pending}, worker, cause, replayed)
  end

  defp after_death(state, %{job: :main, up_at: nil}, cause, _replayed) do
    main_failed(%{state | main: nil}, cause)
  end

  defp after_death(state, %{job: :main} = worker, cause, replayed) do
    log(state, :warning, "#{cause.message}; #{replayed} requests in flight are run again")
    starts = if Worker.proven?(worker), do: Backoff.proven(state.starts), else: state.starts
    {pause, starts} = Backoff.died(starts)
    run_suspects(start_in(%{state | main: nil, starts: starts}, pause))
  end

  defp after_death(state, %{job: {:isolated, _id}, up_at: nil}, cause, _replayed) do
    isolated_failed(state, cause)
  end

  defp after_death(state, %{job: {:isolated, _id}}, cause, _replayed) do
    log(state, :error, "#{cause.message}; the request that it ran alone is given up")
    run_suspects(state)
  end

  defp main_failed(state, cause) do
    {pause, starts} = Backoff.start_failed(state.starts)
    state = start_in(%{state | starts: starts}, pause)
    hopeless? = Backoff.hopeless?(starts)
    cause = repeated(cause, hopeless?)

    if cause.final? or hopeless?, do: unavailable(state, cause), else: state
  end

  # Once it may be an accident. Each time it is how that program is.
  defp repeated(%{final?: :repeated} = cause, hopeless?), do: %{cause | final?: hopeless?}
  defp repeated(cause, _hopeless?), do: cause

  defp start_in(state, 0), do: start_main(state)

  defp start_in(state, pause) do
    Process.send_after(self(), {:start, :main}, pause)
    state
  end

  defp unavailable(state, cause) do
    # Once for each cause, not for each attempt.
    if state.unavailable == nil or state.unavailable.why != cause.why do
      log(state, :error, "#{cause.message}; trying again")
    end

    refuse(%{state | unavailable: cause}, Pending.unsent(state.pending), cause)
  end

  defp refuse(state, entries, cause) do
    Enum.reduce(entries, state, fn %{id: id}, state ->
      {entry, state} = State.take(state, id)
      Reply.cause(entry, cause)
      state
    end)
  end

  ## Suspects

  @doc "Gives suspects workers of their own, as many as may run at a time."
  @spec run_suspects(State.t()) :: State.t()
  def run_suspects(%{isolated_paused?: true} = state), do: state

  def run_suspects(state) do
    isolated? = &match?({_port, %{job: {:isolated, _}, settled?: false}}, &1)

    with true <- Enum.count(state.workers, isolated?) < @isolated_at_once,
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

  # It is not the suspect's fault, which has not been sent to that worker. Several that fail
  # together count as one.
  defp isolated_failed(%{isolated_paused?: true} = state, _cause), do: state

  defp isolated_failed(state, cause) do
    {pause, starts} = Backoff.start_failed(state.isolated_starts)
    Process.send_after(self(), {:start, :isolated}, pause)
    state = %{state | isolated_starts: starts, isolated_paused?: true}

    hopeless? = Backoff.hopeless?(starts)
    cause = repeated(cause, hopeless?)

    if cause.final? or hopeless?,
      do: refuse(state, Pending.suspects(state.pending), cause),
      else: state
  end

  @doc "Ends an isolated worker that has nothing to do, and gives its place to the next suspect."
  @spec dismiss(State.t(), port) :: State.t()
  def dismiss(state, port) do
    {worker, workers} = Map.pop!(state.workers, port)
    Worker.close(worker)
    Telemetry.worker_down(state.name, worker, :done)

    starts = Backoff.proven(state.isolated_starts)
    run_suspects(%{state | workers: workers, isolated_starts: starts})
  end
end
