defmodule Alumiini.Git.Server.Writer do
  @moduledoc false

  # The process that writes to a worker's port. `Port.command/2` suspends whoever calls it while the
  # worker does not read, and the server must never be suspended: it holds every deadline. Frames
  # are packed here, too, so that a packed frame (which holds secrets in clear) is never part of a
  # message or of a state.
  #
  # What has no remote has no secret, and is mostly a read, which takes less time than a process
  # takes to wake up: that goes to the port from the server itself, if the port takes it at once.
  #
  # It reports `{Writer, :unsendable, port, id, why}` to the server, which ends it with its port.
  # How much can queue up here is bounded by the server's `:max_pending`. A server that is killed
  # cannot say that its worker goes with it: this process does.

  alias Alumiini.Git.Server.Protocol
  alias Alumiini.Git.Telemetry

  @spec start_link(port, term) :: pid
  def start_link(port, name) do
    # By name, which is all that Observer shows of a process that is sensitive.
    spawn_link(__MODULE__, :init, [self(), port, name])
  end

  @doc false
  @spec init(pid, port, term) :: no_return
  def init(server, port, name) do
    # While it waits for the port, the packed frame is on its stack: no backtrace and no crash dump
    # shall show that.
    Process.flag(:sensitive, true)
    Process.flag(:trap_exit, true)
    loop(%{server: server, name: name || server, port: port, worker: nil})
  end

  @doc """
  Sends a request: at once where it holds no secret and the port takes it, else by the writer.
  """
  @spec request(pid, port, pos_integer, map) :: :ok
  def request(writer, _port, id, %{"url" => _} = request), do: write(writer, id, request)

  def request(writer, port, id, request) do
    with {:ok, frame} <- Protocol.encode(request),
         true <- at_once?(port, frame) do
      :ok
    else
      # The writer tells why, too, where it cannot be packed.
      _not_sent -> write(writer, id, request)
    end
  end

  # Never waits: false where the port is busy. One that is closed raises, with the frame in the
  # stack trace.
  defp at_once?(port, frame) do
    :erlang.port_command(port, frame, [:nosuspend])
  rescue
    ArgumentError -> false
  end

  @doc "Queues a request. The id is that of its reply, for the report if it cannot be sent."
  @spec write(pid, pos_integer, map) :: :ok
  def write(writer, id, request) do
    send(writer, {:write, id, request})
    :ok
  end

  @doc "Says what there is to tell of the worker, should the server be killed."
  @spec describe(pid, map) :: :ok
  def describe(writer, worker) do
    send(writer, {:describe, Map.take(worker, [:os_pid, :version, :attempt, :job, :up_at])})
    :ok
  end

  defp loop(%{server: server, port: port} = state) do
    receive do
      {:write, id, request} ->
        case Protocol.encode(request) do
          {:ok, frame} -> command(port, frame)
          {:error, why} -> send(server, {__MODULE__, :unsendable, port, id, why})
        end

        loop(state)

      {:describe, worker} ->
        loop(%{state | worker: worker})

      {:EXIT, ^server, _reason} ->
        if state.worker, do: Telemetry.worker_down(state.name, state.worker, :server_down)
        exit(:normal)

      _unknown ->
        loop(state)
    end
  end

  # A closed port raises with the frame among the arguments in the stack trace; that must not reach
  # the log. Its server ends this process then, or is gone itself.
  defp command(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> :closed
  end
end
