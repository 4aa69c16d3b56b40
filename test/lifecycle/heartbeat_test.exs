defmodule Alumiini.Git.HeartbeatTest do
  # A worker that is there and does nothing: stopped, or hanging. Deadlines would find it after
  # minutes.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Server.{State, Workers}
  alias Alumiini.Git.Test.{OsProcess, RawWorker, WorkersSeen}

  @soon 20_000

  setup [:dir, :origin, :commit, :http]

  setup do
    WorkersSeen.attach!()
  end

  defp start!(heartbeat) do
    git = start_supervised!({Git, name: nil, heartbeat: heartbeat, backoff_initial: 1})
    assert_receive {:worker, :up, ^git, %{os_pid: os_pid}}, @soon
    {git, os_pid}
  end

  test "what a stopped worker had in flight is answered by the next one", context do
    {git, os_pid} = start!(200)
    rule = HttpServer.rule(context.http, :hold, on: :info_refs)

    tasks =
      for n <- 1..4 do
        path = Path.join(context.dir, "clone-#{n}")
        Task.async(fn -> Git.sync(context.url, "main", path, server: git) end)
      end

    HttpServer.await(context.http, {:parked, rule, 1})
    :ok = OsProcess.kill(os_pid, :STOP)
    HttpServer.remove(context.http, rule)
    HttpServer.release(context.http, rule)
    # Their own deadline is five minutes away.
    assert Task.await_many(tasks, @soon) == for(_ <- 1..4, do: {:ok, context.commit})
    assert_receive {:worker, :down, ^git, %{reason: :silent, os_pid: ^os_pid}}, @soon
    assert OsProcess.await_exit(os_pid) == :ok
  end

  test "one that has nothing to do is replaced, too", _context do
    {git, os_pid} = start!(200)
    :ok = OsProcess.kill(os_pid, :STOP)
    assert_receive {:worker, :down, ^git, %{reason: :silent, os_pid: ^os_pid}}, @soon
    assert_receive {:worker, :up, ^git, %{os_pid: next}} when next != os_pid, @soon
  end

  test "one whose request takes longer than many heartbeats stays", context do
    {git, os_pid} = start!(400)
    HttpServer.rule(context.http, :hold, on: :info_refs)
    path = Path.join(context.dir, "clone")
    task = Task.async(fn -> Git.sync(context.url, "main", path, server: git) end)
    # Each heartbeat takes the next id for its `ping`.
    beats = fn -> :sys.get_state(git).last_id end
    begun = beats.()
    assert OsProcess.await(fn -> beats.() >= begun + 8 end, @soon) == :ok
    assert %{os_pid: ^os_pid, in_flight: 1, attempts: 1} = Server.info(git)
    assert WorkersSeen.so_far(:down, git) == []
    Task.shutdown(task, :brutal_kill)
  end

  test "one that was heard within the time stays, and one that was not goes" do
    {git, _os_pid} = start!(60_000)
    state = :sys.get_state(git)
    worker = %{state.workers[state.main] | ping: 1}
    now = State.now()

    beat = fn silent, late ->
      Workers.heartbeat(state, %{worker | heard_at: now - silent}, State.now() - late)
    end

    status = &Map.fetch!(&1.workers, state.main).status

    assert status.(beat.(50_000, 0)) == :up
    # The whole machine stood still.
    assert status.(beat.(100_000, 40_000)) == :up
    assert status.(beat.(60_000, 0)) == :killed
  end

  test "shorter times than a busy machine's are refused" do
    assert_raise ArgumentError, ~r/at least 100 ms/, fn ->
      Git.start_link(name: nil, heartbeat: 99)
    end
  end

  test "a stopped worker does not outlive its server", _context do
    {_git, os_pid} = start!(60_000)
    :ok = OsProcess.kill(os_pid, :STOP)
    OsProcess.await_state(os_pid, ["T"])
    stop_supervised!(Git)
    assert OsProcess.await_exit(os_pid) == :ok
  end

  test "`ping` is answered while all that works is busy, with an id and without", context do
    rule = HttpServer.rule(context.http, :hold, on: :info_refs)

    RawWorker.with_worker(fn worker ->
      for n <- 1..600 do
        path = Path.join(context.dir, "raw-#{n}")

        RawWorker.ask(worker, %{
          "op" => "sync",
          "url" => context.url,
          "branch" => "main",
          "path" => path
        })
      end

      HttpServer.await(context.http, {:parked, rule, 1})
      assert RawWorker.call(worker, %{"op" => "ping"}) == {:ok, true}
    end)
  end
end
