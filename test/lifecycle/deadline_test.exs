defmodule Alumiini.Git.DeadlineTest do
  # At its timeout a call returns, whatever the remote or the worker does, and leaves nothing at
  # work and nothing behind.
  use Alumiini.Git.Test.KillCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{ScriptedTcp, WorkersSeen}

  @moduletag timeout: 120_000

  @timeout 400
  # The issue allows a second.
  @late 1_000

  setup [:dir, :versions, :http]

  # No connection is kept for the next request, so that each open one is a request at work.
  setup %{http: http} do
    HttpServer.rule(http, {:header, "connection", "close"})
    HttpServer.rule(http, :close_after)
    :ok
  end

  defp start!(options \\ []) do
    WorkersSeen.attach!()
    git = start_supervised!({Git, [name: nil, max_requests_per_host: 256] ++ options})
    assert_receive {:worker, :up, ^git, %{os_pid: os_pid}}, 5_000
    {git, os_pid}
  end

  defp took(function) do
    {microseconds, result} = :timer.tc(function)
    {div(microseconds, 1000), result}
  end

  defp assert_timeout(git, context) do
    assert_timeout(fn ->
      Git.sync(context.url, "main", context.path, server: git, timeout: @timeout)
    end)
  end

  # A millisecond less, since a clock that counts them whole may have begun with a part of one.
  defp assert_timeout(call) do
    {ms, result} = took(call)
    assert {:error, %Error{reason: :timeout, retryable?: true}} = result
    assert ms in (@timeout - 1)..(@timeout + @late)
  end

  # What the worker holds of the remote after the call, which it may still be letting go of.
  defp assert_let_go(context, os_pid) do
    HttpServer.await(context.http, {:open, 0}, @late)
    port = HttpServer.port(context.http)
    assert OsProcess.await(fn -> port not in OsProcess.connections(os_pid) end, @late) == :ok
  end

  defp assert_synced(git, context, version) do
    id = context.commits[version]
    assert Git.sync(context.url, "main", context.path, server: git) == {:ok, id}
    Oracle.assert_synced(context.path, context.origin, id)
    assert Leftovers.of(context.path) == []
  end

  describe "a remote that" do
    for {what, rule, options} <- [
          {"accepts and says nothing", :silent, []},
          {"says nothing to the request for a pack", :silent, [on: :upload_pack, skip: 1]},
          {"sends its headers one byte a second", {:trickle, :head, 1, 1_000}, []},
          {"sends its refs one byte a second", {:trickle, :body, 1, 1_000}, []},
          {"sends the pack one byte a second", {:trickle, :pack, 1, 1_000}, []},
          {"stops before the pack", {:stop, {:pack, 0}, :stall}, []},
          {"stops in the middle of the pack", {:stop, {:pack, 100_000}, :stall}, []}
        ] do
      @rule rule
      @options options

      test "#{what}: a clone returns at its timeout and leaves nothing", context do
        {git, os_pid} = start!()
        rule = HttpServer.rule(context.http, @rule, @options)
        assert_timeout(git, context)
        assert_let_go(context, os_pid)
        # Also the directory itself was made by the sync.
        assert OsProcess.await(fn -> not File.exists?(context.path) end, @late) == :ok

        HttpServer.remove(context.http, rule)
        assert_synced(git, context, 1)
        assert %{attempts: 1, pending: 0} = Server.info(git)
      end

      test "#{what}: a fetch returns at its timeout and leaves what was there", context do
        {git, os_pid} = start!()
        assert_synced(git, context, 1)
        publish!(context, 2)
        # One request less than the first time: what the server speaks is known.
        rule = HttpServer.rule(context.http, @rule, Keyword.replace(@options, :skip, 1))
        assert_timeout(git, context)
        assert_let_go(context, os_pid)
        assert OsProcess.await(fn -> Leftovers.of(context.path) == [] end, @late) == :ok
        Oracle.assert_synced(context.path, context.origin, context.commits[1])

        HttpServer.remove(context.http, rule)
        assert_synced(git, context, 2)
        assert %{attempts: 1, pending: 0} = Server.info(git)
      end
    end

    test "is no server at all: sync and ls_remote return at their timeout", context do
      {git, os_pid} = start!()
      {:ok, tcp} = ScriptedTcp.start_link([:hold])
      assert_timeout(git, %{context | url: ScriptedTcp.url(tcp)})
      assert_receive {ScriptedTcp, ^tcp, {:closed, 1}}, @late

      assert_timeout(fn ->
        Git.ls_remote(ScriptedTcp.url(tcp), "main", server: git, timeout: @timeout)
      end)

      assert_receive {ScriptedTcp, ^tcp, {:closed, 2}}, @late
      assert OsProcess.connections(os_pid) == []
      assert_synced(git, context, 1)
    end
  end

  test "a caller that is killed cancels its request", context do
    {git, os_pid} = start!()

    for rule <- [:hold, {:stop, {:pack, 100_000}, :hold}] do
      gate = HttpServer.rule(context.http, rule, on: :upload_pack)
      {:ok, caller} = Task.start(fn -> Git.sync(context.url, "main", context.path, server: git) end)
      HttpServer.await(context.http, {:parked, gate, 1})
      Process.exit(caller, :kill)
      assert_let_go(context, os_pid)
      assert OsProcess.await(fn -> not File.exists?(context.path) end, @late) == :ok
      assert OsProcess.await(fn -> Server.info(git).pending == 0 end, @late) == :ok
      HttpServer.remove(context.http, gate)
    end

    assert_synced(git, context, 1)
    assert %{attempts: 1} = Server.info(git)
  end

  test "a caller that is killed ends nothing that others wait for", context do
    {git, _os_pid} = start!()

    # The first sync is at work; the second and third are the same and share one that comes after
    # it.
    gate = HttpServer.rule(context.http, :hold, on: :upload_pack)
    {:ok, first} = Task.start(fn -> Git.sync(context.url, "main", context.path, server: git) end)
    HttpServer.await(context.http, {:parked, gate, 1})
    {:ok, second} = Task.start(fn -> Git.sync(context.url, "main", context.path, server: git) end)
    third = Task.async(fn -> Git.sync(context.url, "main", context.path, server: git) end)
    assert OsProcess.await(fn -> Server.info(git).in_flight == 3 end, @late) == :ok
    for caller <- [first, second], do: Process.exit(caller, :kill)
    HttpServer.release(context.http, gate)
    assert Task.await(third) == {:ok, context.commits[1]}
  end

  test "a worker that stops reading is replaced, and others are served", context do
    {git, os_pid} = start!(grace: 300)
    assert_synced(git, context, 1)
    :ok = OsProcess.kill(os_pid, :STOP)
    assert OsProcess.await_state(os_pid, ["T"]) == :ok

    # The worker ignores what it does not know, so these are sound requests, only large ones.
    large = %{"op" => "head", "path" => context.path, "padding" => String.duplicate("x", 900_000)}
    patient = for _ <- 1..4, do: Task.async(fn -> Server.call(git, large) end)
    assert OsProcess.await(fn -> stuck?(git) end, 5_000) == :ok

    others =
      for n <- 1..20, do: Task.async(fn -> Git.read(context.path, "app/#{n}.yaml", server: git) end)

    assert_timeout(fn -> Server.call(git, large, timeout: @timeout) end)

    id = context.commits[1]
    for answer <- Task.await_many(patient), do: assert({:ok, %{"ok" => %{"sha" => ^id}}} = answer)

    for {answer, n} <- Enum.with_index(Task.await_many(others), 1) do
      assert answer == {:ok, Versions.contents(1)["app"]["#{n}.yaml"]}
    end

    assert_receive {:worker, :down, ^git, %{os_pid: ^os_pid, reason: :unresponsive}}, 5_000
    refute OsProcess.alive?(os_pid)
    assert %{attempts: 2, pending: 0, workers: 1} = Server.info(git)
  end

  defp stuck?(git) do
    state = :sys.get_state(git)
    Alumiini.Git.Test.WorkersSeen.stuck?(state.workers[state.main])
  end

  test "64 remotes that trickle stop no read, no cancel, no sync of another host and no exit",
       context do
    {git, os_pid} = start!()
    assert_synced(git, context, 1)
    slow = start_supervised!({HttpServer, root: context.dir})
    HttpServer.rule(slow, {:trickle, :pack, 1, 1_000})
    url = HttpServer.url(slow, "origin.git")
    paths = for n <- 1..64, do: Path.join(context.dir, "slow-#{n}")
    test = self()

    callers =
      for path <- paths do
        # The first progress that tells of the pack comes when its thread waits for it.
        tell = fn progress -> if progress.phase == :receive, do: send(test, {:receives, path}) end

        {:ok, caller} =
          Task.start(fn -> Git.sync(url, "main", path, server: git, progress: tell) end)

        caller
      end

    for path <- paths, do: assert_receive({:receives, ^path}, 30_000)
    # Of each the pack; what the branch is at was asked for all of them together.
    HttpServer.await(slow, {:requests, 65, on: :upload_pack}, 30_000)
    assert OsProcess.threads(os_pid) >= 64

    assert_quick("a read", fn ->
      assert Git.read(context.path, "app/7.yaml", server: git) ==
               {:ok, Versions.contents(1)["app"]["7.yaml"]}
    end)

    # Asked for before it happens, so that it is not seen too late.
    before = HttpServer.stats(slow).open
    assert before >= 64
    Process.exit(hd(callers), :kill)
    assert_quick("a cancel", fn -> HttpServer.await(slow, {:open, before - 1}, @late) end)

    assert_quick("its cleaning up", fn ->
      :ok = OsProcess.await(fn -> not File.exists?(hd(paths)) end, @late)
    end)

    publish!(context, 2)
    assert_quick("a sync of another host", fn -> assert_synced(git, context, 2) end)

    assert %{pending: 63, attempts: 1} = Server.info(git)
    stop_supervised!(Git)
    assert OsProcess.await_exit(os_pid, @late) == :ok
    HttpServer.await(slow, {:open, 0}, @late)
  end

  defp assert_quick(what, function) do
    {ms, _result} = took(function)
    assert ms < 2_000, "#{what} took #{ms} ms"
  end
end
