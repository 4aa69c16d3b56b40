defmodule Alumiini.Git.Test.ScriptedTcp do
  @moduledoc """
  Peers that are no server at all: they accept and say nothing, refuse, reset, cannot be reached, or
  follow a script.

  `start_link/1` tells its starter what happens, by message: `{ScriptedTcp, pid, :accepted}`,
  `{ScriptedTcp, pid, {:done, n}}` when connection `n` came to the end of its script,
  `{ScriptedTcp, pid, {:closed, n}}` when the client left it.
  """

  @type step ::
          {:receive_until, binary}
          | {:send, iodata}
          | {:trickle, iodata, pos_integer}
          | :close
          | :reset
          | :hold

  @doc """
  Listens on loopback and plays the script on every connection. Steps:

    * `{:receive_until, bytes}` - read until these bytes came
    * `{:send, data}`, `{:trickle, data, milliseconds}` - the latter byte by byte
    * `:close`, `:reset` - end the connection
    * `:hold` - keep it, and read without answering until the client leaves (also what the end of a
      script does)
  """
  @spec start_link([step]) :: {:ok, pid}
  def start_link(script \\ [:hold]) do
    owner = self()
    {:ok, listener} = :gen_tcp.listen(0, listen_options(1024))

    pid =
      spawn_link(fn ->
        receive do: (:listen -> accept(listener, script, owner, self(), 1))
      end)

    :ok = :gen_tcp.controlling_process(listener, pid)
    {:ok, port} = :inet.port(listener)
    :persistent_term.put({__MODULE__, pid}, port)
    send(pid, :listen)
    {:ok, pid}
  end

  def child_spec(script) do
    %{id: make_ref(), start: {__MODULE__, :start_link, [script]}, restart: :temporary}
  end

  @spec port(pid) :: :inet.port_number()
  def port(pid), do: :persistent_term.get({__MODULE__, pid})

  @spec url(pid, String.t()) :: String.t()
  def url(pid, scheme \\ "http"), do: "#{scheme}://127.0.0.1:#{port(pid)}/repository.git"

  @doc """
  A port on which connections are refused. Nobody else can take it while the returned socket is
  open.
  """
  @spec refusing() :: {:inet.port_number(), :socket.socket()}
  def refusing do
    # Bound and not listening.
    {:ok, socket} = :socket.open(:inet, :stream, :tcp)
    :ok = :socket.bind(socket, %{family: :inet, addr: {127, 0, 0, 1}, port: 0})
    {:ok, %{port: port}} = :socket.sockname(socket)
    {port, socket}
  end

  @doc """
  A port where connecting takes for ever: its queue of connections that nobody accepts is full, so
  the kernel drops what else comes. As long as the returned sockets are open.
  """
  @spec unreachable() :: {:inet.port_number(), [:gen_tcp.socket()]}
  def unreachable do
    {:ok, listener} = :gen_tcp.listen(0, listen_options(0))
    {:ok, port} = :inet.port(listener)
    {port, fill(port, [listener])}
  end

  defp fill(port, sockets) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, [], 250) do
      {:ok, socket} -> fill(port, [socket | sockets])
      {:error, :timeout} -> sockets
    end
  end

  defp accept(listener, script, owner, me, number) do
    {:ok, socket} = :gen_tcp.accept(listener)
    send(owner, {__MODULE__, me, :accepted})

    player =
      spawn_link(fn ->
        receive do:
                  (:play ->
                     play(script, socket, fn event ->
                       send(owner, {__MODULE__, me, {event, number}})
                     end))
      end)

    :ok = :gen_tcp.controlling_process(socket, player)
    send(player, :play)
    accept(listener, script, owner, me, number + 1)
  end

  defp play([], socket, tell), do: play([:hold], socket, tell)

  defp play([step | rest], socket, tell) do
    case step(step, socket) do
      :ok ->
        play(rest, socket, tell)

      :done ->
        tell.(:done)

      :hold ->
        tell.(:done)
        drain(socket)
        tell.(:closed)

      {:error, _} ->
        tell.(:closed)
    end
  end

  defp step({:receive_until, bytes}, socket), do: receive_until(socket, bytes, "")
  defp step({:send, data}, socket), do: :gen_tcp.send(socket, data)

  defp step({:trickle, data, milliseconds}, socket) do
    trickle(socket, IO.iodata_to_binary(data), milliseconds)
  end

  defp step(:hold, _socket), do: :hold

  defp step(:close, socket) do
    :gen_tcp.close(socket)
    :done
  end

  defp step(:reset, socket) do
    :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
    :done
  end

  defp receive_until(socket, bytes, got) do
    if :binary.match(got, bytes) == :nomatch do
      with {:ok, data} <- :gen_tcp.recv(socket, 0), do: receive_until(socket, bytes, got <> data)
    else
      :ok
    end
  end

  defp trickle(_socket, "", _milliseconds), do: :ok

  defp trickle(socket, <<byte, rest::binary>>, milliseconds) do
    with :ok <- :gen_tcp.send(socket, <<byte>>) do
      # A pause that ends early where the client leaves.
      case :gen_tcp.recv(socket, 0, milliseconds) do
        {:error, :timeout} -> trickle(socket, rest, milliseconds)
        {:ok, _ignored} -> trickle(socket, rest, milliseconds)
        {:error, _} = error -> error
      end
    end
  end

  defp drain(socket) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, _ignored} -> drain(socket)
      {:error, _} -> :ok
    end
  end

  defp listen_options(backlog) do
    [:binary, ip: {127, 0, 0, 1}, active: false, reuseaddr: true, nodelay: true, backlog: backlog]
  end
end
