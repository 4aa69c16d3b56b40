defmodule Alumiini.Git.InTheWayTest do
  # What lies in its owner's repository where a move would write. A refusal touches nothing, inside
  # and outside, and no link leads out.
  use Alumiini.Git.Test.GitCase, async: true

  @moduletag timeout: 120_000

  setup [:dir, :source, :git, :cloned]

  # Its owner works in the remote, too.
  defp source(context) do
    source = Path.join(context.dir, "source")
    GitCommand.run!(["init", "-q", "-b", "main", source])
    outside = Path.join(context.dir, "outside")
    File.mkdir_p!(outside)
    added = %{source: source, url: "file://" <> source, outside: outside}
    commit_files(Map.merge(context, added), %{"app.yaml" => "a\n", "dir/x.yaml" => "x\n"})
    added
  end

  defp put(root, files) do
    for {name, content} <- files do
      file = Path.join(root, name)
      File.mkdir_p!(Path.dirname(file))
      File.write!(file, content)
    end
  end

  defp commit_files(context, files, remove \\ []) do
    for name <- remove, do: GitCommand.run!(["rm", "-rq", "--cached", name], cd: context.source)
    for name <- remove, do: File.rm_rf!(Path.join(context.source, name))
    put(context.source, files)
    GitCommand.run!(["add", "-A"], cd: context.source)
    GitCommand.run!(["commit", "-q", "--allow-empty", "-m", "Next"], cd: context.source)
    Repository.rev_parse(context.source)
  end

  # All of both directories, but for objects that may have come.
  defp seen(context),
    do:
      {Directory.contents(context.path, except: [".git/objects"]),
       Directory.contents(context.outside)}

  defp assert_refused(context, options \\ []) do
    {here, outside} = seen(context)
    assert {:error, %Error{reason: :dirty}} = sync(context, options)
    {here_after, outside_after} = seen(context)
    assert Directory.touched(here, here_after) == []
    assert Directory.touched(outside, outside_after) == []
    refute File.exists?(file(context, ".git/alumiini-checkout"))
  end

  for {what, content} <- [
        empty: "",
        "the beginning of the commit's": "hel",
        "the commit's": "hello\n",
        other: "mine\n"
      ] do
    @content content

    test "an untracked file (#{what}) stays where another one is in the way, too", context do
      put(context.path, %{"new" => @content, "other" => "mine\n"})
      commit_files(context, %{"new" => "hello\n", "other" => "theirs\n"})
      assert_refused(context)
      File.rm!(file(context, "other"))
      assert_refused(context)
    end
  end

  for {what, edit} <- ["the commit's": "a\nb\n", "the beginning of the commit's": "a\n"] do
    @edit edit

    test "an edit that is #{what} stays where a sync or a checkout is refused", context do
      next = commit_files(context, %{"app.yaml" => "a\nb\n", "dir/x.yaml" => "y\n"})
      run_git(context, ["fetch", "-q"])
      put(context.path, %{"app.yaml" => @edit, "dir/x.yaml" => "mine\n"})
      assert_refused(context)
      {before, _} = seen(context)

      assert {:error, %Error{reason: :dirty}} =
               Git.checkout(context.path, next, server: context.git)

      assert Directory.touched(before, elem(seen(context), 0)) == []
    end
  end

  test "what is behind a link is no file of the repository, without force and with it", context do
    put(context.outside, %{"q" => "the", "gone.yaml" => "x\n"})
    File.ln_s!(context.outside, file(context, "link"))
    commit_files(context, %{"link/q" => "theirs\n", "link/new" => "new\n"})
    assert_refused(context)

    outside = Directory.contents(context.outside)
    assert {:ok, commit} = sync(context, force: true)
    assert Directory.touched(outside, Directory.contents(context.outside)) == []
    Oracle.assert_synced(context.path, context.source, commit)
  end

  test "a directory of the commit's that is a link now takes no deletion out", context do
    put(context.outside, %{"x.yaml" => "x\n"})
    File.rm_rf!(file(context, "dir"))
    File.ln_s!(context.outside, file(context, "dir"))
    outside = Directory.contents(context.outside)
    commit_files(context, %{"z.yaml" => "z\n"}, ["dir/x.yaml"])
    assert_refused(context)
    assert {:ok, _commit} = sync(context, force: true)
    assert Directory.touched(outside, Directory.contents(context.outside)) == []
  end

  for kind <- [:pipe, :socket] do
    @kind kind

    test "a #{kind} is in the way, and nobody waits for it", context do
      place = file(context, "new")

      case @kind do
        :pipe -> {_, 0} = System.cmd("mkfifo", [place])
        :socket -> {:ok, _socket} = :gen_tcp.listen(0, [:local, ifaddr: {:local, place}])
      end

      next = commit_files(context, %{"new" => "hello\n"})
      assert {:error, %Error{reason: :dirty}} = sync(context, timeout: 20_000)
      refute File.exists?(file(context, ".git/alumiini-checkout"))
      assert sync(context, force: true, timeout: 20_000) == {:ok, next}
      assert File.read!(place) == "hello\n"
    end
  end

  describe "a submodule" do
    setup context do
      module = Path.join(context.dir, "module")
      GitCommand.run!(["init", "-q", "-b", "main", module])
      put(module, %{"m.yaml" => "m\n", ".gitignore" => "ignored\n"})
      GitCommand.run!(["add", "-A"], cd: module)
      GitCommand.run!(["commit", "-qm", "Module"], cd: module)
      GitCommand.run!(["clone", "-q", module, Path.join(context.source, "sub")])
      commit_files(context, %{})
      Map.put(context, :module, module)
    end

    defp populate(context) do
      assert {:ok, _commit} = sync(context)
      assert File.ls!(file(context, "sub")) == []
      File.rmdir!(file(context, "sub"))
      GitCommand.run!(["clone", "-q", context.module, file(context, "sub")])
      put(file(context, "sub"), %{"ignored" => "precious\n"})
      GitCommand.run!(["branch", "mine"], cd: file(context, "sub"))
    end

    test "that goes leaves what is in its directory", context do
      populate(context)
      sub = Directory.contents(file(context, "sub"))
      commit = commit_files(context, %{}, ["sub"])
      assert sync(context) == {:ok, commit}
      assert Directory.touched(sub, Directory.contents(file(context, "sub"))) == []
      assert run_git(context, ["status", "--porcelain"]) == "?? sub/\n"
    end

    test "that goes takes its empty directory along", context do
      assert {:ok, _commit} = sync(context)
      commit = commit_files(context, %{}, ["sub"])
      assert sync(context) == {:ok, commit}
      Oracle.assert_synced(context.path, context.source, commit)
    end

    for {what, files} <- [file: %{"sub" => "s\n"}, directory: %{"sub/s.yaml" => "s\n"}] do
      @files files

      test "that becomes a #{what} is in the way while its directory holds anything, with " <>
             "force, too",
           context do
        populate(context)
        commit = commit_files(context, @files, ["sub"])
        assert_refused(context)
        assert_refused(context, force: true)
        File.rm_rf!(file(context, "sub"))
        File.mkdir!(file(context, "sub"))
        assert sync(context) == {:ok, commit}
        Oracle.assert_synced(context.path, context.source, commit)
      end
    end

    test "that moves is recorded, and its working tree is its owner's", context do
      populate(context)
      sub = Directory.contents(file(context, "sub"))

      GitCommand.run!(["commit", "-q", "--allow-empty", "-m", "On"],
        cd: Path.join(context.source, "sub")
      )

      commit = commit_files(context, %{})
      assert sync(context) == {:ok, commit}
      assert Directory.touched(sub, Directory.contents(file(context, "sub"))) == []

      assert run_git(context, ["ls-files", "-s", "sub"]) ==
               GitCommand.run!(["ls-files", "-s", "sub"], cd: context.source)
    end

    test "may come where a directory is, and not where a file is", context do
      put(context.path, %{"sub/mine" => "mine\n"})
      assert {:ok, commit} = sync(context)
      assert Repository.rev_parse(context.path) == commit
      assert File.read!(file(context, "sub/mine")) == "mine\n"
      assert {:ok, "a\n"} = Git.read(context.path, "app.yaml", server: context.git)
    end

    test "where a file is, that is in the way", context do
      put(context.path, %{"sub" => "mine\n"})
      assert_refused(context)
      assert {:ok, _commit} = sync(context, force: true)
      assert File.dir?(file(context, "sub"))
    end
  end

  test "a directory that becomes a file keeps what its owner put there", context do
    put(context.path, %{"dir/mine" => "mine\n"})
    commit = commit_files(context, %{"dir" => "now a file\n"}, ["dir"])
    assert_refused(context)
    File.rm!(file(context, "dir/mine"))
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.source, commit)
  end

  test "files and directories that change places outside of a sparse checkout", context do
    run_git(context, ["sparse-checkout", "set", "--no-cone", "/app.yaml"])
    assert run_git(context, ["ls-files", "-t"]) == "H app.yaml\nS dir/x.yaml\n"
    commit = commit_files(context, %{"dir" => "now a file\n"}, ["dir"])
    assert sync(context) == {:ok, commit}
    assert run_git(context, ["ls-files", "-t"]) == "H app.yaml\nS dir\n"
    assert run_git(context, ["status", "--porcelain"]) == ""
    commit = commit_files(context, %{"dir/x.yaml" => "again\n"}, ["dir"])
    assert sync(context) == {:ok, commit}
    assert run_git(context, ["ls-files", "-t"]) == "H app.yaml\nS dir/x.yaml\n"
    assert run_git(context, ["status", "--porcelain"]) == ""
  end

  test "an edit of what the index says to skip counts where the commit changes it", context do
    run_git(context, ["update-index", "--skip-worktree", "app.yaml"])
    put(context.path, %{"app.yaml" => "mine\n"})
    commit_files(context, %{"app.yaml" => "b\n"})
    assert_refused(context)
  end

  test "with force a file that its owner removed comes back as the link that it became", context do
    File.rm!(file(context, "app.yaml"))
    File.rm!(Path.join(context.source, "app.yaml"))
    File.ln_s!("dir/x.yaml", Path.join(context.source, "app.yaml"))
    commit = commit_files(context, %{})
    assert sync(context, force: true) == {:ok, commit}
    Oracle.assert_synced(context.path, context.source, commit)
  end

  test "a branch that is checked out in another working tree is left there", context do
    run_git(context, ["checkout", "-q", "-b", "dev"])
    run_git(context, ["worktree", "add", "-q", Path.join(context.dir, "linked"), "main"])
    commit_files(context, %{"app.yaml" => "b\n"})
    assert_refused(context)
    assert_refused(context, force: true)
  end

  test "with force a merge in the middle of its conflicts is over", context do
    run_git(context, ["checkout", "-q", "-b", "other"])
    put(context.path, %{"app.yaml" => "other\n"})
    run_git(context, ["commit", "-qam", "Other"])
    run_git(context, ["checkout", "-q", "main"])
    put(context.path, %{"app.yaml" => "mine\n"})
    run_git(context, ["commit", "-qam", "Mine"])
    assert {_output, 1} = GitCommand.run(["merge", "-q", "other"], cd: context.path)
    assert_refused(context)
    commit = commit_files(context, %{"app.yaml" => "b\n"})
    assert sync(context, force: true) == {:ok, commit}
    Oracle.assert_synced(context.path, context.source, commit)
    assert run_git(context, ["status", "--porcelain=v2", "--branch"]) =~ "branch.oid #{commit}"
    next = commit_files(context, %{"app.yaml" => "c\n"})
    assert sync(context) == {:ok, next}
  end

  test "a branch that is another one by a symbolic ref stays so", context do
    run_git(context, ["branch", "-m", "main", "trunk"])
    run_git(context, ["symbolic-ref", "refs/heads/main", "refs/heads/trunk"])
    run_git(context, ["symbolic-ref", "HEAD", "refs/heads/main"])
    commit = commit_files(context, %{"app.yaml" => "b\n"})
    assert sync(context) == {:ok, commit}
    assert run_git(context, ["symbolic-ref", "refs/heads/main"]) == "refs/heads/trunk\n"
    assert run_git(context, ["rev-parse", "trunk"]) == commit <> "\n"
  end

  for {kind, option} <- [
        "SHA-256 objects": "--object-format=sha256",
        reftables: "--ref-format=reftable"
      ] do
    @option option

    test "a repository with #{kind} is not supported, and not damaged", context do
      File.rm_rf!(context.path)

      case GitCommand.run(["init", "-q", @option, context.path], []) do
        {_output, 0} -> assert {:error, %Error{reason: :unsupported}} = sync(context)
        # An older Git, which knows none of it.
        {_output, _status} -> :ok
      end
    end
  end

  test "commits of a fork that is `origin` are its owner's for every other remote", context do
    fork = Path.join(context.dir, "fork.git")
    GitCommand.run!(["clone", "-q", "--bare", context.source, fork])
    run_git(context, ["remote", "set-url", "origin", fork])
    put(context.path, %{"mine.yaml" => "mine\n"})
    run_git(context, ["add", "-A"])
    run_git(context, ["commit", "-qm", "Mine"])
    run_git(context, ["push", "-q", "origin", "main"])
    mine = Repository.rev_parse(context.path)
    commit_files(context, %{"app.yaml" => "b\n"})
    assert_refused(context)
    assert {:ok, commit} = sync(context, force: true)
    assert Repository.rev_parse(context.path) == commit
    assert run_git(context, ["rev-parse", "refs/remotes/origin/main"]) == mine <> "\n"
  end

  test "a ref of origin's in the way of another one stays", context do
    run_git(context, ["update-ref", "-d", "refs/remotes/origin/main"])
    run_git(context, ["update-ref", "refs/remotes/origin/main/old", "HEAD"])
    commit = commit_files(context, %{"app.yaml" => "b\n"})
    assert sync(context) == {:ok, commit}

    assert run_git(context, ["for-each-ref", "--format=%(refname)", "refs/remotes/origin/main/"]) ==
             "refs/remotes/origin/main/old\n"
  end

  for options <- [[], [force: true]] do
    @options options

    test "a commit that is missing is named, and nothing is begun (#{inspect(options)})", context do
      put(context.path, %{"mine.yaml" => "mine\n"})
      run_git(context, ["add", "-A"])
      run_git(context, ["commit", "-qm", "Mine"])
      <<two::binary-size(2), rest::binary>> = Repository.rev_parse(context.path)
      File.rm!(file(context, ".git/objects/#{two}/#{rest}"))
      commit_files(context, %{"app.yaml" => "b\n"})
      assert {:error, %Error{reason: :corrupt} = error} = sync(context, @options)
      assert error.message =~ two <> rest
      refute File.exists?(file(context, ".git/alumiini-checkout"))
      assert {:ok, "a\n"} = Git.read(context.path, "app.yaml", server: context.git)
    end
  end
end
