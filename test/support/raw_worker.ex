defmodule Alumiini.Git.Test.RawWorker do
  @moduledoc """
  The worker's binary on a port of the calling process, spoken to as on the wire.

  For tests that end a worker and look at what it left: `Alumiini.Git` would run the request again.
  Replies come to the process that started it.
  """

  alias Alumiini.Git.Server.{Binary, Protocol}
  alias Alumiini.Git.Test.OsProcess

  @enforce_keys [:port, :os_pid]
  defstruct [:port, :os_pid]

  @type t :: %__MODULE__{port: port, os_pid: pos_integer}
  @type id :: pos_integer
  @type outcome ::
          {:ok, term}
          | {:error, kind :: String.t(), sentence :: String.t()}
          | {:exited, status :: integer}

  @spec start!() :: t
  def start! do
    {:ok, binary} = Binary.locate(nil)

    options = [
      {:packet, 4},
      :binary,
      :exit_status,
      :use_stdio,
      args: [],
      env: Binary.scrubbed_env()
    ]

    port = Port.open({:spawn_executable, binary}, options)
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    %__MODULE__{port: port, os_pid: os_pid}
  end

  @doc "Runs `fun` with a worker that is gone afterwards, however that ends."
  @spec with_worker((t -> result)) :: result when result: term
  def with_worker(fun) do
    worker = start!()

    try do
      fun.(worker)
    after
      stop(worker)
    end
  end

  @doc "Sends a request as `protocol/README.md` has it; the id is added, and is that of the reply."
  @spec ask(t, map) :: id
  def ask(worker, request) do
    id = System.unique_integer([:positive])
    {:ok, frame} = Protocol.encode(Map.put(request, "id", id))
    Port.command(worker.port, frame)
    id
  end

  @doc "Cancels a request, which is answered all the same."
  @spec cancel(t, id) :: :ok
  def cancel(worker, id) do
    {:ok, frame} = Protocol.encode(%{"op" => "cancel", "id" => id})
    Port.command(worker.port, frame)
    :ok
  end

  @doc "Waits for the reply to a request, or for the worker's end."
  @spec await(t, id, timeout) :: outcome
  def await(%{port: port} = worker, id, timeout \\ 20_000) do
    case next(worker, id, timeout) do
      {:reply, reply} ->
        outcome(reply)

      # What else was waited for ends with it, too.
      {:exited, status} ->
        send(self(), {port, {:exit_status, status}})
        {:exited, status}

      nil ->
        raise "no reply to request #{id} in #{timeout} ms"

      {:event, _event} ->
        await(worker, id, timeout)
    end
  end

  @doc "Waits until the request is parked at a fault's phase (`\"do\" => \"hang\"`)."
  @spec await_parked!(t, id, timeout) :: :ok
  def await_parked!(worker, id, timeout \\ 20_000) do
    case next(worker, id, timeout) do
      {:event, %{"event" => "fault"}} -> :ok
      {:event, _progress} -> await_parked!(worker, id, timeout)
      other -> raise "request #{id} was not parked: #{inspect(other)}"
    end
  end

  @spec call(t, map) :: outcome
  def call(worker, request), do: await(worker, ask(worker, request))

  @doc "Whether the reply has not come by now."
  @spec unanswered?(t, id) :: boolean
  def unanswered?(worker, id) do
    case next(worker, id, 0) do
      nil ->
        true

      {:event, _event} ->
        unanswered?(worker, id)

      {:exited, _status} ->
        false

      {:reply, reply} ->
        send(self(), {:early, worker.port, id, reply})
        false
    end
  end

  # The next frame that is about this request. Those about others stay in the mailbox, for whoever
  # asks for them.
  defp next(%{port: port}, id, timeout) do
    receive do
      {^port, {:data, frame}} ->
        frame = Msgpax.unpack!(frame)
        send(self(), {:early, port, frame["id"], frame})
        taken(port, id, timeout)

      {:early, ^port, ^id, frame} ->
        frame(frame)

      {^port, {:exit_status, status}} ->
        {:exited, status}
    after
      timeout -> nil
    end
  end

  defp taken(port, id, timeout) do
    receive do
      {:early, ^port, ^id, frame} -> frame(frame)
    after
      0 -> next(%{port: port}, id, timeout)
    end
  end

  defp frame(%{"event" => _name} = event), do: {:event, event}
  defp frame(reply), do: {:reply, reply}

  defp outcome(%{"ok" => value}), do: {:ok, value}
  defp outcome(%{"err" => sentence, "kind" => kind}), do: {:error, kind, sentence}

  @doc "SIGKILL, from outside; returns when it is gone."
  @spec kill!(t) :: :ok
  def kill!(%{port: port, os_pid: os_pid}) do
    :ok = OsProcess.kill(os_pid, :KILL)
    receive do: ({^port, {:exit_status, 137}} -> :ok)
  end

  @doc """
  Ends it by the end of its input, and waits until it is gone, so that nothing is at work any more
  where it was.
  """
  @spec stop(t) :: :ok
  def stop(%{port: port, os_pid: os_pid}) do
    if Port.info(port), do: Port.close(port)
    if OsProcess.await_exit(os_pid) == :timeout, do: OsProcess.kill(os_pid, :KILL)
    flush(port)
  end

  defp flush(port) do
    receive do
      {^port, _message} -> flush(port)
      {:early, ^port, _id, _frame} -> flush(port)
    after
      0 -> :ok
    end
  end
end
