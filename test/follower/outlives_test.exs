defmodule Alumiini.Git.FollowerOutlivesTest do
  # What a follower goes through: its worker, its server, its network, and its own end.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 20_000

  alias Alumiini.Git.Test.Relay

  @moduletag files: %{"deploy/a.yaml" => "a: 1\n", "charts/b.yaml" => "b: 1\n"}

  setup [:dir, :origin, :commit, :http, :named_git, :events]

  defp push!(context, n), do: Repository.commit!(context.origin, %{"deploy/a.yaml" => "a: #{n}\n"})

  defp restart_git!(context) do
    monitors = for pid <- sources(context), do: Process.monitor(pid)
    stop_supervised!(context.git)
    for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, :process, _pid, :normal}, @soon)
    fn -> named!(context.git) end
  end

  defp named!(git), do: start_supervised!({Git, name: git, backoff_initial: 1})

  test "its worker is killed in the middle of a poll", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy", errors: true)
    gate = HttpServer.rule(context.http, :hold)
    second = push!(context, 2)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    %{os_pid: os_pid} = Server.info(context.git)
    :ok = OsProcess.kill(os_pid, :KILL)
    # Its successor asks again.
    HttpServer.await(context.http, {:requests, 3})
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    moved!(follower, second)
    assert_received {:alumiini_git, ^follower, %Update{sha: ^second}}
    refute_received {:alumiini_git, ^follower, _again}
  end

  test "its server is restarted: what was pushed meanwhile is told, once, and nothing again",
       context do
    follower = followed!(context)
    other = follow!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    {:ok, _current} = Follower.subscribe(other, "charts")
    start = restart_git!(context)
    assert %{followers: 0, sha: sha} = Follower.status(follower)
    assert sha == context.commit
    second = push!(context, 2)
    first = context.commit
    start.()

    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second, previous: ^first} = update},
                   20_000

    assert [%Change{path: "deploy/a.yaml", status: :modified}] = update.changes
    await_status!(other, &(&1.sha == second and &1.followers == 2))
    assert [_source] = sources(context)

    third = Repository.commit!(context.origin, %{"charts/b.yaml" => "b: 2\n"})
    poke!(other, third)
    assert_received {:alumiini_git, ^other, %Update{sha: ^third, previous: ^second}}
    refute_received {:alumiini_git, _follower, _again}
  end

  test "its server is restarted with nothing new: nothing is told", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, :all, errors: true)
    restart_git!(context).()
    poll!()
    Follower.status(follower)
    refute_received {:alumiini_git, _follower, _nothing}
  end

  test "its server is away for longer: an error, and it comes back; pokes are kept", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy", errors: true)
    start = restart_git!(context)

    assert_receive {:alumiini_git, ^follower,
                    {:error, %Error{reason: :worker_unavailable, message: message}}},
                   10_000

    assert message =~ "no server is running as #{inspect(context.git)}"
    second = push!(context, 2)
    Follower.poke(follower, second)
    assert %{error: %Error{reason: :worker_unavailable}, pokes: 1} = Follower.status(follower)
    start.()
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second}}, @soon
    assert %{error: nil} = Follower.status(follower)
    refute_received {:alumiini_git, _follower, _again}
  end

  test "it starts before its server does", context do
    stop_supervised!(context.git)
    follower = follow!(context)
    {:ok, nil} = Follower.subscribe(follower)
    assert %{error: %Error{reason: :worker_unavailable}} = Follower.status(follower)
    named!(context.git)
    commit = context.commit
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^commit, changes: :all}}, @soon
  end

  test "a source that is killed takes nothing with it", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    [source] = sources(context)
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    second = push!(context, 2)
    Process.exit(source, :kill)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second}}, @soon
    refute_received {:alumiini_git, _follower, _again}
    assert [another] = sources(context)
    assert another != source
  end

  test "the process of a poll is killed: it polls again", context do
    follower = followed!(context)
    [source] = sources(context)
    gate = HttpServer.rule(context.http, :hold, first: 1)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    {:links, [request]} = Process.info(source, :links)
    Process.exit(request, :kill)
    poll!(:internal)
    second = push!(context, 2)
    {:ok, _current} = Follower.subscribe(follower)
    poke!(follower, second)
    assert_received {:alumiini_git, _follower, %Update{sha: ^second}}
  end

  test "its network is gone and comes back: what was pushed meanwhile is told", context do
    relay = start_supervised!({Relay, to: HttpServer.port(context.http)})
    url = "http://127.0.0.1:#{Relay.port(relay)}/origin.git"
    # The first pauses after an error are no longer than the interval.
    follower = followed!(context, url: url, interval: 50, timeout: 2_000)
    {:ok, _current} = Follower.subscribe(follower, "deploy", errors: true)
    Relay.stall_after(relay, 0)
    Relay.cut(relay, :reset)
    second = push!(context, 2)
    assert_receive {:alumiini_git, ^follower, {:error, %Error{retryable?: true}}}, @soon
    third = push!(context, 3)
    Relay.stall_after(relay, :never)
    Relay.cut(relay, :reset)
    first = context.commit
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^third, previous: ^first}}, @soon
    refute_received {:alumiini_git, ^follower, %Update{sha: ^second}}
    refute_received {:alumiini_git, ^follower, %Update{sha: ^third}}
  end

  test "its repository is damaged and built anew: anything may have changed", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    first = context.commit
    # Nothing of what was there before can be read.
    File.rm_rf!(context.path)
    second = push!(context, 2)
    poke!(follower, second)

    assert_received {:alumiini_git, ^follower,
                     %Update{sha: ^second, previous: ^first, changes: :all, cloned?: true}}

    third = push!(context, 3)
    poke!(follower, third)
    assert_received {:alumiini_git, ^follower, %Update{sha: ^third, changes: [_one]}}
    refute_received {:alumiini_git, _follower, _again}
  end

  test "a function given as :auth that raises is an error of the poll, and nothing of it is shown",
       context do
    asked = :counters.new(1, [])

    auth = fn ->
      :counters.add(asked, 1, 1)
      if :counters.get(asked, 1) == 1, do: raise("s3cr3t"), else: Git.Auth.token("s3cr3t")
    end

    log =
      ExUnit.CaptureLog.capture_log(fn ->
        follower = follow!(context, auth: auth, allow_insecure: true)
        poll!(:auth)
        assert %{error: %Error{reason: :auth, message: message}} = Follower.status(follower)
        assert message =~ "the function given as :auth raised RuntimeError"
        Follower.poke(follower)
        poll!()
        assert %{error: nil, sha: sha} = Follower.status(follower)
        assert sha == context.commit
      end)

    refute log =~ "s3cr3t"
  end

  test "it ends: no process, no monitor, no request and no timer is left", context do
    before = length(Process.list())
    follower = followed!(context)
    [source] = sources(context)
    {:ok, _current} = Follower.subscribe(follower)
    monitor = Process.monitor(source)
    reference = Process.monitor(follower)
    GenServer.stop(follower)
    assert_receive {:DOWN, ^monitor, :process, _pid, :normal}, @soon
    assert_receive {:DOWN, ^reference, :process, _pid, :normal}, @soon
    await = fn -> length(Process.list()) <= before + 5 end
    assert :ok = OsProcess.await(await, 5_000)
    {:monitors, monitors} = Process.info(Process.whereis(context.git), :monitors)
    assert for({:process, pid} <- monitors, do: Process.info(pid)) == []
    HttpServer.reset(context.http)
    assert %{pending: 0} = Server.info(context.git)
    assert HttpServer.stats(context.http).requests == 0
  end

  test "a child specification has an id of its own, and nothing secret in it", context do
    options = options(context, url: "https://ann:s3cr3t@git.example.com/a.git?t=s3cr3t")
    spec = Follower.child_spec(options)
    assert {Follower, "https://git.example.com/a.git", "main", path} = spec.id
    assert path == context.path
    refute inspect(spec, structs: false) =~ "s3cr3t"
    assert %{id: Some.Name} = Follower.child_spec([name: Some.Name] ++ options)
    # The function that it names takes what it gives.
    %{start: {module, function, arguments}} = Follower.child_spec(options(context))
    assert {:ok, pid} = apply(module, function, arguments)
    GenServer.stop(pid)
  end

  test "a source that is started for nobody ends by itself", context do
    given = %{server: context.git, pid: Process.whereis(context.git), delay: 0}
    pid = :proc_lib.spawn(Alumiini.Git.Follower.Source, :start, [given, %{}])
    monitor = Process.monitor(pid)
    send(pid, :unused?)
    assert_receive {:DOWN, ^monitor, :process, _pid, :normal}, @soon
  end
end
