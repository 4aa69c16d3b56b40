defmodule Alumiini.Git.Test.HttpServer.Connection do
  @moduledoc """
  One accepted connection, TLS or not: its bytes in and out, and waiting on it for a gate or for the
  client to leave.

  Functions that end in `!` throw `:closed` once the client has gone; `run/1` catches that.
  """

  alias Alumiini.Git.Test.HttpServer.{Answer, Counters, Request, Rules}

  defstruct [
    :server,
    :listener,
    :tcp,
    :transport,
    :socket,
    :shared,
    :number,
    buffer: "",
    drop_next: nil
  ]

  @type t :: %__MODULE__{}

  # A recv of this size or less is one allocation in the driver.
  @largest_recv 1_048_576

  @doc """
  Accepts one connection and serves it to its end. The server starts another acceptor as soon as
  this one is taken.
  """
  @spec run(t) :: :ok
  def run(%__MODULE__{} = connection) do
    case :gen_tcp.accept(connection.listener) do
      {:ok, tcp} ->
        send(connection.server, {:accepted, self()})
        number = Counters.add(connection.shared.counters, :connections, 1)
        serve(%{connection | tcp: tcp, number: number})

      {:error, _closed} ->
        :ok
    end
  end

  defp serve(connection) do
    connection |> handshake!() |> loop()
  catch
    :closed -> :ok
  end

  defp handshake!(%{shared: %{tls: nil}} = connection) do
    %{connection | transport: :gen_tcp, socket: connection.tcp}
  end

  defp handshake!(%{shared: %{tls: options}} = connection) do
    # No deadline: a client may stall its handshake for as long as it likes.
    case :ssl.handshake(connection.tcp, options) do
      {:ok, socket} -> %{connection | transport: :ssl, socket: socket}
      {:error, _reason} -> throw(:closed)
    end
  end

  defp loop(connection) do
    {request, connection} = Request.read(connection)
    # The worst moment for a client: it has sent its request on a connection that it believed open.
    if connection.drop_next, do: drop!(connection, connection.drop_next)

    plan = Rules.plan(connection.shared.table, request)
    log(connection, request)

    case Answer.give(connection, request, plan) do
      :keep -> loop(%{connection | drop_next: plan.drop_next})
      :close -> close(connection)
    end
  end

  defp log(connection, request) do
    Counters.add(connection.shared.counters, :requests, 1)

    entry =
      if connection.shared.log? do
        %{
          at: System.monotonic_time(:millisecond),
          connection: connection.number,
          method: request.method,
          path: request.path,
          query: request.query,
          service: request.service,
          repository: request.repository,
          protocol: request.headers["git-protocol"],
          authorization: Request.authorization(request),
          headers: Map.delete(request.headers, "authorization"),
          body: binary_part(request.body, 0, min(byte_size(request.body), 65_536)),
          body_bytes: byte_size(request.body)
        }
      end

    send(connection.server, {:request, entry})
  end

  ## Bytes

  @spec send!(t, iodata) :: :ok
  def send!(connection, data) do
    Counters.add(connection.shared.counters, :bytes_out, IO.iodata_length(data))

    case connection.transport.send(connection.socket, data) do
      :ok -> :ok
      {:error, _reason} -> throw(:closed)
    end
  end

  @spec receive_more!(t) :: t
  def receive_more!(connection),
    do: %{connection | buffer: connection.buffer <> receive!(connection, 0)}

  @spec receive_exactly!(t, pos_integer) :: binary
  def receive_exactly!(connection, size) when size <= @largest_recv, do: receive!(connection, size)

  def receive_exactly!(connection, size) do
    first = receive!(connection, @largest_recv)
    first <> receive_exactly!(connection, size - @largest_recv)
  end

  defp receive!(connection, size) do
    case connection.transport.recv(connection.socket, size) do
      {:ok, data} ->
        Counters.add(connection.shared.counters, :bytes_in, byte_size(data))
        data

      {:error, _reason} ->
        throw(:closed)
    end
  end

  ## Ends

  @spec drop!(t, :close | :reset) :: no_return
  def drop!(connection, :close) do
    close(connection)
    throw(:closed)
  end

  def drop!(connection, :reset) do
    # On the TCP socket also where TLS runs over it: a close_notify would make this a clean end.
    :inet.setopts(connection.tcp, linger: {true, 0})
    :gen_tcp.close(connection.tcp)
    throw(:closed)
  end

  defp close(connection) do
    connection.transport.close(connection.socket)
    :ok
  end

  ## Waiting

  @doc """
  Parks the connection until `HttpServer.release/2` opens the rule's gate, or the client leaves.
  With `:forever` only the latter ends it.
  """
  @spec park!(t, Rules.id() | :forever) :: :ok
  def park!(connection, gate) do
    send(connection.server, {:parked, self(), gate})
    watch(connection)
    await_release!(connection, gate)
  end

  @doc "Waits between two drops of a trickle, unless the client leaves first."
  @spec pause!(t, non_neg_integer) :: :ok
  def pause!(connection, milliseconds) do
    watch(connection)

    receive do
      {tag, _socket} when tag in [:tcp_closed, :ssl_closed] -> throw(:closed)
      {tag, _socket, _reason} when tag in [:tcp_error, :ssl_error] -> throw(:closed)
    after
      milliseconds -> unwatch!(connection)
    end
  end

  defp await_release!(connection, gate) do
    receive do
      {:release, ^gate} -> unwatch!(connection)
      {tag, _socket} when tag in [:tcp_closed, :ssl_closed] -> throw(:closed)
      {tag, _socket, _reason} when tag in [:tcp_error, :ssl_error] -> throw(:closed)
    end
  end

  # One message at most, so that a client which pipelines cannot fill the mailbox; clients here send
  # nothing while they wait.
  defp watch(%{transport: :gen_tcp, socket: socket}), do: :inet.setopts(socket, active: :once)
  defp watch(%{transport: :ssl, socket: socket}), do: :ssl.setopts(socket, active: :once)

  defp unwatch!(%{transport: :gen_tcp, socket: socket}),
    do: still_open!(:inet.setopts(socket, active: false))

  defp unwatch!(%{transport: :ssl, socket: socket}),
    do: still_open!(:ssl.setopts(socket, active: false))

  defp still_open!(:ok), do: :ok
  defp still_open!({:error, _reason}), do: throw(:closed)
end
