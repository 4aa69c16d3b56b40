defmodule Alumiini.Git.FollowerSharedTest do
  # What followers share, and what they may not. What counts is what the remote's server is asked.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 20_000

  setup [:dir, :origin, :commit, :http, :named_git, :events]

  @many 1_000

  defp requests(context), do: HttpServer.stats(context.http).requests

  test "a poll with nothing new is one request, for a thousand subscribers of one follower",
       context do
    follower = followed!(context)

    tasks =
      for n <- 1..@many do
        Task.async(fn ->
          {:ok, _current} = Follower.subscribe(follower, "team-#{n}/")
          receive(do: ({:alumiini_git, ^follower, update} -> update))
        end)
      end

    await_status!(follower, &(&1.subscribers == @many))
    HttpServer.reset(context.http)

    for n <- 1..5 do
      Follower.poke(follower)
      poll!()
      assert requests(context) == n
    end

    # One push to one of them, then one to all.
    one = Repository.commit!(context.origin, %{"team-500/app.yaml" => "1"})
    poke!(follower, one)

    assert %Update{sha: ^one, changes: [%{path: "team-500/app.yaml"}]} =
             Task.await(Enum.at(tasks, 499))

    await_status!(follower, &(&1.subscribers == @many - 1))

    all = Repository.commit!(context.origin, for(n <- 1..@many, do: {"team-#{n}/app.yaml", "2"}))
    poke!(follower, all)

    for {task, n} <- Enum.with_index(tasks, 1), n != 500 do
      path = "team-#{n}/app.yaml"
      assert %Update{sha: ^all, previous: ^one, changes: [%{path: ^path}]} = Task.await(task)
    end

    # Each subscriber had its message, and what it watched is not looked at any more.
    await_status!(follower, &(&1.subscribers == 0))
  end

  test "a poll with nothing new is one request, for a thousand followers of the same", context do
    [first | _others] = followers = for _ <- 1..@many, do: follow!(context)
    poll!()
    assert [source] = sources(context)
    await_status!(first, &(&1.followers == @many))
    HttpServer.reset(context.http)

    # Each of them is poked: the poll for the first, and one more for all that came meanwhile.
    gate = HttpServer.rule(context.http, :hold)
    for follower <- followers, do: Follower.poke(follower)
    await_status!(first, &(&1.pokes == @many))
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    await_status!(first, &(&1.pokes == 0 and not &1.polling?))
    assert requests(context) == 2
    assert [%{followers: @many}, %{followers: @many}] = [poll!(), poll!()]

    for follower <- followers, do: {:ok, _current} = Follower.subscribe(follower, "a.yaml")
    sha = Repository.commit!(context.origin, %{"a.yaml" => "2"})
    poke!(first, sha)

    for follower <- followers,
        do: assert_receive({:alumiini_git, ^follower, %Update{sha: ^sha, changes: [_one]}}, @soon)

    # Those that go take nothing with them; the last one does.
    monitor = Process.monitor(source)
    for follower <- tl(followers), do: GenServer.stop(follower)
    await_status!(first, &(&1.followers == 1))
    refute_received {:DOWN, ^monitor, _, _, _}
    GenServer.stop(first)
    assert_receive {:DOWN, ^monitor, :process, _pid, :normal}, @soon
    assert %{entries: none, names: none, labels: none} = :sys.get_state(context.git).shared
    assert none == %{}
  end

  test "the shortest interval of those that share is the interval", context do
    followed!(context)
    follow!(context, interval: 20)
    for _ <- 1..3, do: assert(%{moved: false, poked: false} = poll!())
  end

  test "what is said in two ways is the same; a path with another URL, ref or options is refused",
       context do
    followed!(context)
    same = [ref: {:branch, "main"}, path: context.path <> "/./", depth: 1, working_tree: false]
    follow!(context, same)
    assert [_source] = sources(context)

    for {others, name} <- [
          {[url: context.url <> "/"], ":url"},
          {[ref: "other"], ":ref"},
          {[depth: 2], ":depth"},
          {[working_tree: true, keep: 3], ":keep, :working_tree"},
          {[auth: Git.Auth.token("s3cr3t")], ":auth"},
          {[timeout: 1_000], ":timeout"}
        ] do
      {:error, {error, _child}} =
        start_supervised(
          Supervisor.child_spec({Follower, options(context, others)}, id: make_ref())
        )

      assert %Error{reason: :occupied, op: :update} = error
      assert error.message =~ "#{context.path} is followed already"
      assert error.message =~ "not with the same #{name};"
      refute inspect(error) =~ "s3cr3t"
    end

    assert [_source] = sources(context)
  end

  test "a path is free for another ref as soon as its last follower has ended", context do
    Repository.commit!(context.origin, %{"b" => "1"}, branch: "other", from: context.commit)
    supervisor = start_supervised!({DynamicSupervisor, strategy: :one_for_one, max_restarts: 0})
    start = &DynamicSupervisor.start_child(supervisor, {Follower, options(context, ref: &1)})
    {:ok, follower} = start.("main")
    poll!()
    [source] = sources(context)

    # It has not noticed yet that nobody needs it any more.
    :sys.suspend(source)
    :ok = DynamicSupervisor.terminate_child(supervisor, follower)
    other = Task.async(fn -> start.("other") end)
    waiting = fn -> elem(Process.info(source, :message_queue_len), 1) end
    asked? = fn -> waiting.() == 2 or Task.yield(other, 0) != nil end
    assert :ok = OsProcess.await(asked?, 4_000)
    :sys.resume(source)
    assert {:ok, _follower} = Task.await(other)
    assert %{ref: "other"} = poll!()
  end

  test "equal credentials are shared, also as functions; others are others", context do
    token = fn -> Git.Auth.token("s3cr3t") end
    # Over HTTP without TLS they are refused, which is not what this is about.
    for auth <- [token, token], do: follow!(context, auth: auth)
    assert [_source] = sources(context)
    path = context.path <> "-2"
    for _ <- 1..2, do: follow!(context, auth: Git.Auth.token("s3cr3t"), path: path)
    assert [_, _] = sources(context)
  end

  test "followers of one URL at several paths ask together what all of them want to know",
       context do
    followers = for n <- 1..5, do: follow!(context, path: context.path <> "-#{n}")
    for _ <- followers, do: poll!()
    HttpServer.reset(context.http)
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(hd(followers))
    HttpServer.await(context.http, {:parked, gate, 1})
    # These come while a question is under way, and wait for the next together.
    for follower <- tl(followers), do: Follower.poke(follower)
    assert :ok = OsProcess.await(fn -> Server.info(context.git).in_flight == 5 end, 5_000)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    for _ <- followers, do: poll!()
    assert requests(context) in 2..3
  end

  test "a follower that comes later knows what the others know", context do
    followed!(context)
    later = follow!(context)
    commit = context.commit
    assert %{sha: ^commit} = await_status!(later, &(&1.followers == 2))
    # It was told before it could answer this.
    assert {:ok, update} = Follower.subscribe(later)
    assert update == nil or update.sha == commit
    refute_received {:poll, _another}
  end

  test "a follower that comes while a move is told is told of it, too", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "a.yaml")
    [source] = sources(context)
    gate = HttpServer.rule(context.http, :hold)
    second = Repository.commit!(context.origin, %{"a.yaml" => "2"})
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    # It compares first, and hears of the other one then.
    :sys.suspend(source)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    found? = fn -> Process.info(source, :message_queue_len) != {:message_queue_len, 0} end
    assert :ok = OsProcess.await(found?, 10_000)
    other = follow!(context)
    {:ok, nil} = Follower.subscribe(other, "a.yaml", since: context.commit)
    :sys.resume(source)

    for pid <- [follower, other],
        do: assert_receive({:alumiini_git, ^pid, %Update{sha: ^second}}, @soon)

    moved!(other, second)
    refute_received {:alumiini_git, _follower, _again}
  end

  test "what nobody follows any more ends, with the poll that is under way", context do
    follower = followed!(context)
    [source] = sources(context)
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    {:links, [request]} = Process.info(source, :links)
    monitors = for pid <- [source, request], do: Process.monitor(pid)
    GenServer.stop(follower)
    for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, :process, _pid, _reason}, @soon)
    assert :ok = OsProcess.await(fn -> Server.info(context.git).pending == 0 end, 5_000)
    # The worker lets go of it, also where the remote does not answer.
    [worker] = Map.values(:sys.get_state(context.git).workers)
    let_go? = fn -> :sys.get_state(context.git).workers[worker.port].releasing == %{} end
    assert :ok = OsProcess.await(let_go?, 5_000)
    assert %{entries: none} = :sys.get_state(context.git).shared
    assert none == %{}
  end
end
