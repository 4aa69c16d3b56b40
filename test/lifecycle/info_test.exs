defmodule Alumiini.Git.InfoTest do
  # What `Alumiini.Git.info/2` tells, and when.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Info
  alias Alumiini.Git.Test.{OsProcess, ScriptedWorker}

  @moduletag timeout: 60_000
  @soon 10_000

  setup [:dir, :origin, :commit, :http]

  test "tells what the server does, and what its worker is", context do
    git = start_supervised!({Git, name: nil})
    assert {:ok, _commit} = Git.ls_remote(context.url, "main", server: git)
    assert {:ok, %Info{hosts: nil} = info} = Git.info(git)
    assert %{pending: 0, in_flight: 0, queued: 0, workers: 1, attempts: 1} = info
    assert OsProcess.alive?(info.os_pid)
    assert info.version == Mix.Project.config()[:version]
    assert is_binary(info.target) and is_binary(info.libgit2) and File.regular?(info.binary)

    # Nothing is under way, so no host is worth telling of.
    assert %Info{hosts: []} = Git.info!(git, hosts: true)
    assert %Info{hosts: nil} = Git.info!(git, hosts: false)
  end

  test "tells of a host what runs and waits, without any secret", context do
    git = start_supervised!({Git, name: nil, max_requests_per_host: 1})
    hold = HttpServer.rule(context.http, :hold)
    [scheme, rest] = String.split(context.url, "://")
    url = "#{scheme}://ann:s3cr3t-token@#{rest}?private_token=s3cr3t-token"

    calls =
      for prefix <- ["a", "b", "c"] do
        call = fn ->
          Git.refs(url, server: git, prefix: prefix, allow_insecure: true, timeout: 30_000)
        end

        task = Task.async(call)
        HttpServer.await(context.http, {:parked, hold, 1})
        task
      end

    assert OsProcess.await(fn -> Git.info!(git).in_flight == 3 end, @soon) == :ok

    waits? = fn -> match?(%{hosts: [%{waiting: 2}]}, Git.info!(git, hosts: true)) end
    assert OsProcess.await(waits?, @soon) == :ok
    assert %Info{pending: 3, queued: 0, hosts: [host]} = info = Git.info!(git, hosts: true)

    assert %Info.Host{running: 1, waiting: 2, limit: 1, circuit: :half_open, failing: 0} = host
    assert %{proxy: nil, per_second: nil, tokens: nil, held_for: nil} = host
    assert host.host == "http://127.0.0.1:#{HttpServer.port(context.http)}"
    assert [%{url: shown, waiting: 2}] = host.repositories
    assert shown == context.url
    refute inspect(info, limit: :infinity) =~ "s3cr3t"
    for call <- calls, do: Task.shutdown(call, :brutal_kill)
  end

  test "does not wait for a worker", context do
    git = start_supervised!({Git, name: nil})
    assert {:ok, _commit} = Git.ls_remote(context.url, "main", server: git)
    %{os_pid: os_pid} = Git.info!(git)
    assert OsProcess.kill(os_pid, :STOP) == :ok
    assert {:ok, %Info{os_pid: ^os_pid, pending: 0}} = Git.info(git)
    assert {:ok, %Info{os_pid: ^os_pid, hosts: nil}} = Git.info(git, hosts: true, timeout: 200)
    assert OsProcess.kill(os_pid, :CONT) == :ok
    assert {:ok, %Info{hosts: []}} = Git.info(git, hosts: true, timeout: @soon)
  end

  test "tells that there is no worker, or no server", context do
    missing = Path.join(context.dir, "missing")
    git = start_supervised!({Git, name: nil, binary: missing})
    assert {:ok, %Info{os_pid: nil, version: nil, hosts: nil}} = Git.info(git, hosts: true)

    assert {:error, %Error{reason: :worker_unavailable, op: :info, retryable?: false}} =
             Git.info(:nobody_has_this_name)

    assert_raise Error, ~r/^info: no server is running/, fn ->
      Git.info!(:nobody_has_this_name)
    end

    # A server that is not at work itself.
    :ok = :sys.suspend(git)
    assert {:error, %Error{reason: :timeout}} = Git.info(git, timeout: 50)
    :ok = :sys.resume(git)
    refute_received _late
  end

  @tag :tmp_dir
  test "leaves out what it does not understand", %{tmp_dir: directory} do
    reply = %{"id" => :last, "ok" => [%{"host" => "h", "circuit" => "fused"}]}
    script = ScriptedWorker.hello() ++ [:read, {:reply, reply}, :serve]
    git = start_supervised!({Git, name: nil, binary: ScriptedWorker.write!(directory, [script])})
    up? = fn -> Git.info!(git).version != nil end
    assert OsProcess.await(up?, @soon) == :ok
    assert {:ok, %Info{hosts: nil}} = Git.info(git, hosts: true)
  end

  test "refuses options that are none" do
    for {call, words} <- [
          {fn -> Git.info(Git, hosts: 1) end, ~r/:hosts must be true or false/},
          {fn -> Git.info(Git, timeout: 0) end, ~r/:timeout must be/},
          {fn -> Git.info(Git, host: true) end, ~r/unknown option :host of Alumiini.Git.info/},
          {fn -> Git.info(hosts: true) end, ~r/:server must be a pid/},
          {fn -> Git.info(nil) end, ~r/:server must be/}
        ] do
      assert_raise ArgumentError, words, call
    end
  end
end
