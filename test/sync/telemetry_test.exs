defmodule Alumiini.Git.TelemetryTest do
  # The events of real work, held against the table in the documentation of Alumiini.Git.Telemetry.
  # What scripted workers do on demand (garbage, another protocol version) is in events_test.exs.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.{Server, Telemetry}
  alias Alumiini.Git.Test.{DocumentedEvents, OsProcess}

  setup [:dir, :origin, :big_file, :http, :listening_git]

  defp big_file(context) do
    files = %{
      "deploy/app.yaml" => "app: 1\n",
      "deploy/big.bin" => :crypto.strong_rand_bytes(50_000)
    }

    %{commit: Repository.commit!(context.origin, files)}
  end

  # Its worker comes up at once: somebody must listen before.
  defp listening_git(_context) do
    git = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
    id = {__MODULE__, make_ref()}
    :ok = :telemetry.attach_many(id, Telemetry.events(), &__MODULE__.tell/4, {self(), git})
    on_exit(fn -> :telemetry.detach(id) end)
    %{pid: start_supervised!({Git, name: git}), git: git}
  end

  def tell(event, measurements, %{server: server} = metadata, {test, server}) do
    send(test, {:event, event, measurements, metadata, self()})
  end

  def tell(_event, _measurements, _of_another_server, _config), do: :ok

  # The next event of this name, which has exactly the keys that are documented.
  defp event!(name) do
    assert_receive {:event, ^name, measurements, metadata, executed_in}, 10_000
    documented = Map.fetch!(DocumentedEvents.all(), name)
    assert keys(measurements) == documented.measurements
    assert keys(metadata) == documented.metadata
    assert Enum.all?(Map.values(measurements), &(is_integer(&1) or &1 == nil))
    Map.merge(metadata, Map.put(measurements, :executed_in, executed_in))
  end

  # A call, and its two events.
  defp call!(op, call) do
    before = System.monotonic_time()
    result = call.()
    took = System.monotonic_time() - before
    start = event!([:alumiini_git, op, :start])
    stop = event!([:alumiini_git, op, :stop])
    refute_received {:event, [:alumiini_git, ^op | _], _, _, _}

    assert start.executed_in == self() and stop.executed_in == self()
    assert start.monotonic_time >= before
    assert stop.duration == stop.monotonic_time - start.monotonic_time
    assert stop.duration in 1..took
    same = [:op, :server, :url, :path, :ref, :telemetry_span_context]
    assert Map.take(start, same) == Map.take(stop, same)
    assert stop.op == op
    {result, stop}
  end

  test "a table of all events is documented" do
    assert Enum.sort(Map.keys(DocumentedEvents.all())) == Enum.sort(Telemetry.events())
  end

  test "every operation starts and stops, with what it was about and the bytes of it", context do
    %{git: git, http: http, url: url, path: path, origin: origin, commit: commit} = context
    options = [server: git]

    assert {{:ok, ^commit},
            %{result: :ok, url: ^url, path: ^path, ref: "main", bytes: bytes, change: :cloned}} =
             call!(:sync, fn -> Git.sync(url, "main", path, options) end)

    assert bytes == HttpServer.stats(http).pack_bytes
    assert bytes > 50_000

    assert {{:ok, ^commit}, %{result: :ok, bytes: 0, objects: 0, change: :none}} =
             call!(:sync, fn -> Git.sync(url, "main", path, options) end)

    second = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})

    assert {{:ok, ^second}, %{bytes: more, objects: 4, ref: {:branch, "main"}, change: :updated}} =
             call!(:sync, fn -> Git.sync(url, {:branch, "main"}, path, options) end)

    assert more == HttpServer.stats(http).pack_bytes - bytes
    assert more in 1..5_000

    assert {{:ok, %{sha: ^second}}, %{bytes: 0, ref: :default, change: :none}} =
             call!(:update, fn -> Git.update(url, :default, path, options) end)

    assert {{:ok, ["app.yaml"]}, %{result: :ok, path: ^path, url: nil, ref: nil, bytes: 0}} =
             call!(:files, fn -> Git.files(path, "deploy", options) end)

    assert {{:ok, "app: 2\n"}, %{result: :ok, path: ^path, url: nil, bytes: 7}} =
             call!(:read, fn -> Git.read(path, "deploy/app.yaml", options) end)

    assert {{:ok, _random}, %{bytes: 50_000}} =
             call!(:read, fn -> Git.read(path, "deploy/big.bin", options) end)

    assert {{:ok, %{sha: ^second}}, %{result: :ok, path: ^path, bytes: 0}} =
             call!(:head, fn -> Git.head(path, options) end)

    assert {{:ok, ^second}, %{result: :ok, path: ^path, ref: ^second, bytes: 0}} =
             call!(:checkout, fn -> Git.checkout(path, second, options) end)

    assert {{:ok, ^second}, %{result: :ok, url: ^url, path: nil, ref: "HEAD", bytes: 0}} =
             call!(:ls_remote, fn -> Git.ls_remote(url, "HEAD", options) end)

    assert {{:ok, [_head, _main]}, %{result: :ok, url: ^url, path: nil, ref: nil, bytes: 0}} =
             call!(:refs, fn -> Git.refs(url, options) end)
  end

  test "an operation tells how often the remote was asked", context do
    %{git: git, http: http, url: url, path: path, origin: origin, commit: commit} = context
    options = [server: git]

    # What the server saw since it was asked last.
    saw = fn ->
      log = HttpServer.log(http)
      seen = Process.put(:seen, length(log)) || 0
      length(log) - seen
    end

    for call <- [
          fn -> Git.sync(url, "main", path, options) end,
          fn -> Git.sync(url, "main", path, options) end,
          fn ->
            Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})
            Git.sync(url, "main", path, options)
          end
        ] do
      {{:ok, _sha}, stop} = call!(:sync, call)
      assert {stop.requests, stop.retries} == {saw.(), 0}
      assert stop.requests > 0
    end

    assert {{:error, _none}, %{requests: requests}} =
             call!(:ls_remote, fn -> Git.ls_remote(url, "none", options) end)

    assert requests == saw.()
    assert requests > 1

    # A commit that is there is not asked for.
    assert {{:ok, ^commit}, %{requests: 0, result: :ok}} =
             call!(:sync, fn -> Git.sync(url, {:commit, commit}, path, options) end)

    assert {{:ok, _files}, %{requests: 0}} = call!(:files, fn -> Git.files(path, nil, options) end)

    assert saw.() == 0

    # A path of this machine is a remote that is asked, too.
    assert {{:ok, _sha}, %{requests: 1}} =
             call!(:ls_remote, fn -> Git.ls_remote(origin, "main", options) end)
  end

  test "a request that is made again on a new connection is told as such", context do
    %{git: git, http: http, url: url} = context
    {{:ok, sha}, _stop} = call!(:ls_remote, fn -> Git.ls_remote(url, "main", server: git) end)
    before = length(HttpServer.log(http))
    HttpServer.rule(http, {:cut, :close}, first: 1)

    assert {{:ok, ^sha}, %{requests: requests, retries: 1}} =
             call!(:ls_remote, fn -> Git.ls_remote(url, "main", server: git) end)

    assert requests == length(HttpServer.log(http)) - before
    assert requests > 1
  end

  test "those who share an answer have been asked for once", context do
    %{git: git, http: http, url: url} = context
    {:ok, _sha} = Git.ls_remote(url, "main", server: git)
    before = length(HttpServer.log(http))
    hold = HttpServer.rule(http, :hold)
    call = fn -> Git.ls_remote(url, "main", server: git, timeout: 30_000) end
    first = Task.async(call)
    HttpServer.await(http, {:parked, hold, 1})
    others = for _ <- 1..8, do: Task.async(call)
    assert OsProcess.await(fn -> Git.info!(git).in_flight == 9 end, 10_000) == :ok
    HttpServer.release(http, hold)
    assert [{:ok, _}] = [first | others] |> Task.await_many(30_000) |> Enum.uniq()

    stops = for _ <- 0..9, do: event!([:alumiini_git, :ls_remote, :stop]).requests
    asked = length(HttpServer.log(http)) - before
    assert stops |> tl() |> Enum.sum() == asked
    assert asked < 9
    assert 0 in stops
  end

  test "the events of a call have one reference, and those of another another", context do
    %{git: git, origin: origin} = context

    [first, second] =
      for _ <- 1..2 do
        {:ok, _sha} = Git.ls_remote(origin, "main", server: git)
        start = event!([:alumiini_git, :ls_remote, :start]).telemetry_span_context
        assert start == event!([:alumiini_git, :ls_remote, :stop]).telemetry_span_context
        assert is_reference(start)
        start
      end

    assert first != second
  end

  test "a poller tells the numbers of a server and of its hosts", context do
    %{git: git, http: http, url: url} = context
    {:ok, _sha} = Git.ls_remote(url, "main", server: git)
    hold = HttpServer.rule(http, :hold)
    call = Task.async(fn -> Git.refs(url, server: git) end)
    HttpServer.await(http, {:parked, hold, 1})

    assert Telemetry.dispatch_info(git) == :ok
    info = event!([:alumiini_git, :server, :info])
    assert %{up: 1, pending: 1, in_flight: 1, queued: 0, workers: 1, attempts: 1} = info
    assert %{result: :ok, version: version, executed_in: executed_in} = info
    assert {version, executed_in} == {Mix.Project.config()[:version], self()}

    host = event!([:alumiini_git, :host, :info])
    assert %{running: 1, waiting: 0, failing: 0, held_for: 0, open: 0, circuit: :closed} = host
    assert host.host == "http://127.0.0.1:#{HttpServer.port(http)}"

    assert Telemetry.dispatch_info(git, hosts: false) == :ok
    event!([:alumiini_git, :server, :info])
    refute_received {:event, [:alumiini_git, :host, :info], _, _, _}

    Task.shutdown(call, :brutal_kill)
    :ok = stop_supervised(git)
    assert Telemetry.dispatch_info(git) == :ok

    assert %{up: 0, workers: 0, result: :worker_unavailable, version: nil} =
             event!([:alumiini_git, :server, :info])

    assert_raise ArgumentError, fn -> Telemetry.dispatch_info(git, host: true) end
  end

  test "an operation tells how long its requests waited for their turn", context do
    %{url: url, path: path, commit: commit} = context
    git = :"#{context.git}.slow"
    id = {__MODULE__, make_ref()}
    :ok = :telemetry.attach_many(id, Telemetry.events(), &__MODULE__.tell/4, {self(), git})
    on_exit(fn -> :telemetry.detach(id) end)
    start_supervised!({Git, name: git, max_requests_per_second_per_host: 2}, id: git)
    options = [server: git]

    # It takes two requests, which are there at once, and a third one, for the pack.
    assert {{:ok, ^commit}, %{queue_time: waited}} =
             call!(:sync, fn -> Git.sync(url, "main", path, options) end)

    assert waited > 0

    # Calls that share their requests, and one that fails, wait, too.
    assert {{:error, %Error{reason: :ref_not_found}}, %{queue_time: waited, duration: duration}} =
             call!(:ls_remote, fn -> Git.ls_remote(url, "none", options) end)

    half = System.convert_time_unit(400, :millisecond, :native)
    assert waited in half..duration

    assert {{:ok, _files}, %{queue_time: 0}} =
             call!(:files, fn -> Git.files(path, nil, options) end)
  end

  test "an operation that fails stops with its reason", context do
    %{git: git, url: url, path: path} = context
    options = [server: git]
    shown = url
    secret = String.replace(url, "://", "://ann:secret@") <> "?token=secret"

    for {op, reason, call} <- [
          {:sync, :ref_not_found, fn -> Git.sync(url, "none", path, options) end},
          {:sync, :invalid, fn -> Git.sync(secret, "main", path, options) end},
          {:sync, :ref_not_found, fn -> Git.sync(url, {:semver, "~> 1.0"}, path, options) end},
          {:update, :ref_not_found, fn -> Git.update(url, {:tag, "none"}, path, options) end},
          {:files, :path_not_found, fn -> Git.files(path, nil, options) end},
          {:read, :path_not_found, fn -> Git.read(path, "x", options) end},
          {:head, :path_not_found, fn -> Git.head(path, options) end},
          {:checkout, :path_not_found, fn -> Git.checkout(path, "main", options) end},
          {:ls_remote, :repo_not_found, fn -> Git.ls_remote(url <> "x", "HEAD", options) end},
          {:refs, :repo_not_found, fn -> Git.refs(url <> "x", options) end}
        ] do
      assert {{:error, %Error{reason: ^reason}}, stop} = call!(op, call)
      assert %{result: ^reason, bytes: 0, objects: 0, change: nil} = stop
      refute inspect(stop, structs: false) =~ "secret"
      if op == :sync, do: assert(stop.url == shown)
    end
  end

  test "credentials that are asked for again are one call; a function that raises makes an " <>
         "exception of it",
       context do
    %{git: git, http: http, url: url, commit: commit} = context
    HttpServer.rule(http, {:require, {:bearer, "good"}})
    asked = :counters.new(1, [])

    auth = fn ->
      :counters.add(asked, 1, 1)
      Alumiini.Git.Auth.bearer(if :counters.get(asked, 1) == 1, do: "outdated", else: "good")
    end

    options = [server: git, allow_insecure: true]

    assert {{:ok, ^commit}, %{result: :ok, retries: 1}} =
             call!(:ls_remote, fn -> Git.ls_remote(url, "HEAD", [auth: auth] ++ options) end)

    assert :counters.get(asked, 1) == 2
    assert catch_throw(Git.refs(url, [auth: fn -> throw(:enough) end] ++ options)) == :enough
    event!([:alumiini_git, :refs, :start])
    assert %{kind: :throw, reason: :enough, url: ^url} = event!([:alumiini_git, :refs, :exception])
    refute_received {:event, [:alumiini_git, :refs | _], _, _, _}
  end

  test "a progress function that raises makes an exception of the call", context do
    %{git: git, url: url, path: path} = context

    for {op, call} <- [
          {:sync, &Git.sync(url, "main", path, &1)},
          {:checkout, &Git.checkout(path, "main", &1)}
        ] do
      if op == :checkout do
        assert {:ok, _sha} = Git.sync(url, "main", path, server: git)
        event!([:alumiini_git, :sync, :start])
        event!([:alumiini_git, :sync, :stop])
      end

      raising = [server: git, progress: fn _progress -> throw(:enough) end]
      assert catch_throw(call.(raising)) == :enough
      start = event!([:alumiini_git, op, :start])
      exception = event!([:alumiini_git, op, :exception])
      assert %{op: ^op, kind: :throw, reason: :enough, path: ^path, stacktrace: [_ | _]} = exception
      assert exception.duration == exception.monotonic_time - start.monotonic_time
      refute_received {:event, [:alumiini_git, ^op | _], _, _, _}
    end
  end

  test "workers come up and go down, and why", context do
    %{git: git, pid: pid, path: path} = context
    up = event!([:alumiini_git, :worker, :up])
    assert %{attempt: 1, isolated: false, server: ^git, executed_in: ^pid} = up
    assert %{os_pid: os_pid, version: version} = Server.info(git)
    assert {up.os_pid, up.version} == {os_pid, version}
    assert up.duration > 0
    assert :ok = OsProcess.kill(os_pid, :KILL)

    down = event!([:alumiini_git, :worker, :down])

    assert %{os_pid: ^os_pid, version: ^version, attempt: 1, isolated: false, executed_in: ^pid} =
             down

    assert down.reason == {:exit_status, 137}
    assert down.uptime > 0

    up = event!([:alumiini_git, :worker, :up])
    assert %{attempt: 2, isolated: false, version: ^version, executed_in: ^pid} = up
    assert up.os_pid == Server.info(git).os_pid
    assert up.duration > 0

    # A request that ends every worker: the third of its workers is there for it alone.
    poison = %{"op" => "head", "path" => path, "fault" => %{"at" => "start", "do" => "kill"}}
    assert {:error, %Error{reason: :worker_exited}} = Server.call(git, poison)
    downs = for _ <- 1..3, do: event!([:alumiini_git, :worker, :down])
    assert Enum.map(downs, & &1.isolated) == [false, false, true]
    assert Enum.all?(downs, &(&1.reason == {:exit_status, 137}))
    ups = for _ <- 1..3, do: event!([:alumiini_git, :worker, :up])
    assert Enum.map(ups, & &1.isolated) |> Enum.sort() == [false, false, true]

    :ok = stop_supervised!(git)
    assert %{reason: :shutdown, isolated: false} = event!([:alumiini_git, :worker, :down])
    refute_received {:event, [:alumiini_git, :worker, _], _, _, _}
  end

  test "a repository that was built anew is told once", context do
    %{git: git, pid: pid, url: url, path: path, origin: origin, commit: commit} = context
    assert {:ok, ^commit} = Git.sync(url, "main", path, server: git)
    [pack] = Path.wildcard(Path.join(path, ".git/objects/pack/*.pack"))
    :ok = File.chmod(pack, 0o644)
    :ok = File.write(pack, "not a pack")
    second = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})

    assert {:ok, ^second} = Git.sync(url, "main", path, server: git)

    assert %{path: ^path, reason: reason, executed_in: ^pid} =
             event!([:alumiini_git, :repo, :repaired])

    assert reason =~ ~r/\w+ \w+/
    assert {:ok, ^second} = Git.sync(url, "main", path, server: git)
    refute_received {:event, [:alumiini_git, :repo, :repaired], _, _, _}
  end

  defp keys(map), do: map |> Map.keys() |> Enum.sort()
end
