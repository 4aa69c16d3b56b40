defmodule Alumiini.Git.UnmanagedTest do
  # Somebody's own repository is moved only where nothing of theirs can be lost.
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :commits, :http, :git, :cloned]

  defp commits(context) do
    Repository.commit!(context.origin, %{
      "app.yaml" => "a: 1\n",
      "deploy/x.yaml" => "x: 1\n",
      ".gitignore" => "*.log\n"
    })

    %{commit: Repository.commit!(context.origin, %{"app.yaml" => "a: 2\n"})}
  end

  defp assert_never_marked(context) do
    assert {"", 1} = GitCommand.run(["config", "--get-regexp", "^alumiini"], cd: context.path)

    assert for(
             name <- Directory.names(Path.join(context.path, ".git")),
             name =~ "alumiini",
             do: name
           ) == []

    assert for(name <- Directory.names(context.path), name =~ "alumiini", do: name) == []
    Oracle.fsck!(context.path)
  end

  # Objects may have come: how else to know whose ancestor a commit is. None of them is reachable
  # from a ref.
  defp own(context), do: Directory.contents(context.path, except: [".git/objects"])

  defp assert_dirty(context, words, options \\ []) do
    before = own(context)
    assert {:error, %Error{reason: :dirty, retryable?: false} = error} = sync(context, options)
    for word <- [context.path, "force" | words], do: assert(error.message =~ word)
    assert Directory.touched(before, own(context)) == []
    assert_never_marked(context)
    error
  end

  defp advance(context),
    do: Repository.commit!(context.origin, %{"app.yaml" => "a: 3\n", "new.yaml" => "n: 1\n"})

  test "a clean one follows the remote and is never marked as ours", context do
    assert sync(context) == {:ok, context.commit}
    assert_never_marked(context)
    commit = advance(context)
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
    assert run_git(context, ["symbolic-ref", "HEAD"]) == "refs/heads/main\n"
    assert run_git(context, ["rev-list", "--count", "HEAD"]) == "3\n"
    assert_never_marked(context)
  end

  test "with nothing new, nothing at all is written", context do
    write(context, "mine.yaml", "untracked\n")
    before = Directory.contents(context.path)
    assert sync(context) == {:ok, context.commit}
    assert Directory.touched(before, Directory.contents(context.path)) == []
  end

  test "untracked and ignored files, empty directories and nested repositories stay", context do
    write(context, "mine.yaml", "untracked\n")
    write(context, "some.log", "ignored\n")
    File.mkdir_p!(Path.join(context.path, "empty/dir"))
    run_git(context, ["init", "-q", "nested"])
    commit = advance(context)

    for options <- [[], [force: true]] do
      assert sync(context, options) == {:ok, commit}
      assert File.read!(Path.join(context.path, "mine.yaml")) == "untracked\n"
      assert File.read!(Path.join(context.path, "some.log")) == "ignored\n"
      assert File.dir?(Path.join(context.path, "empty/dir"))
      assert File.dir?(Path.join(context.path, "nested/.git"))
      assert_never_marked(context)
    end
  end

  changes = [
    {"an edited file", &__MODULE__.edit/1, "app.yaml"},
    {"a deleted file", &__MODULE__.delete/1, "app.yaml"},
    {"a staged change", &__MODULE__.stage/1, "app.yaml"},
    {"a staged file", &__MODULE__.stage_new/1, "staged.yaml"},
    {"a changed mode", &__MODULE__.chmod/1, "app.yaml"}
  ]

  def edit(context), do: write(context, "app.yaml", "edited\n")
  def delete(context), do: File.rm!(Path.join(context.path, "app.yaml"))
  def stage(context), do: edit(context) && run_git(context, ["add", "-A"])

  def stage_new(context),
    do: write(context, "staged.yaml", "s\n") && run_git(context, ["add", "-A"])

  def chmod(context), do: File.chmod!(Path.join(context.path, "app.yaml"), 0o755)

  for {name, change, path} <- changes do
    @change change
    @changed path

    test "#{name} is refused, with and without something new, and overwritten by force", context do
      @change.(context)
      error = assert_dirty(context, ["local changes", @changed])
      assert error.detail.changed == [@changed]
      commit = advance(context)
      assert_dirty(context, ["local changes", @changed])
      assert sync(context, force: true) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
      assert_never_marked(context)
    end
  end

  test "commits that the remote lacks are refused, and dropped by force", context do
    write(context, "mine.yaml", "mine\n")
    run_git(context, ["add", "-A"])
    run_git(context, ["commit", "-q", "-m", "Mine"])
    mine = Repository.rev_parse(context.path)
    assert_dirty(context, [mine])
    commit = advance(context)
    assert_dirty(context, [mine])
    assert sync(context, force: true) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
    assert_never_marked(context)
  end

  test "commits under a detached HEAD are refused; those on another branch are safe there",
       context do
    run_git(context, ["checkout", "-q", "-b", "mine"])
    run_git(context, ["commit", "-q", "--allow-empty", "-m", "Mine"])
    mine = Repository.rev_parse(context.path)
    assert sync(context) == {:ok, context.commit}
    assert run_git(context, ["symbolic-ref", "HEAD"]) == "refs/heads/main\n"
    assert Repository.rev_parse(context.path, "refs/heads/mine") == mine

    run_git(context, ["checkout", "-q", "--detach"])
    run_git(context, ["commit", "-q", "--allow-empty", "-m", "Detached"])
    assert_dirty(context, [Repository.rev_parse(context.path)])
    advance(context)
    assert_dirty(context, [Repository.rev_parse(context.path)])
  end

  test "an untracked file where the commit has one is in the way, and stays", context do
    write(context, "new.yaml", "mine\n")
    commit = advance(context)
    assert_dirty(context, ["new.yaml"])
    assert File.read!(Path.join(context.path, "new.yaml")) == "mine\n"
    assert sync(context, force: true) == {:ok, commit}
    assert File.read!(Path.join(context.path, "new.yaml")) == "n: 1\n"
  end

  test "a force-push of the remote is followed where nobody added to what was there", context do
    commit = Repository.rewrite!(context.origin, "main", 1, %{"app.yaml" => "a: rewritten\n"})
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
    assert_never_marked(context)
  end

  test "a shallow clone is made neither deeper nor full", context do
    path = Path.join(context.dir, "shallow")
    GitCommand.run!(["clone", "-q", "--depth", "1", context.url, path])
    context = %{context | path: path}
    commit = advance(context)
    assert sync(context, depth: :infinity) == {:ok, commit}
    Oracle.assert_synced(path, context.origin, commit)
    assert run_git(context, ["rev-list", "--count", "HEAD"]) == "2\n"
    assert_never_marked(context)
  end

  test "checkout refuses local changes, too", context do
    first = Repository.rev_parse!(context.path, "HEAD~1")
    edit(context)
    before = Directory.contents(context.path)
    result = Git.checkout(context.path, first, server: context.git)
    assert {:error, %Error{reason: :dirty, retryable?: false} = error} = result
    assert error.message =~ "app.yaml" and error.message =~ "force"
    assert Directory.touched(before, Directory.contents(context.path)) == []
    assert Git.checkout(context.path, first, server: context.git, force: true) == {:ok, first}
    Oracle.assert_synced(context.path, context.origin, first)
    assert Repository.rev_parse(context.path, "refs/heads/main") == context.commit
    assert_never_marked(context)
  end

  test "the repository's own filters are used, since it is its owner's", context do
    commit =
      Repository.commit!(context.origin, %{
        ".gitattributes" => "*.txt text eol=crlf\n",
        "a.txt" => "1\n2\n"
      })

    assert sync(context) == {:ok, commit}
    assert File.read!(Path.join(context.path, "a.txt")) == "1\r\n2\r\n"
    Oracle.status!(context.path)
  end

  test "a .git that is no repository is called that, and nothing is touched", context do
    path = Path.join(context.dir, "empty")

    for make <- [
          fn -> File.mkdir_p!(Path.join(path, ".git")) end,
          fn -> File.mkdir_p!(Path.join(path, ".git/objects")) end,
          fn -> File.write!(Path.join(path, ".git/config"), "[core]\n") end
        ] do
      make.()
      before = Directory.contents(path)
      options = [server: context.git]

      for call <- [
            fn -> sync(%{context | path: path}) end,
            fn -> sync(%{context | path: path}, force: true) end,
            fn -> Git.head(path, options) end,
            fn -> Git.checkout(path, "main", options) end
          ] do
        assert {:error, %Error{reason: :not_a_repository, retryable?: false} = error} = call.()
        assert error.message =~ Path.join(path, ".git")
        assert error.message =~ "remove it"
        assert error.detail.path == path
        assert Directory.touched(before, Directory.contents(path)) == []
      end
    end
  end

  test "a linked working tree and a submodule are refused", context do
    linked = Path.join(context.dir, "linked")
    run_git(context, ["worktree", "add", "-q", "-b", "linked", linked])
    before = {Directory.contents(linked), Directory.contents(context.path)}
    result = sync(%{context | path: linked})
    assert {:error, %Error{reason: :unsupported, retryable?: false} = error} = result
    assert error.message =~ linked and error.message =~ "linked working tree"
    assert {Directory.contents(linked), Directory.contents(context.path)} == before
  end

  test "a partial clone is its owner's and Git's alone", context do
    path = context.path <> "-partial"
    GitCommand.run!(["clone", "-q", "--filter=blob:none", "--no-checkout", context.url, path])
    GitCommand.run!(["sparse-checkout", "set", "deploy"], cd: path)
    GitCommand.run!(["checkout", "-q", "main"], cd: path)
    before = Directory.contents(path)
    Repository.commit!(context.origin, %{"deploy/x.yaml" => "x: 2\n"})

    for options <- [[], [force: true], [paths: ["deploy"]]] do
      assert {:error, %Error{reason: :unsupported}} = sync(context, [path: path] ++ options)
    end

    assert Directory.touched(before, Directory.contents(path)) == []
    assert {:ok, "x: 1\n"} = Git.read(path, "deploy/x.yaml", server: context.git)
  end
end
