defmodule Alumiini.Git.Test.Relay.Connection do
  @moduledoc """
  One connection through a relay: a process for each direction, and one that sees to their end.

  Where there is a delay, what came waits in a queue with the time at which it is due, and reading
  goes on meanwhile: later bytes are not held up by earlier ones. One timer is enough, since what
  came first is due first.
  """

  @up 1
  @down 2

  @doc "Of both sockets. Bytes wait in the queue of a direction, never for others to fill a packet."
  @spec socket_options() :: [term]
  def socket_options,
    do: [:binary, active: false, nodelay: true, packet: :raw, buffer: 65_536, reuseaddr: true]

  @doc "Runs a connection that was accepted, up to the end of either side."
  @spec run(:gen_tcp.socket(), map) :: :ok
  def run(client, settings) do
    case :gen_tcp.connect({127, 0, 0, 1}, settings.to, socket_options() -- [reuseaddr: true]) do
      {:ok, server} ->
        pumps = [start(client, server, :up, settings), start(server, client, :down, settings)]
        await_end([client, server])
        for pump <- pumps, do: Process.unlink(pump) && Process.exit(pump, :kill)
        :ok

      {:error, _refused} ->
        reset(client)
    end
  end

  defp start(from, to, direction, settings) do
    connection = self()

    pid =
      spawn_link(fn ->
        receive do: (:go -> :ok)
        # How many bytes may still go on.
        left = if direction == :down, do: settings.stall, else: :never

        state = %{
          from: from,
          to: to,
          direction: direction,
          settings: settings,
          connection: connection,
          left: left
        }

        if left == 0, do: stalled(state)

        if settings.delay == 0,
          do: pass_on(state),
          else: delay(Map.merge(state, %{queue: :queue.new(), timer: nil, ended?: false}))

        send(connection, :ended)
      end)

    :ok = :gen_tcp.controlling_process(from, pid)
    send(pid, :go)
    pid
  end

  defp await_end(sockets) do
    receive do
      {:cut, :reset} ->
        Enum.each(sockets, &reset/1)

      _ended_or_cut ->
        Enum.each(sockets, &:gen_tcp.close/1)
    end
  end

  defp reset(socket) do
    :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  ## At once

  defp pass_on(state) do
    case :gen_tcp.recv(state.from, 0) do
      {:ok, data} ->
        count(state, data)
        state |> send_on(data) |> pass_on()

      {:error, _closed} ->
        :ok
    end
  end

  ## Later

  defp delay(%{ended?: true, timer: nil}), do: :ok

  defp delay(%{from: from, timer: timer} = state) do
    if not state.ended?, do: :inet.setopts(from, active: :once)

    receive do
      {:tcp, ^from, data} ->
        count(state, data)
        delay(due(%{state | queue: :queue.in({now() + state.settings.delay, data}, state.queue)}))

      {:tcp_closed, ^from} ->
        delay(%{state | ended?: true})

      {:tcp_error, ^from, _reason} ->
        delay(%{state | ended?: true})

      {:timeout, ^timer, :due} ->
        delay(due(%{state | timer: nil}))
    end
  end

  # Sends what is due, and sets the timer for what is not.
  defp due(%{timer: nil} = state) do
    case :queue.peek(state.queue) do
      {:value, {at, data}} ->
        if at <= now() do
          state = send_on(state, data)
          due(%{state | queue: :queue.drop(state.queue)})
        else
          %{state | timer: :erlang.start_timer(at, self(), :due, abs: true)}
        end

      :empty ->
        state
    end
  end

  defp due(state), do: state

  defp now, do: :erlang.monotonic_time(:millisecond)

  ## Both

  defp count(state, data) do
    %{counters: counters, log?: log?, relay: relay} = state.settings
    :counters.add(counters, if(state.direction == :up, do: @up, else: @down), byte_size(data))
    if log?, do: send(relay, {:passed, state.direction, byte_size(data)})
  end

  # What cannot be sent is lost: the other direction will see that end.
  defp send_on(state, data) do
    cond do
      stalled?(state) ->
        state

      state.left == :never ->
        :gen_tcp.send(state.to, data)
        state

      true ->
        size = min(state.left, byte_size(data))
        :gen_tcp.send(state.to, binary_part(data, 0, size))
        if size == state.left, do: stalled(state)
        %{state | left: state.left - size}
    end
  end

  defp stalled(state) do
    :atomics.put(state.settings.stalled, 1, 1)
    send(state.settings.relay, {:stalled, state.connection})
  end

  defp stalled?(state), do: :atomics.get(state.settings.stalled, 1) == 1
end
