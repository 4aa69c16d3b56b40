defmodule Alumiini.Git.TruthHistoryTest do
  # Whatever happens to a remote, a sync ends where `git clone` ends.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{RandomHistory, Remotes}

  @depths [1, 2, 3, 7, :infinity]

  setup [:dir, :origin, :remote, :git]

  defp sync_branch(context, branch \\ "main", depth \\ 1, name \\ "origin.git") do
    options = [
      server: context.git,
      depth: depth,
      working_tree: Map.get(context, :working_tree, true)
    ]

    Git.sync(context.remote_url.(name), branch, context.path, options)
  end

  defp count(path, revision \\ "HEAD") do
    ["rev-list", "--count", revision]
    |> GitCommand.run!(cd: path)
    |> String.trim()
    |> String.to_integer()
  end

  # What `git clone` brings: how many commits, and at which ones its history ends.
  defp expected(context, branch, depth, name) do
    TempDir.with_dir("oracle", fn dir ->
      depth = if depth == :infinity, do: [], else: ["--depth", "#{depth}"]

      args =
        ["clone", "-q", "--single-branch", "--no-checkout", "--no-tags", "--branch", branch] ++
          depth

      GitCommand.run!(args ++ ["file://" <> Path.join(context.dir, name), dir <> "/clone"])
      {count(dir <> "/clone"), Oracle.shallow(dir <> "/clone")}
    end)
  end

  defp assert_as_cloned(context, branch, depth, name \\ "origin.git") do
    origin = Path.join(context.dir, name)
    commit = Repository.rev_parse!(origin, "refs/heads/#{branch}")
    assert sync_branch(context, branch, depth, name) == {:ok, commit}

    if Map.get(context, :working_tree, true),
      do: Oracle.assert_synced(context.path, origin, commit),
      else: Oracle.assert_synced_bare(context.path, origin, commit)

    {commits, ends} = expected(context, branch, depth, name)
    assert count(context.path) == commits
    # A repository that had other depths before may have ends of what it had, too.
    assert ends -- Oracle.shallow(context.path) == []
    # HEAD's branch has a star. What keeps the commit before is ours.
    refs =
      ["for-each-ref", "--format=%(HEAD)%(refname) %(objectname)"]
      |> GitCommand.run!(cd: context.path)
      |> String.replace(~r{^ refs/alumiini/kept/0 .*\n}, "")

    assert refs == "*refs/heads/#{branch} #{commit}\n refs/remotes/origin/#{branch} #{commit}\n"
    url = String.replace_prefix(context.remote_url.(name), "file://", "")
    assert File.read!(Path.join(context.path, ".git/config")) =~ "url = #{url}\n"
  end

  # Without a working tree refs and objects are all there is; how they come makes no difference to
  # that.
  @ways for(remote <- Remotes.kinds(), do: {"over #{remote}", remote, true}) ++
          [{"without a working tree", :v2, false}]

  for {way, remote, working_tree} <- @ways do
    describe way do
      @describetag remote: remote
      @describetag working_tree: working_tree

      test "random commits, force-pushes, branches, deletions, URLs and depths", context do
        run_random(context, 1..1, 14)
      end

      @tag :soak
      @tag timeout: :infinity
      test "the same for long", context do
        run_random(context, 1..6, 60)
      end

      test "shallow to deeper, to full, and back", context do
        Repository.history!(context.origin, 12)

        for depth <- [1, 3, :infinity, 1, 5, 100, 2] do
          assert_as_cloned(context, "main", depth)
        end

        # And with something new each time.
        for depth <- [3, :infinity, 1, 2] do
          Repository.history!(context.origin, 3)
          assert_as_cloned(context, "main", depth)
        end
      end

      test "branches of which one is named like the other's directory", context do
        a = Repository.commit!(context.origin, %{"a.yaml" => "a\n"}, branch: "a")
        assert_as_cloned(context, "a", 1)
        Repository.delete_branch!(context.origin, "a")
        Repository.commit!(context.origin, %{"b.yaml" => "b\n"}, branch: "a/b", from: a)
        assert_as_cloned(context, "a/b", 1)
        Repository.delete_branch!(context.origin, "a/b")
        Repository.commit!(context.origin, %{"c.yaml" => "c\n"}, branch: "a", from: a)
        assert_as_cloned(context, "a", 2)
        Repository.delete_branch!(context.origin, "a")
        Repository.move_branch!(context.origin, "a/b/c", a)
        assert_as_cloned(context, "a/b/c", 1)
        Repository.delete_branch!(context.origin, "a/b/c")
        Repository.move_branch!(context.origin, "a/b", a)
        assert_as_cloned(context, "a/b", :infinity)
      end

      test "a branch that was deleted: an error with its near names, and what is there stays",
           context do
        Repository.history!(context.origin, 3)
        Repository.commit!(context.origin, %{"x.yaml" => "x\n"}, branch: "topic/one")
        assert_as_cloned(context, "topic/one", 1)
        before = Directory.contents(context.path)
        Repository.move_branch!(context.origin, "topic/ones", "topic/one")
        Repository.delete_branch!(context.origin, "topic/one")

        assert {:error, %Error{reason: :ref_not_found, retryable?: false} = error} =
                 sync_branch(context, "topic/one")

        assert error.message =~ "topic/one" and error.message =~ "topic/ones"
        assert error.detail.near == ["topic/ones"]
        assert Directory.touched(before, Directory.contents(context.path)) == []

        Repository.commit!(context.origin, %{"y.yaml" => "y\n"}, branch: "topic/one", from: "main")
        assert_as_cloned(context, "topic/one", 2)
      end

      test "merges, at every depth", context do
        Repository.history!(context.origin, 4)
        Repository.commit!(context.origin, %{"side.yaml" => "1\n"}, branch: "side", from: "main~2")
        Repository.commit!(context.origin, %{"side.yaml" => "2\n"}, branch: "side")
        assert_as_cloned(context, "side", 1)
        Repository.commit!(context.origin, %{"merged.yaml" => "1\n"}, merge: "refs/heads/side")
        for depth <- [1, 2, 4, :infinity, 3], do: assert_as_cloned(context, "main", depth)
        Repository.history!(context.origin, 2)
        for depth <- [2, 4, :infinity], do: assert_as_cloned(context, "main", depth)
      end

      test "another URL: of the same repository, and of one that has nothing in common", context do
        Repository.history!(context.origin, 4)
        assert_as_cloned(context, "main", 2)

        GitCommand.run!([
          "clone",
          "-q",
          "--mirror",
          context.origin,
          Path.join(context.dir, "moved.git")
        ])

        assert_as_cloned(context, "main", 2, "moved.git")
        other = Repository.create!(context.dir, "other.git")

        Repository.commit!(other, %{"other.yaml" => "o\n"},
          author: "Somebody Else <else@example.com>"
        )

        assert_as_cloned(context, "main", 2, "other.git")
        assert_as_cloned(context, "main", :infinity, "moved.git")
      end

      test "a force-push to an older commit, to an unrelated one, and to one that was there before",
           context do
        [first, _, third, _] = Repository.history!(context.origin, 4)

        for depth <- [1, :infinity] do
          assert_as_cloned(context, "main", depth)
          Repository.move_branch!(context.origin, "main", first)
          assert_as_cloned(context, "main", depth)

          unrelated =
            Repository.commit!(context.origin, %{"new.yaml" => "#{depth}\n"},
              branch: "unrelated-#{depth}"
            )

          Repository.move_branch!(context.origin, "main", unrelated)
          assert_as_cloned(context, "main", depth)
          Repository.move_branch!(context.origin, "main", third)
          assert_as_cloned(context, "main", depth)
        end
      end

      # What the server speaks makes no difference to this.
      if remote == :v0, do: @tag(:soak)

      test "so many fetches that the packs are put together", context do
        # Once, that is. Each fetch leaves one pack.
        commits = Repository.history!(context.origin, 62)
        packs = fn -> length(Path.wildcard(Path.join(context.path, ".git/objects/pack/*.idx"))) end

        counts =
          for commit <- Enum.drop(commits, 2) do
            Repository.move_branch!(context.origin, "main", commit)
            assert sync_branch(context, "main", 2) == {:ok, commit}
            packs.()
          end

        assert Enum.max(counts) <= 51

        assert Enum.count(Enum.zip(counts, tl(counts)), fn {before, later} -> later < before end) ==
                 1

        assert_as_cloned(context, "main", 2)
        # Going on from there, with and without something new, and to the whole history.
        Repository.history!(context.origin, 3)
        assert_as_cloned(context, "main", 2)
        assert_as_cloned(context, "main", :infinity)
        Repository.rewrite!(context.origin, "main", 5, %{"rewritten.yaml" => "r\n"})
        assert_as_cloned(context, "main", :infinity)
      end
    end
  end

  @tag remote: :v0
  test "the server that refuses protocol v2 is really asked in v0", context do
    Repository.history!(context.origin, 3)
    assert_as_cloned(context, "main", 1)
    HttpServer.reset(context.http)
    HttpServer.rule(context.http, :no_v2)
    assert_as_cloned(context, "main", 1)
    # v0 has no ls-refs: what is new is asked with a GET.
    assert [%{service: :info_refs}] = HttpServer.log(context.http)
  end

  test "a server that comes to speak v2, and one that ceases to", context do
    Repository.history!(context.origin, 3)

    for _ <- 1..2 do
      rule = HttpServer.rule(context.http, :no_v2)
      Repository.history!(context.origin, 2)
      assert_as_cloned(context, "main", 2)
      HttpServer.remove(context.http, rule)
      Repository.history!(context.origin, 2)
      assert_as_cloned(context, "main", 3)
    end
  end

  test "identical syncs that wait share one that starts after they came", context do
    Repository.history!(context.origin, 2)
    assert {:ok, old} = sync_branch(context)
    HttpServer.reset(context.http)
    gate = HttpServer.rule(context.http, :hold, first: 1)
    first = Task.async(fn -> sync_branch(context) end)
    HttpServer.await(context.http, {:parked, gate, 1})

    # The first has its answer's content still to come; those who ask now have a reason that may be
    # newer.
    waiting = for _ <- 1..20, do: Task.async(fn -> sync_branch(context) end)
    # An answer to a later request of each kind of thread: the others were read before it.
    for _ <- 1..8, do: assert({:ok, %{sha: ^old}} = Git.head(context.path, server: context.git))
    [new] = Repository.history!(context.origin, 1)
    HttpServer.release(context.http, gate)

    assert {:ok, sha} = Task.await(first)
    assert sha in [old, new]
    assert Enum.uniq(Task.await_many(waiting)) == [{:ok, new}]
    Oracle.assert_synced(context.path, context.origin, new)
    # Two or three conversations of at most a refs and a pack request each, for twenty-one calls.
    assert length(HttpServer.log(context.http)) <= 6
  end

  defp run_random(context, seeds, steps) do
    for seed <- seeds do
      names = for n <- 1..2, do: "random-#{seed}-#{n}.git"
      origins = for name <- names, do: Repository.create!(context.dir, name)

      histories =
        for {origin, n} <- Enum.with_index(origins), do: RandomHistory.new(origin, seed * 10 + n)

      context = %{context | path: Path.join(context.dir, "random-#{seed}")}

      state =
        {Enum.zip(names, histories) |> Map.new(), :rand.seed_s(:exsss, seed), hd(names), "main", 1}

      Enum.reduce(1..steps, state, fn _, state -> random_step(context, state) end)
    end
  end

  defp random_step(context, {histories, random, name, branch, depth}) do
    {changes, random} = :rand.uniform_s(4, random)

    history =
      Enum.reduce(2..changes//1, histories[name], fn _, history ->
        history |> RandomHistory.step() |> elem(1)
      end)

    {what, random} = :rand.uniform_s(10, random)

    {history, random, branch, depth, next} =
      case what do
        n when n in 1..3 ->
          {branch, history} = RandomHistory.pick(history, RandomHistory.branches(history))
          {history, random, branch, depth, name}

        n when n in 4..5 ->
          {n, random} = :rand.uniform_s(length(@depths), random)
          {history, random, branch, Enum.at(@depths, n - 1), name}

        6 ->
          {history, random, "main", depth, Enum.find(Map.keys(histories), &(&1 != name))}

        _ ->
          {history, random, branch, depth, name}
      end

    histories = Map.put(histories, name, history)

    if branch in RandomHistory.branches(histories[next]) do
      assert_as_cloned(context, branch, depth, next)
    else
      before = Directory.contents(context.path)
      assert {:error, %Error{reason: :ref_not_found}} = sync_branch(context, branch, depth, next)
      assert Directory.touched(before, Directory.contents(context.path)) == []
    end

    branch = if branch in RandomHistory.branches(histories[next]), do: branch, else: "main"
    {histories, random, next, branch, depth}
  end
end
