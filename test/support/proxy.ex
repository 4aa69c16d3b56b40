defmodule Alumiini.Git.Test.Proxy do
  @moduledoc """
  A proxy on loopback, of HTTP (whole URLs, and `CONNECT`) or of SOCKS5, and a log of what it was
  asked.

      proxy = start_supervised!({Proxy, kind: :http, auth: {"ann", "open sesame"}})
      Git.sync(url, "main", path, proxy: Proxy.url(proxy))
      [%{method: "CONNECT", target: "localhost:4443"}] = Proxy.log(proxy)
  """

  use GenServer

  alias Alumiini.Git.Test.Proxy.{Http, Socks, Stream}

  @type server :: GenServer.server()

  @doc """
  Starts a proxy. Options:

    * `:kind` - `:http` or `:socks5`; `:http`
    * `:auth` - `{user, password}` that it wants
    * `:refuse` - what it answers instead of doing it: an HTTP status, or the code of a SOCKS5 reply
    * `:hosts` - `%{name => port}`: names that only it knows, for servers on loopback
    * `:after_server` - `true` waits for what the server says first, and sends it together with the
      answer that the way is open, as happens where the client is slow to read
    * `:tls` - options for `:ssl.handshake/2`: an `https://` proxy
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options =
      Keyword.validate!(options,
        auth: nil,
        refuse: nil,
        tls: nil,
        kind: :http,
        hosts: %{},
        after_server: false
      )

    GenServer.start_link(__MODULE__, options)
  end

  @doc "Several proxies may run under one supervisor."
  def child_spec(options) do
    %{id: make_ref(), start: {__MODULE__, :start_link, [options]}, restart: :temporary}
  end

  @spec port(server) :: :inet.port_number()
  def port(proxy), do: GenServer.call(proxy, :port)

  @doc "Its URL. Options: `:scheme` (`\"socks5h\"`), `:auth` (`{user, password}` to put into it)."
  @spec url(server, keyword) :: String.t()
  def url(proxy, options \\ []) do
    %{scheme: scheme, host: host, port: port} = GenServer.call(proxy, :address)
    "#{options[:scheme] || scheme}://#{user_info(options[:auth])}#{host}:#{port}"
  end

  defp user_info(nil), do: ""

  defp user_info({user, password}) do
    Enum.map_join([user, password], ":", &URI.encode(&1, fn c -> URI.char_unreserved?(c) end)) <>
      "@"
  end

  @doc """
  What it was asked, oldest first: `:method` (of HTTP, or `:socks5`), `:target` (a URL, or host and
  port), `:credentials` (`{user, password}`, nil where there were none), `:headers` (HTTP's), and
  `:answer` (`:ok`, or what it refused with).
  """
  @spec log(server) :: [map]
  def log(proxy), do: GenServer.call(proxy, :log)

  @doc "Every byte that clients sent through it or to it, of all connections together."
  @spec bytes_seen(server) :: binary
  def bytes_seen(proxy), do: GenServer.call(proxy, :bytes_seen)

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    if options[:tls], do: {:ok, _} = Application.ensure_all_started(:ssl)
    {:ok, listener} = :gen_tcp.listen(0, [ip: {127, 0, 0, 1}, backlog: 1024] ++ Stream.options())
    {:ok, port} = :inet.port(listener)
    settings = options |> Map.new() |> Map.put(:proxy, self())
    for _ <- 1..8, do: start_acceptor(listener, settings)
    {:ok, %{port: port, listener: listener, settings: settings, log: [], seen: []}}
  end

  defp start_acceptor(listener, settings) do
    spawn_link(fn ->
      case :gen_tcp.accept(listener) do
        {:ok, socket} ->
          send(settings.proxy, :accepted)
          serve(socket, settings)

        {:error, :closed} ->
          :ok
      end
    end)
  end

  defp serve(socket, settings) do
    client = Stream.accept!(socket, settings)
    if settings.kind == :http, do: Http.serve(client, settings), else: Socks.serve(client, settings)
  catch
    :closed -> :ok
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:log, _from, state), do: {:reply, Enum.reverse(state.log), state}

  def handle_call(:bytes_seen, _from, state) do
    {:reply, state.seen |> Enum.reverse() |> IO.iodata_to_binary(), state}
  end

  def handle_call(:address, _from, state) do
    # A certificate of the tests is for both names; that of the proxy is looked at under this one.
    {scheme, host} =
      case state.settings do
        %{kind: :socks5} -> {"socks5", "127.0.0.1"}
        %{tls: nil} -> {"http", "127.0.0.1"}
        _tls -> {"https", "localhost"}
      end

    {:reply, %{scheme: scheme, host: host, port: state.port}, state}
  end

  # Before anything is answered, so that who has an answer finds it in the log.
  def handle_call({:asked, entry}, _from, state),
    do: {:reply, :ok, %{state | log: [entry | state.log]}}

  @impl true
  def handle_info(:accepted, state) do
    start_acceptor(state.listener, state.settings)
    {:noreply, state}
  end

  def handle_info({:seen, data}, state), do: {:noreply, %{state | seen: [data | state.seen]}}
  def handle_info({:EXIT, _connection, _reason}, state), do: {:noreply, state}
end
