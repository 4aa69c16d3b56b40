defmodule Alumiini.Git.OddTreesTest do
  # Trees as older tools wrote them, and names that are like ours: what `git` checks out of them is
  # what is there.
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :http, :git]

  defp tree(context, entries) do
    commit = Repository.commit_raw_tree!(context.origin, "inner", entries)
    ["rev-parse", commit <> "^{tree}"] |> GitCommand.run!(cd: context.origin) |> String.trim()
  end

  # Files as a clone by git has them: kind, executable, content.
  defp as_git(context) do
    path = Path.join(context.dir, "git-#{System.unique_integer([:positive])}")
    GitCommand.run!(["clone", "-q", context.url, path])
    shape(path)
  end

  defp shape(path) do
    for name <- Directory.names(path), not String.starts_with?(name, ".git/"), into: %{} do
      full = Path.join(path, name)
      %File.Stat{type: type, mode: mode} = File.lstat!(full)

      content =
        case type do
          :regular -> {File.read!(full), rem(div(mode, 0o100), 2)}
          :symlink -> File.read_link!(full)
          _other -> nil
        end

      {name, {type, content}}
    end
  end

  defp assert_untouched(context) do
    before = Directory.contents(context.path)
    HttpServer.reset(context.http)
    assert {:ok, _commit} = sync(context)
    assert HttpServer.stats(context.http).pack_bytes == 0
    # The index may be as young as its files, and is written once more then.
    assert Directory.touched(before, Directory.contents(context.path)) -- [".git/index"] == []
  end

  test "modes that older tools wrote are as Git has them", context do
    below = tree(context, [{"100664", "f.yaml", "f: 1\n"}, {"100775", "x.sh", "x\n"}])

    commit =
      Repository.commit_raw_tree!(context.origin, "main", [
        {"100600", "a.yaml", "a: 1\n"},
        {"0100644", "b.yaml", "b: 1\n"},
        {"100755", "c.sh", "c\n"},
        {"100700", "d.sh", "d\n"},
        {"100711", "e.sh", "e\n"},
        {"100444", "f.yaml", "f: 1\n"},
        {"100655", "g.yaml", "g: 1\n"},
        {"120777", "link", "a.yaml"},
        {"40755", "sub", {:id, below}},
        {"040000", "sub2", {:id, below}}
      ])

    for options <- [[], [depth: :infinity]] do
      assert sync(context, options) == {:ok, commit}
      assert shape(context.path) == as_git(context)
      Oracle.status!(context.path)
    end

    assert sync(context) == {:ok, commit}
    assert_untouched(context)
    # An update from one to the next, and to modes that are well formed.
    next =
      Repository.commit_raw_tree!(context.origin, "main", [
        {"100664", "a.yaml", "a: 2\n"},
        {"100644", "b.yaml", "b\n"}
      ])

    assert sync(context) == {:ok, next}
    assert shape(context.path) == as_git(context)
    Oracle.status!(context.path)
  end

  test "a repository of somebody's own is moved to such modes, too", context do
    Repository.commit!(context.origin, %{"a.yaml" => "a: 1\n"})
    GitCommand.run!(["clone", "-q", context.url, context.path])
    tip = Repository.rev_parse!(context.origin, "main")

    tree = tree(context, [{"100664", "a.yaml", "a: 2\n"}, {"100775", "x.sh", "x\n"}])

    commit =
      ["commit-tree", "-p", tip, "-m", "Odd", tree]
      |> GitCommand.run!(cd: context.origin)
      |> String.trim()

    GitCommand.run!(["update-ref", "refs/heads/main", commit], cd: context.origin)
    assert sync(context) == {:ok, commit}
    assert shape(context.path) == as_git(context)
    Oracle.status!(context.path)
  end

  test "names that begin like ours are the commit's", context do
    files = %{
      ".git.alumiini-1-0/config" => "[alumiini]\n\tmanaged = true\n",
      ".git.alumiini-x" => "x\n",
      ".git.alumiini-y/deep/er.yaml" => "y\n",
      "sub/.git.alumiini-old" => "o\n",
      "a.yaml" => "a: 1\n"
    }

    commit = Repository.commit!(context.origin, files)
    assert sync(context) == {:ok, commit}
    assert shape(context.path) == as_git(context)
    assert sync(context) == {:ok, commit}
    assert_untouched(context)

    assert {:ok, "y\n"} =
             Git.read(context.path, ".git.alumiini-y/deep/er.yaml", server: context.git)

    # An update, a repair, and leftovers of ours beside them.
    next = Repository.commit!(context.origin, %{"a.yaml" => "a: 2\n"})
    File.mkdir_p!(Path.join(context.path, ".git.alumiini-99-9/objects"))
    assert sync(context) == {:ok, next}
    assert shape(context.path) == as_git(context)

    for pack <- Path.wildcard(context.path <> "/.git/objects/pack/*.idx", match_dot: true),
        do: File.rm!(pack)

    last = Repository.commit!(context.origin, %{"a.yaml" => "a: 3\n"})
    assert sync(context) == {:ok, last}
    assert shape(context.path) == as_git(context)
    Oracle.status!(context.path)
  end

  test "the two names that a sync needs for itself are refused, and the commit before stays",
       context do
    old = Repository.commit!(context.origin, %{"a.yaml" => "a: 1\n"})
    assert sync(context) == {:ok, old}

    for name <- [".git.alumiini-old", ".git.alumiini-discarded"] do
      Repository.commit!(context.origin, %{(name <> "/f") => "f\n"}, from: old)
      assert {:error, %{reason: :unsafe_path} = error} = sync(context)
      assert error.message =~ name
      assert Git.read(context.path, "a.yaml", server: context.git) == {:ok, "a: 1\n"}
    end
  end

  test "a link whose target holds a NUL ends there, as in Git", context do
    commit =
      Repository.commit_raw_tree!(context.origin, "main", [
        {"100644", "a.yaml", "a: 1\n"},
        {"120000", "link", "a.yaml\0b"}
      ])

    assert sync(context) == {:ok, commit}
    assert shape(context.path) == as_git(context)
    assert sync(context) == {:ok, commit}
    assert_untouched(context)
  end

  test "a link that no file system takes leaves the commit before", context do
    old = Repository.commit!(context.origin, %{"a.yaml" => "a: 1\n"})
    assert sync(context) == {:ok, old}

    for target <- ["", "\0x", String.duplicate("t", 5_000)] do
      Repository.commit_raw_tree!(context.origin, "main", [
        {"100644", "a.yaml", "a: 2\n"},
        {"120000", "link", target}
      ])

      assert {:error, %{reason: :io} = error} = sync(context)
      assert error.message =~ "link"
      assert {:ok, %{sha: ^old}} = Git.head(context.path, server: context.git)
      assert Git.read(context.path, "a.yaml", server: context.git) == {:ok, "a: 1\n"}
    end
  end

  test "a directory where `.git` has a file is repaired", context do
    old = Repository.commit!(context.origin, %{"a.yaml" => "a: 1\n"})

    for name <- [
          "index",
          "HEAD",
          "packed-refs",
          "shallow",
          "refs/heads/main",
          "FETCH_HEAD",
          "alumiini-checkout"
        ] do
      assert {name, sync(context)} == {name, {:ok, old}}
      file = Path.join([context.path, ".git", name])
      File.rm_rf!(file)
      File.mkdir_p!(Path.join(file, "sub"))
      assert {name, sync(context)} == {name, {:ok, old}}

      assert {name, Git.read(context.path, "a.yaml", server: context.git)} ==
               {name, {:ok, "a: 1\n"}}

      if name != "FETCH_HEAD", do: Oracle.assert_synced(context.path, context.origin, old)
    end
  end

  test "what a tree calls a file and is none is named", context do
    old = Repository.commit!(context.origin, %{"a.yaml" => "a: 1\n"})
    assert sync(context) == {:ok, old}
    tree = tree(context, [{"100644", "x", "x"}])
    Repository.commit_raw_tree!(context.origin, "main", [{"100644", "a.yaml", {:id, tree}}])
    assert {:error, %{reason: reason} = error} = sync(context)
    assert reason in [:corrupt, :network]
    refute error.message =~ "did not send everything"
    assert {:ok, %{sha: ^old}} = Git.head(context.path, server: context.git)
  end
end
