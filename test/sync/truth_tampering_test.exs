defmodule Alumiini.Git.TruthTamperingTest do
  # Whatever somebody does to a managed working tree, a sync with nothing new puts it right.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.OddFiles

  setup [:dir, :origin, :history, :http, :git, :synced]

  defp history(context) do
    Repository.history!(context.origin, 3)
    %{commit: Repository.commit!(context.origin, OddFiles.all())}
  end

  defp synced(context) do
    assert sync(context) == {:ok, context.commit}
    :ok
  end

  # The tampering must show before, so that a test of it can fail.
  defp assert_put_right(context, tamper, shows? \\ &tree_differs?/1) do
    tamper.(context.path)
    assert shows?.(context), "the tampering changed nothing"
    HttpServer.reset(context.http)
    assert sync(context) == {:ok, context.commit}
    Oracle.assert_synced(context.path, context.origin, context.commit)
    # All that is needed was there: an empty pack has 32 bytes.
    assert HttpServer.stats(context.http).pack_bytes <= 32
  end

  defp tree_differs?(context),
    do: Oracle.differences(context.path, context.origin, context.commit) != []

  defp git_differs?(context) do
    run_git(context, ["status", "--porcelain", "--ignored"]) != "" or
      Repository.rev_parse(context.path) != context.commit or
      run_git(context, ["for-each-ref", "--format=%(refname)"]) !=
        "refs/heads/main\nrefs/remotes/origin/main\n" or
      GitCommand.run(["symbolic-ref", "HEAD"], cd: context.path) != {"refs/heads/main\n", 0}
  end

  @unix "lines/unix.yaml"

  test "files that were edited", context do
    assert_put_right(context, &File.write!(Path.join(&1, @unix), "changed: true\n"))
    assert_put_right(context, &File.write!(Path.join(&1, @unix), "a: 1\nb: 2\n", [:append]))
    assert_put_right(context, &File.write!(Path.join(&1, "empty.yaml"), "no more\n"))
    assert_put_right(context, &File.write!(&1 <> "/names/latin1-\xfc\xff.yaml", "a: 4\n"))
  end

  test "files edited to the same size, with the time of their last change put back", context do
    assert_put_right(context, fn path ->
      file = Path.join(path, @unix)
      %{mtime: mtime, size: size} = File.stat!(file, time: :posix)
      # In place, so that it is the same inode, and to the nanosecond by `touch`.
      {_, 0} = System.cmd("cp", ["-p", file, context.dir <> "/kept"])
      File.write!(file, String.duplicate("x", size))
      {_, 0} = System.cmd("touch", ["-r", context.dir <> "/kept", file])
      assert %{mtime: ^mtime, size: ^size} = File.stat!(file, time: :posix)
    end)
  end

  test "files that were deleted, and whole directories", context do
    assert_put_right(context, &File.rm!(Path.join(&1, @unix)))
    assert_put_right(context, &File.rm_rf!(Path.join(&1, "a")))
    assert_put_right(context, &File.rm!(Path.join(&1, "links/dangling")))

    assert_put_right(context, fn path ->
      for name <- Directory.names(path), name != ".git", do: TempDir.remove!(path <> "/" <> name)
    end)
  end

  test "files that were added: untracked, ignored, in new directories, and directories without any",
       context do
    for name <- [
          "new.yaml",
          "lines/new.yaml",
          "odd-\xff",
          "ignored/x",
          "x.log",
          "new/deep/er.yaml",
          ".hidden",
          ".gitx"
        ] do
      assert_put_right(context, fn path ->
        file = path <> "/" <> name
        File.mkdir_p!(Path.dirname(file))
        File.write!(file, "new\n")
      end)
    end

    assert_put_right(context, &File.mkdir_p!(Path.join(&1, "empty/and/empty")))
    assert_put_right(context, &File.mkdir!(Path.join(&1, "lines/empty")))
    assert_put_right(context, &File.ln_s!("lines", Path.join(&1, "link")))
    assert_put_right(context, &({_, 0} = System.cmd("mkfifo", [Path.join(&1, "pipe")])))

    assert_put_right(context, fn path ->
      closed = Path.join(path, "closed")
      File.mkdir!(closed)
      File.write!(Path.join(closed, "file"), "")
      File.chmod!(closed, 0o500)
    end)
  end

  test "git repositories inside, also where they are ignored", context do
    for name <- ["nested", "ignored/nested", "a/very/nested"] do
      assert_put_right(context, fn path ->
        nested = Path.join(path, name)
        run_git(context.dir, ["init", "-q", nested])
        File.write!(Path.join(nested, "mine.yaml"), "mine\n")
        run_git(nested, ["add", "-A"])
        run_git(nested, ["commit", "-q", "-m", "Nested"])
      end)
    end
  end

  test "changed permissions", context do
    assert_put_right(context, &File.chmod!(Path.join(&1, @unix), 0o755))
    assert_put_right(context, &File.chmod!(Path.join(&1, "scripts/run.sh"), 0o644))
  end

  test "files in the place of directories, links in the place of files, and the other way round",
       context do
    replace = fn name, make ->
      assert_put_right(context, fn path ->
        TempDir.remove!(Path.join(path, name))
        make.(Path.join(path, name))
      end)
    end

    replace.(@unix, &File.mkdir!/1)
    replace.(@unix, &File.mkdir_p!(Path.join(&1, "with/more/in/it")))
    replace.(@unix, &File.ln_s!("mixed.yaml", &1))
    replace.("lines", &File.write!(&1, "a file\n"))
    replace.("links/to-file", &File.write!(&1, "../lines/unix.yaml"))
    replace.("links/to-file", &File.ln_s!("../lines/mixed.yaml", &1))
    replace.("links/to-directory", &File.mkdir!/1)
    replace.(@unix, &({_, 0} = System.cmd("mkfifo", [&1])))

    # A copy of the right content under a link: what it leads to is not the repository's.
    copy = Path.join(context.dir, "copy.yaml")
    File.cp!(Path.join(context.path, @unix), copy)
    replace.(@unix, &File.ln_s!(copy, &1))
    File.rm!(Path.join(context.path, @unix))
    File.ln!(copy, Path.join(context.path, @unix))
    before = File.read!(copy)
    File.write!(copy, "changed through the hard link\n")
    assert sync(context) == {:ok, context.commit}
    Oracle.assert_synced(context.path, context.origin, context.commit)
    assert {File.read!(copy), before} == {"changed through the hard link\n", "a: 1\nb: 2\n"}
  end

  test "a directory that became a link to one elsewhere, which stays as it is", context do
    outside = Path.join(context.dir, "outside")
    File.cp_r!(Path.join(context.path, "lines"), outside)
    File.write!(Path.join(outside, "precious"), "not to be lost\n")
    before = Directory.contents(outside)

    assert_put_right(context, fn path ->
      TempDir.remove!(Path.join(path, "lines"))
      File.ln_s!(outside, Path.join(path, "lines"))
    end)

    assert Directory.touched(before, Directory.contents(outside)) == []
  end

  test "changes that were staged", context do
    staged = fn change ->
      assert_put_right(context, change, &git_differs?/1)
    end

    staged.(fn path ->
      File.write!(Path.join(path, @unix), "staged\n")
      run_git(path, ["add", "-A"])
    end)

    staged.(fn path ->
      File.write!(Path.join(path, "new.yaml"), "staged\n")
      run_git(path, ["add", "new.yaml"])
    end)

    # In the index only, so that the working tree looks untouched.
    staged.(fn path ->
      File.write!(Path.join(path, "new.yaml"), "staged\n")
      run_git(path, ["add", "new.yaml"])
      File.rm!(Path.join(path, "new.yaml"))
    end)

    staged.(&run_git(&1, ["rm", "-q", "--cached", @unix]))
    staged.(&run_git(&1, ["rm", "-q", "-r", "lines"]))
    staged.(&run_git(&1, ["update-index", "--chmod=+x", @unix]))

    staged.(fn path ->
      File.write!(Path.join(path, "intended.yaml"), "")
      run_git(path, ["add", "-N", "intended.yaml"])
    end)

    staged.(&run_git(&1, ["mv", @unix, "moved.yaml"]))
  end

  test "changes that git was told not to see", context do
    for flag <- ["--assume-unchanged", "--skip-worktree"] do
      assert_put_right(context, fn path ->
        run_git(path, ["update-index", flag, @unix])
        File.write!(Path.join(path, @unix), "hidden\n")
      end)

      # And it sees again what comes later.
      File.write!(Path.join(context.path, @unix), "later\n")
      assert run_git(context, ["status", "--porcelain"]) =~ @unix
      assert sync(context) == {:ok, context.commit}
    end
  end

  test "a merge that was left with conflicts", context do
    assert_put_right(
      context,
      fn path ->
        for {branch, content} <- [{"ours", "ours\n"}, {"theirs", "theirs\n"}] do
          run_git(path, ["checkout", "-q", "-B", branch, context.commit])
          File.write!(Path.join(path, @unix), content)
          run_git(path, ["commit", "-q", "-a", "-m", branch])
        end

        assert {_, 1} = GitCommand.run(["merge", "ours"], cd: path)
      end,
      &git_differs?/1
    )

    assert run_git(context, ["status"]) =~ "nothing to commit"
    refute run_git(context, ["status"]) =~ "merg"
  end

  test "branches, HEAD and commits that somebody moved or made", context do
    moved = fn change -> assert_put_right(context, change, &git_differs?/1) end
    moved.(&run_git(&1, ["checkout", "-q", "-b", "mine"]))
    moved.(&run_git(&1, ["checkout", "-q", "--detach"]))
    moved.(&run_git(&1, ["commit", "-q", "--allow-empty", "-m", "Mine"]))
    moved.(&run_git(&1, ["checkout", "-q", "--orphan", "new"]))
    moved.(&run_git(&1, ["update-ref", "-d", "refs/heads/main"]))
    moved.(&run_git(&1, ["update-ref", "-d", "refs/remotes/origin/main"]))
    moved.(&run_git(&1, ["branch", "other"]))

    # Where refs/heads/main has to be a file.
    moved.(fn path ->
      run_git(path, ["checkout", "-q", "--detach"])
      run_git(path, ["branch", "-D", "main"])
      run_git(path, ["branch", "main/below"])
    end)

    moved.(fn path ->
      File.write!(Path.join(path, "mine.yaml"), "mine\n")
      run_git(path, ["add", "-A"])
      run_git(path, ["commit", "-q", "-m", "Mine"])
      run_git(path, ["update-ref", "refs/remotes/origin/main", "HEAD"])
    end)
  end

  test "git's own housekeeping disturbs nothing", context do
    for args <- [
          ["pack-refs", "--all"],
          ["gc", "-q"],
          ["repack", "-a", "-d", "-q"],
          ["reset", "-q", "--hard"]
        ] do
      run_git(context, args)
      assert sync(context) == {:ok, context.commit}
      Oracle.assert_synced(context.path, context.origin, context.commit)
    end

    run_git(context, ["pack-refs", "--all"])
    commit = Repository.commit!(context.origin, %{"later.yaml" => "later\n"})
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  test "a tampered working tree is put right by a sync that brings something new, too", context do
    File.write!(Path.join(context.path, @unix), "edited\n")
    File.write!(Path.join(context.path, "later.yaml"), "in the way\n")
    File.rm_rf!(Path.join(context.path, "links"))
    File.write!(Path.join(context.path, "links"), "in the way\n")

    commit =
      Repository.commit!(context.origin, %{"later.yaml" => "later\n", "links/more" => "more\n"})

    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  test "many changes at once, at random", context do
    paths = for {path, _} <- OddFiles.all(), do: path

    Enum.reduce(1..12, :rand.seed_s(:exsss, 4711), fn _, random ->
      random =
        Enum.reduce(1..8, random, fn _, random -> tamper_at_random(context.path, paths, random) end)

      assert sync(context) == {:ok, context.commit}
      Oracle.assert_synced(context.path, context.origin, context.commit)
      random
    end)
  end

  defp tamper_at_random(root, paths, random) do
    {n, random} = :rand.uniform_s(length(paths), random)
    {kind, random} = :rand.uniform_s(7, random)
    path = root <> "/" <> Enum.at(paths, n - 1)
    parent = Path.dirname(path)
    # What an earlier change put in the place of a directory goes.
    unless File.dir?(parent), do: File.rm(parent)
    File.mkdir_p(parent)

    case kind do
      1 -> File.write(path, "random #{n}\n")
      2 -> TempDir.remove!(path)
      3 -> File.chmod(path, 0o755)
      4 -> TempDir.remove!(path) && File.mkdir_p(path)
      5 -> TempDir.remove!(path) && File.ln_s("somewhere", path)
      6 when parent != root -> TempDir.remove!(parent) && File.write(parent, "a file\n")
      6 -> File.mkdir(path <> ".d")
      7 -> File.write(path <> ".new", "new\n")
    end

    random
  end
end
