defmodule Alumiini.Git.OwnerTest do
  # A repository that its owner works in while a sync fails there, or is killed: nothing of theirs
  # is ever lost, whoever comes next.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{OsProcess, RawWorker}

  @moduletag timeout: 280_000

  # Moments of a move, in order: before the marker, with some files written, between the branch and
  # HEAD, before the marker goes.
  @moments [{"marker", 1}, {"checkout", 1}, {"checkout", 2}, {"refs", 1}, {"unmark", 1}]

  setup [:dir, :origin, :commits, :http, :git]

  # The clone is at the first of two commits.
  defp commits(context) do
    files = %{"app.yaml" => "a: 1\n", "deploy/x.yaml" => "x: 1\n", "same.yaml" => "s\n"}
    old = Repository.commit!(context.origin, files)
    cloned(context)
    %{old: old, new: advance(context)}
  end

  # Changes, adds and deletes.
  defp advance(context) do
    Repository.commit!(
      context.origin,
      %{"app.yaml" => "a: 2\n", "new/n.yaml" => "n: 1\n", "same.yaml" => "s\n"},
      only: true
    )
  end

  defp status(context), do: run_git(context, ["status", "--porcelain"])
  # Objects may have come: none of them is reachable from a ref.
  defp own(context), do: Directory.contents(context.path, except: [".git/objects"])

  defp marker?(context), do: File.exists?(file(context, ".git/alumiini-checkout"))

  ## Locks

  for lock <- ~w(index HEAD packed-refs refs/heads/main refs/remotes/origin/main) do
    @lock lock

    test "with #{lock}.lock there a sync is `locked`, and leaves nothing behind", context do
      write(context, ".git/#{@lock}.lock", "")
      before = own(context)

      for options <- [[], [force: true]] do
        assert {:error, %Error{reason: :locked, retryable?: true} = error} = sync(context, options)
        assert error.message =~ "#{@lock}.lock" and error.message =~ "remove"
        assert Directory.touched(before, own(context)) == []
      end

      File.rm!(file(context, ".git/#{@lock}.lock"))
      write(context, "app.yaml", "mine\n")
      run_git(context, ["commit", "-qam", "Mine"])
      mine = Repository.rev_parse(context.path)
      write(context, "same.yaml", "edited\n")

      for call <- [
            &Git.head(&1.path, server: &1.git),
            &Git.files(&1.path, nil, server: &1.git),
            &sync/1
          ] do
        _ = call.(context)
        assert Repository.rev_parse(context.path, "main") == mine
        assert File.read!(file(context, "same.yaml")) == "edited\n"
        assert File.read!(file(context, "app.yaml")) == "mine\n"
      end

      assert {:error, %Error{reason: :dirty}} = sync(context)
    end
  end

  test "a checkout is `locked`, too", context do
    assert sync(context) == {:ok, context.new}
    write(context, ".git/index.lock", "")
    before = own(context)
    result = Git.checkout(context.path, context.old, server: context.git)
    assert {:error, %Error{reason: :locked, retryable?: true}} = result
    assert Directory.touched(before, own(context)) == []
    File.rm!(file(context, ".git/index.lock"))
    assert Git.checkout(context.path, context.old, server: context.git) == {:ok, context.old}
  end

  # Taken after the sync has looked for it.
  for [lock, moment] <- [~w(index checkout), ~w(HEAD refs), ~w(refs/heads/main checkout)] do
    @lock lock
    @moment moment

    test "a #{lock}.lock that comes in the middle (#{moment}) takes everything back", context do
      RawWorker.with_worker(fn worker ->
        id = RawWorker.ask(worker, request(context, {@moment, 1}, "stop"))
        OsProcess.await_state(worker.os_pid, ["T"])
        if @lock == "HEAD", do: run_git(context, ["checkout", "-q", "--detach"])
        write(context, ".git/#{@lock}.lock", "")
        OsProcess.kill(worker.os_pid, :CONT)
        assert {:error, kind, sentence} = RawWorker.await(worker, id)
        assert {kind, sentence =~ "lock"} in [{"locked", true}, {"dirty", false}]
      end)

      File.rm!(file(context, ".git/#{@lock}.lock"))
      refute marker?(context)
      if @lock == "HEAD", do: run_git(context, ["checkout", "-q", "main"])
      assert status(context) == ""
      assert Repository.rev_parse(context.path) == context.old

      assert sync(context) == {:ok, context.new}
      Oracle.assert_synced(context.path, context.origin, context.new)
    end
  end

  ## Killed, and then their owner is at work

  acts = [
    nothing: "nothing",
    commit: "a commit of everything",
    edit: "an edit of a file that the commit changes",
    edit_other: "an edit of another file",
    stage: "a staged edit",
    add: "a new file where the commit has one",
    branch: "a branch of their own",
    reset: "git reset --hard"
  ]

  for {act, what} <- acts do
    @act act

    test "killed, then #{what}: nothing is lost", context do
      for moment <- @moments, force <- [false, true], do: killed(context, moment, @act, force)
    end
  end

  defp killed(context, moment, act, force) do
    path = Path.join(context.dir, "own-#{System.unique_integer([:positive])}")
    {_, 0} = System.cmd("cp", ["-a", context.path, path])
    context = %{context | path: path}

    RawWorker.with_worker(fn worker ->
      request = Map.put(request(context, moment, "kill"), "force", force)
      assert RawWorker.call(worker, request) == {:exited, 137}
    end)

    kept = act(act, context)

    # Whoever comes first finds it.
    for first <- [:read, :sync] do
      copy = path <> "-#{first}"
      {_, 0} = System.cmd("cp", ["-a", path, copy])
      context = %{context | path: copy}
      what = inspect({moment, act, force, first})
      if first == :read, do: _ = Git.read(copy, "same.yaml", server: context.git)
      result = sync(context)
      kept.(context, what)
      refute marker?(context), what

      case result do
        {:ok, id} ->
          assert {what, id} == {what, context.new}
          Oracle.fsck!(copy)

        {:error, %Error{reason: reason}} ->
          assert {what, reason} == {what, :dirty}
          assert act != :nothing and act != :reset
      end

      TempDir.remove!(copy)
    end

    TempDir.remove!(path)
  end

  # Answers what must hold from then on.
  defp act(:nothing, _context), do: fn _context, _what -> :ok end

  defp act(:reset, context) do
    run_git(context, ["reset", "-q", "--hard"])
    fn _context, _what -> :ok end
  end

  defp act(:commit, context) do
    write(context, "mine.yaml", "mine\n")
    run_git(context, ["add", "-A"])
    run_git(context, ["commit", "-qm", "Mine"])
    mine = Repository.rev_parse(context.path)

    fn context, what ->
      is_ancestor = ["merge-base", "--is-ancestor", mine, "HEAD"]
      assert {what, GitCommand.run(is_ancestor, cd: context.path)} == {what, {"", 0}}

      assert {what, File.read(file(context, "mine.yaml"))} == {what, {:ok, "mine\n"}}
    end
  end

  defp act(:edit, context), do: kept(context, "app.yaml")
  defp act(:edit_other, context), do: kept(context, "same.yaml")

  defp act(:stage, context) do
    write(context, "app.yaml", "mine\n")
    run_git(context, ["add", "app.yaml"])
    write(context, "app.yaml", "a: 2\n")

    fn context, what ->
      assert {what, run_git(context, ["show", ":app.yaml"])} == {what, "mine\n"}
    end
  end

  defp act(:add, context) do
    File.mkdir_p!(file(context, "new"))
    kept(context, "new/n.yaml")
  end

  defp act(:branch, context) do
    # What was written by then comes along.
    run_git(context, ["checkout", "-q", "-b", "mine"])
    run_git(context, ["commit", "-q", "--allow-empty", "-m", "Mine"])
    mine = Repository.rev_parse(context.path)

    fn context, what ->
      assert {what, Repository.rev_parse(context.path, "refs/heads/mine")} == {what, mine}
    end
  end

  defp kept(context, name) do
    write(context, name, "mine\n")
    fn context, what -> assert {what, File.read(file(context, name))} == {what, {:ok, "mine\n"}} end
  end

  defp request(context, {phase, n}, act) do
    %{
      "op" => "sync",
      "url" => context.url,
      "branch" => "main",
      "path" => context.path,
      "fault" => %{"at" => phase, "do" => act, "after" => n}
    }
  end

  test "an edit in the middle of a sync stays, and the rest goes back", context do
    RawWorker.with_worker(fn worker ->
      RawWorker.ask(worker, request(context, {"refs", 1}, "stop"))
      OsProcess.await_state(worker.os_pid, ["T"])
      RawWorker.kill!(worker)
    end)

    write(context, "same.yaml", "mine\n")
    assert {:error, %Error{reason: :dirty}} = sync(context)
    refute marker?(context)
    assert Repository.rev_parse(context.path) == context.old
    assert status(context) == " M same.yaml\n"
    assert Git.read(context.path, "app.yaml", server: context.git) == {:ok, "a: 1\n"}
    run_git(context, ["checkout", "-q", "same.yaml"])
    assert sync(context) == {:ok, context.new}
  end

  ## In the way

  for {name, how} <- [{"new/n.yaml", :file}, {"new", :file}, {"new/n.yaml", :directory}] do
    @name name
    @how how

    for ignored <- [true, false] do
      @ignored ignored

      test "a #{how} `#{name}` (ignored: #{ignored}) is in the way of the commit's, and stays",
           context do
        if @ignored, do: write(context, ".git/info/exclude", "new\nmine\n")
        mine = if @how == :directory, do: Path.join(@name, "mine"), else: @name
        File.mkdir_p!(Path.dirname(file(context, mine)))
        write(context, mine, "mine\n")
        before = own(context)
        assert {:error, %Error{reason: :dirty} = error} = sync(context)
        assert error.message =~ "in the way"
        assert Directory.touched(before, own(context)) == []
        assert File.read!(file(context, mine)) == "mine\n"
      end
    end
  end

  test "a branch whose name is in the way of the new one's is the owner's", context do
    GitCommand.run!(["branch", "team/a", context.new], cd: context.origin)
    run_git(context, ["checkout", "-q", "-b", "team"])
    run_git(context, ["commit", "-q", "--allow-empty", "-m", "Mine"])
    run_git(context, ["checkout", "-q", "main"])
    before = own(context)
    result = sync(context, ref: "team/a")
    assert {:error, %Error{reason: :dirty} = error} = result
    assert error.message =~ "`team`"
    assert Directory.touched(before, own(context)) == []
  end

  test "a merge that is not finished is not interrupted", context do
    run_git(context, ["checkout", "-q", "-b", "other"])
    write(context, "other.yaml", "o\n")
    run_git(context, ["add", "-A"])
    run_git(context, ["commit", "-qm", "Other"])
    run_git(context, ["checkout", "-q", "main"])
    run_git(context, ["merge", "-q", "--no-ff", "--no-commit", "-s", "ours", "other"])
    before = own(context)
    assert {:error, %Error{reason: :dirty} = error} = sync(context)
    assert error.message =~ "a merge is not finished"
    assert Directory.touched(before, own(context)) == []
  end

  ## Sparse checkouts and other kinds of index

  for {kind, arguments} <- [cone: ~w(--cone deploy), patterns: ~w(--no-cone /deploy/ *.md)] do
    @arguments arguments

    test "a sparse checkout (#{kind}) is clean, follows, and stays sparse", context do
      assert sync(context) == {:ok, context.new}
      run_git(context, ["sparse-checkout", "set"] ++ @arguments)
      names = fn -> for name <- Directory.names(context.path), name != ".git", do: name end
      assert status(context) == ""
      assert sync(context) == {:ok, context.new}
      before = names.()

      commit =
        Repository.commit!(context.origin, %{
          "deploy/y.yaml" => "y: 1\n",
          "new/n.yaml" => "n: 2\n",
          "new/more/m.yaml" => "m: 1\n",
          "docs/d.md" => "d\n"
        })

      assert sync(context) == {:ok, commit}
      assert status(context) == ""
      Oracle.fsck!(context.path)
      assert Repository.rev_parse(context.path) == commit
      assert File.read!(file(context, "deploy/y.yaml")) == "y: 1\n"
      refute File.exists?(file(context, "new/n.yaml"))
      assert (names.() -- before) -- ["deploy", "docs"] == []
      here = run_git(context, ["ls-files", "-t"])
      run_git(context, ["sparse-checkout", "reapply"])
      assert run_git(context, ["ls-files", "-t"]) == here
      assert status(context) == ""

      # And back to everything.
      run_git(context, ["sparse-checkout", "disable"])
      assert sync(context) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
    end
  end

  test "an edit within a sparse checkout is the owner's", context do
    run_git(context, ["sparse-checkout", "set", "--cone", "deploy"])
    write(context, "app.yaml", "mine\n")
    before = own(context)
    assert {:error, %Error{reason: :dirty}} = sync(context)
    assert Directory.touched(before, own(context)) == []
  end

  test "with force a sparse checkout stays sparse", context do
    run_git(context, ["sparse-checkout", "set", "--cone", "deploy"])
    write(context, "app.yaml", "mine\n")
    assert sync(context, force: true) == {:ok, context.new}
    assert status(context) == ""
    assert File.read!(file(context, "app.yaml")) == "a: 2\n"
    refute File.exists?(file(context, "new"))
  end

  test "what is assumed to be unchanged counts where the commit changes it", context do
    run_git(context, ["update-index", "--assume-unchanged", "same.yaml", "app.yaml"])
    write(context, "same.yaml", "mine\n")
    assert status(context) == ""
    assert sync(context) == {:ok, context.new}
    assert File.read!(file(context, "same.yaml")) == "mine\n"
    write(context, "app.yaml", "mine\n")
    run_git(context, ["update-index", "--assume-unchanged", "app.yaml"])
    Repository.commit!(context.origin, %{"app.yaml" => "a: 3\n"})
    before = own(context)
    assert {:error, %Error{reason: :dirty}} = sync(context)
    assert Directory.touched(before, own(context)) == []
  end

  for {name, set_up} <- [
        {"a split index", ["update-index", "--split-index"]},
        {"a sparse index", ["sparse-checkout", "set", "--cone", "--sparse-index", "deploy"]},
        {"a working tree elsewhere", ["config", "core.worktree", "../.."]},
        {"no working tree", ["config", "core.bare", "true"]}
      ] do
    @set_up set_up

    test "#{name} is refused as what it is", context do
      advance(context)
      run_git(context, @set_up)
      before = own(context)

      for options <- [[], [force: true]] do
        assert {:error, %Error{reason: :unsupported, retryable?: false} = error} =
                 sync(context, options)

        assert error.message =~ context.path
      end

      assert Directory.touched(before, own(context)) == []
    end
  end

  test "an index of version 4 and an untracked cache are as any other", context do
    run_git(context, ["update-index", "--index-version", "4"])
    run_git(context, ["update-index", "--force-untracked-cache"])
    assert status(context) == ""
    assert sync(context) == {:ok, context.new}
    assert status(context) == ""
    Oracle.assert_synced(context.path, context.origin, context.new)
  end
end
