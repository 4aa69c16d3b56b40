defmodule Alumiini.Git.Test.Flooder do
  @moduledoc """
  A server that begins an answer and goes on with it for ever, or for as long as it is read.

      again = String.duplicate("1\\r\\na\\r\\n", 1_000)
      flooder = start_supervised!({Flooder, head: "HTTP/1.1 200 OK\\r\\n…", again: again})
      Flooder.url(flooder)

  Options: `:head`, what comes once; `:again`, what comes over and over; `:until`, the bytes after
  which it begins to answer (the end of an HTTP request's head, unless told otherwise); `:tls`, for
  `:ssl.handshake/2`.
  """

  use GenServer

  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  def child_spec(options),
    do: %{id: make_ref(), start: {__MODULE__, :start_link, [options]}, restart: :temporary}

  @spec url(pid) :: String.t()
  def url(flooder) do
    %{port: port, tls: tls} = GenServer.call(flooder, :place)
    if tls, do: "https://localhost:#{port}/flood.git", else: "http://127.0.0.1:#{port}/flood.git"
  end

  @impl true
  def init(options) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 64])
    {:ok, port} = :inet.port(listener)
    options = Map.new(options)
    spawn_link(fn -> accept(listener, options) end)
    {:ok, %{listener: listener, port: port, tls: options[:tls]}}
  end

  @impl true
  def handle_call(:place, _from, state), do: {:reply, state, state}

  defp accept(listener, options) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = spawn(fn -> receive do: (:go -> serve(socket, options)) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :go)
    accept(listener, options)
  end

  defp serve(socket, %{tls: tls} = options) when tls != nil do
    with {:ok, socket} <- :ssl.handshake(socket, [alpn_preferred_protocols: ["h2"]] ++ tls, 10_000),
         do: flood(:ssl, socket, options)
  end

  defp serve(socket, options), do: flood(:gen_tcp, socket, options)

  defp flood(transport, socket, options) do
    with :ok <- read_until(transport, socket, options[:until] || "\r\n\r\n", ""),
         :ok <- transport.send(socket, options[:head] || ""),
         do: again(transport, socket, options.again)
  end

  defp again(transport, socket, again) do
    with :ok <- transport.send(socket, again), do: again(transport, socket, again)
  end

  defp read_until(transport, socket, bytes, seen) do
    if String.contains?(seen, bytes) do
      :ok
    else
      with {:ok, more} <- transport.recv(socket, 0, 10_000),
           do: read_until(transport, socket, bytes, seen <> more)
    end
  end
end
