defmodule Alumiini.Git.Test.ReleaseServer do
  @moduledoc """
  A server on loopback that hands out files, over TLS or not, and misbehaves when told so; also a
  proxy.

      server = start_supervised!({ReleaseServer, root: directory, tls: certificate.tls})
      ReleaseServer.script(server, [{:status, 500}, {:truncate, 100}])

  Each request takes the next action of the script; when that has come to its end, files are served.

    * `{:status, code}`, `{:status, code, headers, body}`
    * `{:body, headers, body}` - with status 200
    * `{:truncate, n}` - the head promises the whole file, then come `n` bytes and the end
    * `{:stall, n}` - the same, but the connection stays open
    * `{:pause, n, pid}` - the same, but the process gets `{:paused, connection}`, and what is left
      comes once that gets `:go`
    * `{:other, bytes, length}` - the same with other bytes, and the whole file's ETag
    * `{:raw, bytes}` - bytes without a length, to the end of the connection
    * `:hang` - read the request and never answer
    * `:no_range` - the whole file, whatever was asked for
    * `:serve`
  """

  use GenServer

  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  def child_spec(options),
    do: %{id: make_ref(), start: {__MODULE__, :start_link, [options]}, restart: :temporary}

  @doc "With a name that certificates are for."
  def url(server), do: GenServer.call(server, :url)
  def port(server), do: GenServer.call(server, :port)
  def script(server, actions), do: GenServer.call(server, {:script, actions})

  @doc "The requests so far, oldest first: `%{method:, path:, headers:}`."
  def log(server), do: GenServer.call(server, :log)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    {:ok, _} = Application.ensure_all_started(:ssl)
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, backlog: 64])
    {:ok, port} = :inet.port(listener)
    server = self()
    for _ <- 1..8, do: spawn_link(fn -> accept(listener, server, options) end)
    scheme = if options[:tls], do: "https", else: "http"
    {:ok, %{url: "#{scheme}://localhost:#{port}", port: port, script: [], log: []}}
  end

  @impl true
  def handle_call(:url, _from, state), do: {:reply, state.url, state}
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:log, _from, state), do: {:reply, Enum.reverse(state.log), state}
  def handle_call({:script, actions}, _from, state), do: {:reply, :ok, %{state | script: actions}}

  def handle_call({:request, request}, _from, state) do
    {action, script} =
      case state.script do
        [] -> {:serve, []}
        [action | rest] -> {action, rest}
      end

    {:reply, action, %{state | script: script, log: [request | state.log]}}
  end

  @impl true
  def handle_info({:EXIT, _connection, _reason}, state), do: {:noreply, state}

  defp accept(listener, server, options) do
    case :gen_tcp.accept(listener) do
      {:ok, tcp} ->
        spawn_link(fn -> accept(listener, server, options) end)
        _ = with {:ok, io} <- secure(tcp, options[:tls]), do: serve(io, server, options)
        :gen_tcp.close(tcp)

      {:error, _closed} ->
        :ok
    end
  end

  defp secure(tcp, nil), do: {:ok, {:gen_tcp, tcp}}

  defp secure(tcp, tls) do
    with {:ok, socket} <- :ssl.handshake(tcp, tls, 10_000), do: {:ok, {:ssl, socket}}
  end

  defp serve({module, socket} = io, server, options) do
    with {:ok, head} <- head(io, "") do
      [line | fields] = String.split(head, "\r\n", trim: true)
      [method, path | _] = String.split(line, " ")

      headers =
        for field <- fields, [name, value] = String.split(field, ":", parts: 2), into: %{} do
          {String.downcase(name), String.trim(value)}
        end

      request = %{method: method, path: path, headers: headers}
      action = GenServer.call(server, {:request, request}, :infinity)

      if method == "CONNECT",
        do: tunnel(io, path, headers, options),
        else: act(action, request, io, options)

      module.close(socket)
    end
  end

  defp head(io, got) do
    if String.ends_with?(got, "\r\n\r\n") do
      {:ok, got}
    else
      with {:ok, byte} <- recv(io, 1), do: head(io, got <> byte)
    end
  end

  defp act(:serve, request, io, options), do: file(request, io, options, request.headers["range"])
  defp act(:no_range, request, io, options), do: file(request, io, options, nil)
  defp act({:status, code}, _request, io, _options), do: answer(io, code, [], "no")

  defp act({:status, code, headers, body}, _request, io, _options),
    do: answer(io, code, headers, body)

  defp act({:body, headers, body}, _request, io, _options), do: answer(io, 200, headers, body)
  defp act(:hang, _request, io, _options), do: recv(io, 1)

  defp act({:truncate, n}, request, io, options) do
    bytes = File.read!(path(request, options))

    send_data(io, [
      response(200, [{"content-length", byte_size(bytes)}, etag(bytes)]),
      binary_part(bytes, 0, n)
    ])
  end

  defp act({:pause, n, pid}, request, io, options) do
    bytes = File.read!(path(request, options))
    act({:truncate, n}, request, io, options)
    send(pid, {:paused, self()})

    receive do
      :go -> send_data(io, binary_part(bytes, n, byte_size(bytes) - n))
    end
  end

  defp act({:other, other, length}, request, io, options) do
    bytes = File.read!(path(request, options))
    send_data(io, [response(200, [{"content-length", length}, etag(bytes)]), other])
  end

  defp act({:raw, bytes}, _request, io, _options), do: send_data(io, [response(200, []), bytes])

  defp act({:stall, n}, request, io, options) do
    act({:truncate, n}, request, io, options)
    recv(io, 1)
  end

  defp file(request, io, options, range) do
    case File.read(path(request, options)) do
      {:ok, bytes} ->
        size = byte_size(bytes)

        case range && Regex.run(~r/bytes=(\d+)-/, range) do
          [_all, from] ->
            from = String.to_integer(from)

            if from < size,
              do:
                answer(
                  io,
                  206,
                  [{"content-range", "bytes #{from}-#{size - 1}/#{size}"}, etag(bytes)],
                  binary_part(bytes, from, size - from)
                ),
              else: answer(io, 416, [{"content-range", "bytes */#{size}"}], "")

          nil ->
            answer(io, 200, [{"content-type", "application/octet-stream"}, etag(bytes)], bytes)
        end

      {:error, _none} ->
        answer(io, 404, [], "not here")
    end
  end

  defp path(request, options), do: Path.join(options[:root], request.path)
  defp etag(bytes), do: {"etag", inspect(Base.encode16(:crypto.hash(:md5, bytes)))}

  defp answer(io, code, headers, body),
    do: send_data(io, [response(code, [{"content-length", byte_size(body)} | headers]), body])

  defp response(code, headers) do
    fields = for {name, value} <- headers, do: "#{name}: #{value}\r\n"
    ["HTTP/1.1 #{code} Whatever\r\nconnection: close\r\n", fields, "\r\n"]
  end

  # As a proxy: to loopback only, whatever the host.
  defp tunnel(io, target, headers, options) do
    wanted = options[:credentials]
    sent = headers["proxy-authorization"]

    cond do
      wanted && sent != "Basic " <> Base.encode64(wanted) ->
        answer(io, 407, [{"proxy-authenticate", "Basic realm=\"proxy\""}], "")

      true ->
        [_host, port] = String.split(target, ":")

        {:ok, upstream} =
          :gen_tcp.connect({127, 0, 0, 1}, String.to_integer(port), [:binary, active: false])

        send_data(io, "HTTP/1.1 200 Connection established\r\n\r\n")
        back = spawn_link(fn -> pump({:gen_tcp, upstream}, io) end)
        pump(io, {:gen_tcp, upstream})
        Process.unlink(back)
        Process.exit(back, :kill)
    end
  end

  defp pump(from, to) do
    with {:ok, data} <- recv(from, 0), :ok <- send_data(to, data), do: pump(from, to)
  end

  defp recv({module, socket}, n), do: module.recv(socket, n)
  defp send_data({module, socket}, data), do: module.send(socket, data)
end
