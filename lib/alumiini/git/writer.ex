defmodule Alumiini.Git.Writer do
  @moduledoc false

  # The process that writes to a worker's port. `Port.command/2` suspends whoever calls it while the worker does not read,
  # and the server must never be suspended: it holds every deadline. Frames are packed here, too, so that a packed frame
  # (which holds secrets in clear) is never part of a message or of a state.
  #
  # It reports `{Writer, :unsendable, port, id, why}` to the server, and ends with its port. How much can queue up here is
  # bounded by the server's `:max_pending`.

  alias Alumiini.Git.Protocol

  @spec start_link(port) :: pid
  def start_link(port) do
    server = self()

    spawn_link(fn ->
      # While it waits for the port, the packed frame is on its stack: no backtrace and no crash dump shall show that.
      Process.flag(:sensitive, true)
      loop(server, port)
    end)
  end

  @doc "Queues a request. The id is that of its reply, for the report if it cannot be sent."
  @spec write(pid, pos_integer, map) :: :ok
  def write(writer, id, request) do
    send(writer, {:write, id, request})
    :ok
  end

  defp loop(server, port) do
    receive do
      {:write, id, request} ->
        case Protocol.encode(request) do
          {:ok, frame} -> command(port, frame)
          {:error, why} -> send(server, {__MODULE__, :unsendable, port, id, why})
        end
    end

    loop(server, port)
  end

  # A closed port raises with the frame among the arguments in the stack trace; that must not reach the log.
  defp command(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> exit(:normal)
  end
end
