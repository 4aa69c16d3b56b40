defmodule Alumiini.Git.Test.Nginx do
  @moduledoc """
  nginx in front of `git http-backend` (by fcgiwrap): the way in which people serve Git over HTTP
  themselves.

      server = start_supervised!({Nginx, root: root, dir: dir, tls: Certificates.build(:good)})
      Nginx.url(server, "app.git")
      Nginx.await(server, 2)
      [%{protocol: "HTTP/2.0"}, _] = Nginx.log(server)
  """

  use GenServer

  alias Alumiini.Git.Test.{Daemon, FreePort, GitCommand, OsProcess, SshServer}

  # Printed once its sockets listen.
  # Directories that it wants to make where its package says.
  @temporary ~w(client_body proxy fastcgi uwsgi scgi)

  @type server :: GenServer.server()

  @doc """
  Starts both. Options:

    * `:root` - the directory of the repositories (required)
    * `:dir` - where its files go (required)
    * `:tls` - of `Certificates`: `https`, with HTTP/2
    * `:http2` - `false` leaves HTTP/2 out
    * `:client_ca` - PEM of the authority whose client certificates it requires
    * `:gzip` - `true` compresses all answers to clients that take that
    * `:cache` - `true` answers again what was asked before, to the byte, without running Git: for a
      benchmark whose subject is the client. Nothing that is pushed later shows, and no log is kept
    * `:keepalive` - seconds for which it keeps an idle connection; 75
    * `:config` - more lines for the `server` block
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    defaults = [
      :root,
      :dir,
      tls: nil,
      http2: true,
      client_ca: nil,
      gzip: false,
      cache: false,
      keepalive: 75,
      config: []
    ]

    GenServer.start_link(__MODULE__, Keyword.validate!(options, defaults))
  end

  def child_spec(options) do
    %{
      id: make_ref(),
      start: {__MODULE__, :start_link, [options]},
      restart: :temporary,
      shutdown: 30_000
    }
  end

  @spec port(server) :: :inet.port_number()
  def port(server), do: GenServer.call(server, :port)

  @spec url(server, String.t(), keyword) :: String.t()
  def url(server, repository, options \\ []) do
    {base, port} = GenServer.call(server, :base)
    "#{base}:#{options[:port] || port}/#{repository}"
  end

  @doc """
  The requests that were answered, oldest first: `connection` (its number), `method`, `path`,
  `status`, `protocol`, `encoding` (of the answer), and `client` (the name in its certificate).
  Those of now, see `await/2`.
  """
  @spec log(server) :: [map]
  def log(server) do
    for "request " <> line <- Daemon.lines(daemon(server)) do
      [connection, method, path, status, protocol, encoding, client] =
        String.split(line, " ", parts: 7)

      %{
        connection: String.to_integer(connection),
        method: method,
        path: path,
        status: String.to_integer(status),
        protocol: protocol,
        encoding: if(encoding != "-", do: encoding),
        client: if(client != "-", do: client)
      }
    end
  end

  @doc "Waits until so many requests are in the log, which happens after the client has its answer."
  @spec await(server, pos_integer) :: :ok
  def await(server, count), do: Daemon.await(daemon(server), ~r/^request /, count)

  @doc "All processes that belong to it."
  @spec os_pids(server) :: [OsProcess.os_pid()]
  def os_pids(server) do
    for daemon <- GenServer.call(server, :daemons),
        pid = Daemon.os_pid(daemon),
        each <- [pid | OsProcess.descendants(pid)],
        do: each
  end

  defp daemon(server), do: server |> GenServer.call(:daemons) |> hd()

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    dir = Path.join(options[:dir], "nginx-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    options = Map.new(options)
    if options.tls, do: write_certificate!(dir, options.tls)
    if options.client_ca, do: File.write!(Path.join(dir, "client-ca.pem"), options.client_ca)
    fcgi = start_fcgiwrap!(dir)
    base = if options.tls, do: "https://localhost", else: "http://127.0.0.1"

    {:ok,
     FreePort.with_port(fn port ->
       with {:ok, nginx} <- start_nginx(dir, port, options) do
         {:ok, %{daemons: [nginx, fcgi], port: port, base: base}}
       end
     end)}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:base, _from, state), do: {:reply, {state.base, state.port}, state}
  def handle_call(:daemons, _from, state), do: {:reply, state.daemons, state}

  @impl true
  def handle_info({:EXIT, _daemon, _reason}, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state), do: Enum.each(state.daemons, &GenServer.stop/1)

  defp write_certificate!(dir, certificate) do
    File.write!(Path.join(dir, "certificate.pem"), certificate.certificate)
    {type, der} = certificate.tls[:key]
    key = :public_key.pem_encode([{type, der, :not_encrypted}])
    File.write!(Path.join(dir, "key.pem"), key)
  end

  defp start_fcgiwrap!(dir) do
    socket = Path.join(dir, "fcgi")

    {:ok, daemon} =
      Daemon.start_link(
        program: "fcgiwrap",
        # Each of them answers one request at a time.
        args: ["-c", "8", "-s", "unix:" <> socket],
        env: GitCommand.environment() ++ GitCommand.config([{"safe.directory", "*"}])
      )

    # It says nothing when it is ready.
    :ok = OsProcess.await(fn -> File.exists?(socket) end, 10_000)
    daemon
  end

  defp start_nginx(dir, port, options) do
    config = Path.join(dir, "nginx.conf")
    File.write!(config, config(dir, port, options))
    # What it says before it has read its configuration goes to the log of the system.
    args = ["-p", dir, "-c", config, "-e", "stderr"]
    {:ok, daemon} = Daemon.start_link(program: "nginx", package: "nginx-light", args: args)

    case Daemon.reached(daemon, ~r/start worker process \d+/, 1, 10_000) do
      :ok ->
        {:ok, daemon}

      {:error, lines} ->
        GenServer.stop(daemon)

        if Enum.any?(lines, &(&1 =~ "Address already in use")),
          do: :taken,
          else: raise(Enum.join(lines, "\n"))
    end
  end

  defp config(dir, port, options) do
    """
    daemon off;
    pid #{dir}/pid;
    error_log stderr info;
    worker_processes 1;
    #{if SshServer.user() == "root", do: "user root;"}
    events { worker_connections 512; }
    http {
      log_format seen 'request $connection $request_method $uri $status $server_protocol '
        '$sent_http_content_encoding $ssl_client_s_dn';
      access_log #{if options.cache, do: "off", else: "/dev/stdout seen"};
      #{Enum.map_join(@temporary, "\n  ", &"#{&1}_temp_path #{dir}/#{&1};")}
      #{if options.cache, do: cache_path(dir)}
      server {
        listen 127.0.0.1:#{port}#{listen(options)};
        #{if options.tls, do: certificate(dir)}
        #{if options.client_ca, do: client_certificates(dir)}
        #{if options.gzip, do: "gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any;"}
        keepalive_timeout #{options.keepalive}s;
        client_max_body_size 0;
        #{Enum.join(options.config, "\n    ")}
        location / {
          #{if options.cache, do: cache()}
          fastcgi_pass unix:#{dir}/fcgi;
          fastcgi_param SCRIPT_FILENAME #{GitCommand.exec_path()}/git-http-backend;
          fastcgi_param GIT_PROJECT_ROOT #{Path.expand(options.root)};
          fastcgi_param GIT_HTTP_EXPORT_ALL 1;
          fastcgi_param GIT_PROTOCOL $http_git_protocol;
          fastcgi_param PATH_INFO $uri;
          fastcgi_param QUERY_STRING $query_string;
          fastcgi_param REQUEST_METHOD $request_method;
          fastcgi_param CONTENT_TYPE $content_type;
          fastcgi_param CONTENT_LENGTH $content_length;
          fastcgi_param REMOTE_ADDR $remote_addr;
          fastcgi_param SERVER_PROTOCOL $server_protocol;
        }
      }
    }
    """
  end

  defp listen(%{tls: nil}), do: ""
  defp listen(options), do: if(options.http2, do: " ssl http2", else: " ssl")

  defp certificate(dir),
    do: "ssl_certificate #{dir}/certificate.pem; ssl_certificate_key #{dir}/key.pem;"

  defp client_certificates(dir),
    do: "ssl_client_certificate #{dir}/client-ca.pem; ssl_verify_client on;"

  defp cache_path(dir),
    do: "fastcgi_cache_path #{dir}/cache keys_zone=git:10m inactive=1d use_temp_path=off;"

  # Git says that nothing of it may be cached, and POST is never. What is asked is in the body.
  defp cache do
    """
    fastcgi_cache git;
          fastcgi_cache_methods GET POST;
          fastcgi_cache_key "$request_method $uri $args $http_git_protocol \
    $http_content_encoding $request_body";
          fastcgi_cache_valid 200 1d;
          fastcgi_ignore_headers Cache-Control Expires;
          client_body_in_single_buffer on;
          client_body_buffer_size 1m;
    """
  end
end
