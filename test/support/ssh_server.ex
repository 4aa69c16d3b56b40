defmodule Alumiini.Git.Test.SshServer do
  @moduledoc """
  A real `sshd` on loopback, run as the current user, for Git and whatever else the account may do.

      server = start_supervised!({SshServer, dir: dir, authorized: [key]})
      SshServer.url(server, origin)
      Auth.ssh_key(key.private, known_hosts: SshServer.known_hosts(server))

  Repositories have their absolute paths in URLs, as everywhere with SSH.
  """

  use GenServer

  alias Alumiini.Git.Test.{Daemon, FreePort, GitCommand, OsProcess, SshKeys}

  @patterns %{
    connections: ~r/^Connection from 127\.0\.0\.\d+ /,
    accepted: ~r/^Accepted publickey for /,
    refused: ~r/^Failed publickey for /,
    sessions: ~r/^Starting session: command /
  }

  @type server :: GenServer.server()
  @type event :: :connections | :accepted | :refused | :sessions

  @doc """
  Starts a server. Options:

    * `:dir` - where its files go (required)
    * `:authorized` - the keys of `SshKeys` that may log in
    * `:host_keys` - its own keys; one ed25519 key unless given
    * `:host_certificates` - paths of certificates for them, see `SshKeys.sign_host!/3`
    * `:port` - that it must have, on whatever loopback address has it free (`FreePort.allowed/1`),
      such as 22; else it has a free port of `127.0.0.1`
    * `:env` - more of the environment of those who log in: `[{"HOME", dir}]`
    * `:accept_env` - `false` refuses `GIT_PROTOCOL`, so that the protocol is v0
    * `:config` - more lines of `sshd_config`, `["MaxSessions 2"]`; these come first, and the first
      of two counts
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options =
      Keyword.validate!(options, [
        :dir,
        :host_keys,
        :port,
        authorized: [],
        env: [],
        host_certificates: [],
        accept_env: true,
        config: []
      ])

    GenServer.start_link(__MODULE__, options)
  end

  @doc "Several servers may run under one supervisor."
  def child_spec(options) do
    %{
      id: make_ref(),
      start: {__MODULE__, :start_link, [options]},
      restart: :temporary,
      shutdown: 20_000
    }
  end

  @spec port(server) :: :inet.port_number()
  def port(server), do: GenServer.call(server, :port)

  @spec address(server) :: String.t()
  def address(server), do: GenServer.call(server, :address)

  @doc """
  The URL of the repository at an absolute path. Options: `:user`, `:host`, `:port` (of a relay
  before it).
  """
  @spec url(server, Path.t(), keyword) :: String.t()
  def url(server, path, options \\ []) do
    user = Keyword.get(options, :user, user())
    "ssh://#{user}@#{options[:host] || address(server)}:#{options[:port] || port(server)}#{path}"
  end

  @doc "The only user that can log in."
  @spec user() :: String.t()
  def user do
    {name, 0} = System.cmd("id", ["-un"])
    String.trim(name)
  end

  @spec host_keys(server) :: [SshKeys.t()]
  def host_keys(server), do: GenServer.call(server, :host_keys)

  @doc "What makes its keys known, by default for its own address and port."
  @spec known_hosts(server, keyword) :: String.t()
  def known_hosts(server, options \\ []) do
    host = options[:host] || address(server)
    SshKeys.known_hosts(host, options[:port] || port(server), host_keys(server))
  end

  @doc "Ends it and its connections. `start/2` brings it back on the same port."
  @spec stop(server) :: :ok
  def stop(server), do: GenServer.call(server, :stop, 30_000)

  @doc """
  Starts it again, with other `:host_keys`, `:authorized`, … where given. What was logged is
  forgotten.
  """
  @spec start(server, keyword) :: :ok
  def start(server, options \\ []), do: GenServer.call(server, {:start, options}, 30_000)

  @doc """
  Ends its connections as a crash or a firewall does, without a word in the protocol. Returns when
  they are gone.
  """
  @spec drop(server) :: :ok
  def drop(server), do: server |> daemon() |> drop_connections()

  @doc "How many connections are open now."
  @spec open(server) :: non_neg_integer
  def open(server), do: server |> daemon() |> connections() |> length()

  @doc "Waits until so many connections are open."
  @spec await_open(server, non_neg_integer, timeout) :: :ok | :timeout
  def await_open(server, count, timeout \\ 10_000) do
    daemon = daemon(server)
    OsProcess.await(fn -> length(connections(daemon)) == count end, timeout)
  end

  @doc "How often something happened since it was started: see `t:event/0`."
  @spec count(server, event) :: non_neg_integer
  def count(server, event), do: server |> daemon() |> Daemon.count(Map.fetch!(@patterns, event))

  @doc "Waits until something happened so often, or until so many lines of the log match."
  @spec await(server, event | Regex.t(), pos_integer) :: :ok
  def await(server, event, count \\ 1)
  def await(server, %Regex{} = regex, count), do: server |> daemon() |> Daemon.await(regex, count)
  def await(server, event, count), do: await(server, Map.fetch!(@patterns, event), count)

  @spec log(server) :: [String.t()]
  def log(server), do: server |> daemon() |> Daemon.lines()

  defp daemon(server), do: GenServer.call(server, :daemon)

  # Each connection is a child of the process that listens, and that has one without privileges.
  defp connections(daemon) do
    for pid <- OsProcess.children(Daemon.os_pid(daemon)), OsProcess.alive?(pid), do: pid
  end

  defp drop_connections(daemon) do
    pids = OsProcess.descendants(Daemon.os_pid(daemon))
    for pid <- pids, do: OsProcess.kill(pid, :KILL)
    for pid <- pids, do: :ok = OsProcess.await_exit(pid)
    :ok
  end

  ## Server

  @impl true
  def init(options) do
    # `sshd` runs itself again for each connection, and wants its whole path for that.
    program = Daemon.find!(program: "sshd", package: "openssh-server")
    # Where packages start it as a service, that makes this directory; in a container nobody does.
    if user() == "root", do: File.mkdir_p!("/run/sshd")

    # So that what it starts ends with this process.
    Process.flag(:trap_exit, true)
    dir = Path.join(options[:dir], "sshd-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)

    options =
      Keyword.put_new_lazy(options, :host_keys, fn -> [SshKeys.generate!(dir, :ed25519)] end)

    state = %{program: program, dir: dir, options: options, address: nil, port: nil, daemon: nil}

    start = fn address, port ->
      state = launch(%{state | address: address |> :inet.ntoa() |> List.to_string(), port: port})
      if state.daemon, do: {:ok, state}, else: :taken
    end

    case options[:port] do
      nil -> {:ok, FreePort.with_port(&start.({127, 0, 0, 1}, &1))}
      port -> {:ok, FreePort.with_address(port, &start.(&1, port))}
    end
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:address, _from, state), do: {:reply, state.address, state}
  def handle_call(:daemon, _from, state), do: {:reply, state.daemon, state}
  def handle_call(:host_keys, _from, state), do: {:reply, state.options[:host_keys], state}

  def handle_call(:stop, _from, state) do
    drop_connections(state.daemon)
    GenServer.stop(state.daemon)
    {:reply, :ok, %{state | daemon: nil}}
  end

  def handle_call({:start, options}, _from, %{daemon: nil} = state) do
    case launch(%{state | options: Keyword.merge(state.options, options)}) do
      %{daemon: nil} -> {:stop, :port_taken, state}
      state -> {:reply, :ok, state}
    end
  end

  @impl true
  def handle_info({:EXIT, _daemon, _reason}, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{daemon: nil}), do: :ok

  def terminate(_reason, state) do
    drop_connections(state.daemon)
    GenServer.stop(state.daemon)
  end

  # Without a daemon where the port is taken.
  defp launch(state) do
    authorized = Path.join(state.dir, "authorized_keys")
    File.write!(authorized, Enum.map(state.options[:authorized], &[&1.public, "\n"]))
    config = Path.join(state.dir, "sshd_config")
    File.write!(config, Enum.map(config(state, authorized), &[&1, "\n"]))
    {:ok, daemon} = Daemon.start_link(program: state.program, args: ["-D", "-e", "-f", config])

    case Daemon.reached(daemon, ~r/^Server listening on/, 1, 10_000) do
      :ok ->
        %{state | daemon: daemon}

      {:error, lines} ->
        GenServer.stop(daemon)

        if Enum.any?(lines, &(&1 =~ "Address already in use")),
          do: state,
          else: raise(Enum.join(lines, "\n"))
    end
  end

  defp config(state, authorized) do
    options = state.options

    options[:config] ++
      for(key <- options[:host_keys], do: "HostKey #{key.path}") ++
      for(path <- options[:host_certificates], do: "HostCertificate #{path}") ++
      if(options[:accept_env], do: ["AcceptEnv GIT_PROTOCOL"], else: []) ++
      [
        "Port #{state.port}",
        "ListenAddress #{state.address}",
        "AuthorizedKeysFile #{authorized}",
        # The files are in a directory that anybody may write to.
        "StrictModes no",
        "PidFile none",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin yes",
        "AllowUsers #{user()}",
        "PermitTTY no",
        "PrintMotd no",
        "UseDNS no",
        "MaxStartups 100",
        "LogLevel VERBOSE",
        "SetEnv #{environment(options[:env])}"
      ] ++ no_penalties()
  end

  # For those who log in: git where it is found here, and out of reach of anybody's configuration.
  defp environment(more) do
    git = [{"PATH", System.get_env("PATH")} | GitCommand.environment()]
    config = GitCommand.config([{"safe.directory", "*"}, {"uploadpack.allowFilter", "true"}])

    for {name, value} <- Enum.uniq_by(more ++ git ++ config, &elem(&1, 0)),
        value != nil,
        into: "",
        do: ~s(#{name}="#{value}" )
  end

  # Since 9.8 it shuts out addresses that fail to log in, which is what tests do all the time.
  defp no_penalties do
    {version, 0} = System.cmd(Daemon.find!(program: "ssh"), ["-V"], stderr_to_stdout: true)
    [_, major, minor] = Regex.run(~r/OpenSSH_(\d+)\.(\d+)/, version)

    if {String.to_integer(major), String.to_integer(minor)} >= {9, 8},
      do: ["PerSourcePenalties no"],
      else: []
  end
end
