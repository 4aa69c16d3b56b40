defmodule Alumiini.Git.Test.Proxy.Stream do
  @moduledoc "A proxy's connections: bytes in and out, with or without TLS, and the joining of two."

  @enforce_keys [:transport, :socket, :proxy]
  defstruct [:transport, :socket, :proxy, buffer: ""]

  @type t :: %__MODULE__{}

  @spec options() :: [term]
  def options, do: [:binary, active: false, nodelay: true, reuseaddr: true]

  @doc """
  The client's side. Throws `:closed` where TLS fails, as all here do once the other side is gone.
  """
  @spec accept!(:gen_tcp.socket(), map) :: t
  def accept!(socket, %{tls: nil} = settings) do
    %__MODULE__{transport: :gen_tcp, socket: socket, proxy: settings.proxy}
  end

  def accept!(socket, settings) do
    case :ssl.handshake(socket, settings.tls) do
      {:ok, socket} -> %__MODULE__{transport: :ssl, socket: socket, proxy: settings.proxy}
      {:error, _reason} -> throw(:closed)
    end
  end

  @doc "Exactly so many bytes."
  @spec read!(t, non_neg_integer) :: {binary, t}
  def read!(%{buffer: buffer} = stream, size) when byte_size(buffer) >= size do
    {data, rest} = :erlang.split_binary(buffer, size)
    {data, %{stream | buffer: rest}}
  end

  def read!(stream, size), do: stream |> more!() |> read!(size)

  @doc "Up to these bytes and with them."
  @spec read_until!(t, binary) :: {binary, t}
  def read_until!(stream, bytes) do
    case :binary.match(stream.buffer, bytes) do
      {at, size} -> read!(stream, at + size)
      :nomatch -> stream |> more!() |> read_until!(bytes)
    end
  end

  defp more!(stream) do
    case stream.transport.recv(stream.socket, 0) do
      {:ok, data} ->
        send(stream.proxy, {:seen, data})
        %{stream | buffer: stream.buffer <> data}

      {:error, _reason} ->
        throw(:closed)
    end
  end

  @spec send!(t, iodata) :: :ok
  def send!(stream, data) do
    if stream.transport.send(stream.socket, data) == :ok, do: :ok, else: throw(:closed)
  end

  @doc "Connects to a host and port as the client said them."
  @spec connect(String.t(), :inet.port_number(), map) :: {:ok, :gen_tcp.socket()} | :error
  def connect(host, port, settings) do
    {address, port} =
      case settings.hosts do
        %{^host => port} ->
          {{127, 0, 0, 1}, port}

        _others ->
          {host |> String.trim_leading("[") |> String.trim_trailing("]") |> String.to_charlist(),
           port}
      end

    case :gen_tcp.connect(address, port, options() -- [reuseaddr: true]) do
      {:ok, socket} -> {:ok, socket}
      {:error, _reason} -> :error
    end
  end

  @doc "Says that the way is open, see `:after_server` of the proxy."
  @spec open!(t, :gen_tcp.socket(), iodata, map) :: :ok
  def open!(client, _server, answer, %{after_server: false}), do: send!(client, answer)

  def open!(client, server, answer, _settings) do
    case :gen_tcp.recv(server, 0) do
      {:ok, data} -> send!(client, [answer, data])
      {:error, _reason} -> throw(:closed)
    end
  end

  @doc "Passes on what comes, both ways, until one side ends."
  @spec join(t, :gen_tcp.socket()) :: :ok
  def join(client, server) do
    :ok = :gen_tcp.send(server, client.buffer)
    me = self()

    up =
      spawn_link(fn ->
        pass(
          {client.transport, client.socket},
          {:gen_tcp, server},
          &send(client.proxy, {:seen, &1})
        )

        send(me, :ended)
      end)

    down =
      spawn_link(fn ->
        pass({:gen_tcp, server}, {client.transport, client.socket}, & &1)
        send(me, :ended)
      end)

    receive do: (:ended -> :ok)
    for pid <- [up, down], do: Process.unlink(pid) && Process.exit(pid, :kill)
    :gen_tcp.close(server)
    close(client)
  end

  @spec close(t) :: :ok
  def close(stream) do
    stream.transport.close(stream.socket)
    :ok
  end

  defp pass({from, source}, {to, target}, note) do
    with {:ok, data} <- from.recv(source, 0) do
      note.(data)
      with :ok <- to.send(target, data), do: pass({from, source}, {to, target}, note)
    end
  end
end
