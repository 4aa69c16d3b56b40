defmodule Alumiini.Git.FollowerMessagesTest do
  # Who is told what. The oracle is `git diff --name-only`.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 20_000

  import Alumiini.Git.Test.FollowerCase, except: [poke!: 2]

  @moduletag files: %{
               "deploy/a.yaml" => "a: 1\n",
               "deploy/base/b.yaml" => "b: 1\n",
               "deployment.yaml" => "c: 1\n",
               "charts/app/values.yaml" => "d: 1\n",
               "charts/other/values.yaml" => "e: 1\n"
             }

  setup [:dir, :origin, :commit, :http, :named_git, :events]

  # A process that subscribes, and passes on what it is told.
  defp subscriber!(follower, paths, options \\ []) do
    test = self()
    ref = make_ref()

    pid =
      spawn_link(fn ->
        answer = Follower.subscribe(follower, paths, options)
        send(test, {ref, :subscribed, answer})
        pass_on(test, ref)
      end)

    assert_receive {^ref, :subscribed, {:ok, _current}}, @soon
    Process.put(:subscribers, [pid | Process.get(:subscribers, [])])
    {pid, ref}
  end

  defp pass_on(test, ref) do
    receive do
      {:passed_on?, asked} -> send(test, {asked, :yes})
      message -> send(test, {ref, message})
    end

    pass_on(test, ref)
  end

  # As in the case, and what subscribers were told has been passed on.
  defp poke!(follower, sha) do
    move = Alumiini.Git.Test.FollowerCase.poke!(follower, sha)
    passed_on!()
    move
  end

  defp passed_on! do
    for pid <- Process.get(:subscribers, []), Process.alive?(pid) do
      asked = make_ref()
      send(pid, {:passed_on?, asked})
      assert_receive {^asked, :yes}, @soon
    end
  end

  defp names(changes), do: Enum.map(changes, & &1.path)

  test "the first state is told as a whole, to each that subscribed before it was known",
       context do
    gate = HttpServer.rule(context.http, :hold)
    follower = follow!(context)
    assert {:ok, nil} = Follower.subscribe(follower, "deploy")
    HttpServer.await(context.http, {:parked, 1})
    assert %{polling?: true, sha: nil, subscribers: 1, followers: 1} = Follower.status(follower)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    commit = context.commit

    assert_receive {:alumiini_git, ^follower,
                    %Update{sha: ^commit, previous: nil, changes: :all, ref: "refs/heads/main"}},
                   10_000

    assert {:ok, %Update{sha: ^commit}} = Follower.subscribe(follower, "deploy")
    assert {:ok, ^commit} = Git.ls_remote(context.url, "main", server: context.git)
    refute_received {:alumiini_git, _follower, _again}
  end

  test "a subscriber is told the changes below its paths, and nothing else", context do
    follower = followed!(context)
    commit = context.commit

    subscribers =
      for paths <- [
            :all,
            "deploy",
            ["deploy/"],
            ["deploy/a.yaml"],
            ["charts/app", "./deploy//base/"],
            ["deploy", "deploy/base"],
            ["absent"],
            ["."],
            "deployment.yaml"
          ],
          do: {paths, elem(subscriber!(follower, paths), 1)}

    pushes = [
      %{"deploy/a.yaml" => "a: 2\n"},
      %{"deploy/base/b.yaml" => :delete, "charts/app/values.yaml" => "d: 2\n"},
      %{"deployment.yaml" => {:executable, "c: 1\n"}, "deploy/new" => {:symlink, "a.yaml"}},
      %{"charts/other/new.yaml" => "new\n"},
      # A directory in place of a file.
      %{"deploy/a.yaml" => :delete, "deploy/a.yaml/x" => "x\n"}
    ]

    Enum.reduce(pushes, commit, fn files, from ->
      to = Repository.commit!(context.origin, files)
      poke!(follower, to)

      for {paths, ref} <- subscribers do
        below = if paths == :all, do: [], else: List.wrap(paths)

        case changed_names(context.origin, from, to, below) do
          [] ->
            refute_received {^ref, _foreign}

          names ->
            # `previous` of who was not told of the moves before is where those led.
            assert_received {^ref, {:alumiini_git, ^follower, %Update{sha: ^to} = update}}
            assert {update.previous, update.changed?} == {from, true}
            assert {paths, names(update.changes)} == {paths, names}
            refute_received {^ref, _again}
        end
      end

      to
    end)
  end

  test "a commit without changes is told to who wants all, and to nobody else", context do
    follower = followed!(context)
    {_pid, all} = subscriber!(follower, :all)
    {_pid, some} = subscriber!(follower, "deploy")
    empty = Repository.commit!(context.origin, %{})
    poke!(follower, empty)
    assert_received {^all, {:alumiini_git, ^follower, %Update{sha: ^empty, changes: []}}}
    refute_received {^some, _nothing}
  end

  test "the message names what was subscribed to", context do
    name = :"follower-#{System.unique_integer([:positive])}"
    followed!(context, name: name)
    assert {:ok, %Update{}} = Follower.subscribe({name, node()})
    sha = Repository.commit!(context.origin, %{"new" => "1"})
    poke!(name, sha)
    here = node()
    assert_received {:alumiini_git, {^name, ^here}, %Update{sha: ^sha}}
  end

  test "a second subscription takes the place of the first, and unsubscribe/2 ends it", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    {:ok, _current} = Follower.subscribe(follower, "charts")
    assert %{subscribers: 1} = Follower.status(follower)
    second = Repository.commit!(context.origin, %{"deploy/a.yaml" => "a: 2\n"})
    poke!(follower, second)
    refute_received {:alumiini_git, _follower, _of_the_first}

    third = Repository.commit!(context.origin, %{"charts/x" => "1"})
    poke!(follower, third)
    assert_received {:alumiini_git, ^follower, %Update{sha: ^third, previous: ^second}}

    assert :ok = Follower.unsubscribe(follower)
    assert :ok = Follower.unsubscribe(follower)
    assert %{subscribers: 0} = Follower.status(follower)
    fourth = Repository.commit!(context.origin, %{"charts/x" => "2"})
    poke!(follower, fourth)
    refute_received {:alumiini_git, _follower, _nothing}
  end

  test "`since` tells at once what changed since, and nothing where nothing did", context do
    second = Repository.commit!(context.origin, %{"deploy/a.yaml" => "a: 2\n"})
    follower = followed!(context, depth: :infinity)
    first = context.commit

    assert {:ok, %Update{sha: ^second}} = Follower.subscribe(follower, "deploy", since: first)

    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second, previous: ^first} = update},
                   @soon

    assert [%Change{status: :modified, path: "deploy/a.yaml"}] = update.changes

    # Nothing there; and it is at the newest one.
    {_pid, foreign} = subscriber!(follower, "charts", since: first)
    {_pid, current} = subscriber!(follower, "deploy", since: second)
    {_pid, new} = subscriber!(follower, "charts", since: nil)
    assert_receive {^new, {:alumiini_git, ^follower, %Update{sha: ^second, changes: :all}}}, @soon

    third = Repository.commit!(context.origin, %{"charts/x" => "1", "deploy/a.yaml" => "a: 3\n"})
    poke!(follower, third)
    assert_receive {^foreign, {:alumiini_git, _follower, %Update{sha: ^third} = update}}, @soon
    assert names(update.changes) == ["charts/x"]
    assert_receive {^current, {:alumiini_git, _follower, %Update{previous: ^second}}}, @soon
    assert_receive {^new, {:alumiini_git, _follower, %Update{previous: ^second}}}, @soon
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^third, previous: ^second}}, @soon
    for ref <- [foreign, current, new], do: refute_received({^ref, _again})
    refute_received {:alumiini_git, _follower, _again}
  end

  test "`since` a commit that is not there tells that anything may have changed", context do
    follower = followed!(context)
    gone = String.duplicate("0123", 10)
    assert {:ok, %Update{}} = Follower.subscribe(follower, "deploy", since: gone)
    commit = context.commit

    assert_receive {:alumiini_git, ^follower,
                    %Update{sha: ^commit, previous: ^gone, changes: :all}},
                   @soon

    second = Repository.commit!(context.origin, %{"deploy/a.yaml" => "a: 2\n"})
    poke!(follower, second)

    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second, previous: ^commit} = update},
                   @soon

    assert names(update.changes) == ["deploy/a.yaml"]
  end

  test "a force-push, and a branch that goes back, are moves", context do
    follower = followed!(context)
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    first = context.commit
    second = Repository.commit!(context.origin, %{"deploy/a.yaml" => "a: 2\n"})
    poke!(follower, second)
    assert_received {:alumiini_git, _follower, %Update{sha: ^second}}

    forced = Repository.rewrite!(context.origin, "main", 1, %{"deploy/c.yaml" => "c\n"})
    poke!(follower, forced)

    assert_received {:alumiini_git, _follower, %Update{sha: ^forced, previous: ^second} = update}

    assert names(update.changes) == changed_names(context.origin, second, forced, ["deploy"])

    Repository.move_branch!(context.origin, "main", first)
    poke!(follower, first)

    assert_received {:alumiini_git, _follower, %Update{sha: ^first, previous: ^forced} = update}

    assert names(update.changes) == ["deploy/c.yaml"]
    refute_received {:alumiini_git, _follower, _again}
  end

  test "of many pushes in a moment the last is told, none is lost and none told twice", context do
    follower = followed!(context)
    dirs = ["deploy", "charts", "docs"]
    subscribers = for paths <- [:all | dirs], do: {paths, elem(subscriber!(follower, paths), 1)}

    commits =
      Repository.commits!(
        context.origin,
        for n <- 1..50 do
          %{
            branch: "prepared",
            from: if(n == 1, do: context.commit),
            files: %{
              "#{Enum.at(dirs, rem(n, 3))}/#{rem(n, 7)}.yaml" => "n: #{n}\n"
            }
          }
          |> Map.reject(&match?({:from, nil}, &1))
        end
      )

    for commit <- commits do
      point!(context.origin, commit)
      Follower.poke(follower, commit)
    end

    last = List.last(commits)
    moved!(follower, last)
    passed_on!()
    # They were told in steps, each from where the one before ended.
    positions = [context.commit | commits] |> Enum.with_index() |> Map.new()

    for {paths, ref} <- subscribers do
      below = if paths == :all, do: [], else: [paths]
      updates = received(ref)

      names = for update <- updates, name <- names(update.changes), do: name

      assert Enum.uniq(Enum.sort(names)) ==
               changed_names(context.origin, context.commit, last, below)

      Enum.reduce(updates, 0, fn update, before ->
        from = Map.fetch!(positions, update.previous)
        to = Map.fetch!(positions, update.sha)
        assert from >= before and to > from
        expected = changed_names(context.origin, update.previous, update.sha, below)
        assert names(update.changes) == expected
        to
      end)

      if paths == :all, do: assert(List.last(updates).sha == last)
    end

    # Far fewer polls than pokes, all of them coalesced.
    assert %{pokes: 0, sha: ^last} = await_status!(follower, &(&1.pokes == 0 and not &1.polling?))
  end

  defp received(ref) do
    receive do
      {^ref, {:alumiini_git, _follower, update}} -> [update | received(ref)]
    after
      0 -> []
    end
  end

  test "a subscriber that dies is forgotten, and its paths are not looked at any more", context do
    follower = followed!(context)
    {pid, _ref} = subscriber!(follower, "deploy")
    {_pid, other} = subscriber!(follower, "charts")
    Process.unlink(pid)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, @soon
    await_status!(follower, &(&1.subscribers == 1))
    sha = Repository.commit!(context.origin, %{"deploy/a.yaml" => "2", "charts/x" => "1"})
    assert %{changes: 1} = poke!(follower, sha)
    assert_receive {^other, {:alumiini_git, _follower, %Update{sha: ^sha}}}, @soon
    assert Process.info(follower, :monitors) |> elem(1) |> length() == 2
  end

  test "a subscriber of new paths, while a move is under way, misses nothing", context do
    follower = followed!(context)
    {_pid, deploy} = subscriber!(follower, "deploy")
    sha = Repository.commit!(context.origin, %{"deploy/a.yaml" => "2", "charts/x" => "1"})

    # The source finds the move, and compares for "deploy" alone; only then it hears of "charts".
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    [source] = sources(context)
    :sys.suspend(source)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    found? = fn -> Process.info(source, :message_queue_len) != {:message_queue_len, 0} end
    assert :ok = OsProcess.await(found?, 10_000)
    {_pid, charts} = subscriber!(follower, "charts")
    :sys.resume(source)
    moved!(follower, sha)
    assert_receive {^deploy, {:alumiini_git, _follower, %Update{sha: ^sha, changes: [_one]}}}, @soon
    assert_receive {^charts, {:alumiini_git, _follower, %Update{sha: ^sha} = update}}, @soon
    assert names(update.changes) == ["charts/x"]
    for ref <- [deploy, charts], do: refute_received({^ref, _again})
  end

  test "errors are told to who asked for them, once for each kind", context do
    follower = followed!(context)
    {_pid, quiet} = subscriber!(follower, :all)
    {_pid, ref} = subscriber!(follower, :all, errors: true)
    Repository.delete_branch!(context.origin, "main")
    Follower.poke(follower)
    poll!(:ref_not_found)

    assert_receive {^ref, {:alumiini_git, ^follower, {:error, %Error{reason: :ref_not_found}}}},
                   @soon

    Follower.poke(follower)
    poll!(:ref_not_found)
    assert %{error: %Error{reason: :ref_not_found}, sha: sha} = Follower.status(follower)
    assert sha == context.commit
    refute_received {^ref, _again}

    # One that comes now hears of it, too.
    {_pid, late} = subscriber!(follower, :all, errors: true)

    assert_receive {^late, {:alumiini_git, ^follower, {:error, %Error{reason: :ref_not_found}}}},
                   @soon

    # Back where it was: nothing to tell.
    point!(context.origin, context.commit)
    Follower.poke(follower)
    poll!()
    assert %{error: nil} = Follower.status(follower)
    refute_received {^ref, _nothing}

    Repository.delete_branch!(context.origin, "main")
    Follower.poke(follower)
    poll!(:ref_not_found)

    assert_receive {^ref, {:alumiini_git, ^follower, {:error, %Error{reason: :ref_not_found}}}},
                   @soon

    back = Repository.commit!(context.origin, %{"again" => "1"})
    poke!(follower, back)
    assert_receive {^ref, {:alumiini_git, ^follower, %Update{sha: ^back} = update}}, @soon

    assert names(update.changes) == changed_names(context.origin, context.commit, back)
    assert_receive {^quiet, {:alumiini_git, ^follower, %Update{sha: ^back}}}, @soon
    refute_received {^quiet, _error}
  end
end
