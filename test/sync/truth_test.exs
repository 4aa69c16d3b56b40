defmodule Alumiini.Git.TruthTest do
  # After a sync, the working tree is the commit, whatever is in it and whatever was done to it.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{OddFiles, Remotes}

  setup [:dir, :origin, :remote, :git]

  for remote <- Remotes.kinds() do
    describe "over #{remote}" do
      @describetag remote: remote

      test "odd files are checked out byte for byte", context do
        commit = Repository.commit!(context.origin, OddFiles.all())
        assert sync(context) == {:ok, commit}
        Oracle.assert_synced(context.path, context.origin, commit)

        for {name, content} <- OddFiles.all(), is_binary(content) do
          assert Git.read(context.path, name, server: context.git) == {:ok, content}
        end

        assert {:ok, names} = Git.files(context.path, "names", server: context.git)
        yaml = for "names/" <> name <- Map.keys(OddFiles.all()), do: name
        assert names == Enum.sort(yaml)
      end

      test "a sync with nothing new writes nothing", context do
        commit = Repository.commit!(context.origin, OddFiles.all())
        assert sync(context) == {:ok, commit}
        # The first may still record when files were written that are as new as the index.
        assert sync(context) == {:ok, commit}
        before = Directory.contents(context.path)
        assert sync(context) == {:ok, commit}
        assert Directory.touched(before, Directory.contents(context.path)) == []
      end

      test "every kind of entry may take the place of every other", context do
        Repository.commit!(context.origin, OddFiles.all())
        assert {:ok, _} = sync(context)

        kinds = [
          file: "a\n",
          executable: {:executable, "a\n"},
          symlink: {:symlink, "a\n"},
          directory: "below\n"
        ]

        place = fn name, :directory -> "#{name}/deep/er.yaml" end
        path = fn name, kind -> if kind == :directory, do: place.(name, kind), else: name end

        for {from, old} <- kinds, {to, new} <- kinds, from != to do
          name = "changing/#{from}-to-#{to}"
          {{path.(name, from), old}, {path.(name, to), new}}
        end
        |> Enum.unzip()
        |> Tuple.to_list()
        |> Enum.each(fn files ->
          commit = Repository.commit!(context.origin, files, only: true)
          assert sync(context) == {:ok, commit}
          Oracle.assert_synced(context.path, context.origin, commit)
        end)
      end

      test "what a commit takes away is gone, with the directories that it leaves empty", context do
        Repository.commit!(context.origin, %{
          "keep.yaml" => "a\n",
          "a/b/c/gone.yaml" => "b\n",
          "a/b/gone" => "c\n"
        })

        assert {:ok, _} = sync(context)
        gone = %{"a/b/c/gone.yaml" => :delete, "a/b/gone" => :delete}
        commit = Repository.commit!(context.origin, gone)
        assert sync(context) == {:ok, commit}
        Oracle.assert_synced(context.path, context.origin, commit)
        assert Directory.names(context.path) == [".git", "keep.yaml"]
      end

      test "a commit with no files at all, and files again", context do
        Repository.commit!(context.origin, OddFiles.all())
        assert {:ok, _} = sync(context)

        for files <- [%{}, %{"a.yaml" => "a\n"}] do
          commit = Repository.commit!(context.origin, files, only: true)
          assert sync(context) == {:ok, commit}
          Oracle.assert_synced(context.path, context.origin, commit)
        end
      end
    end
  end

  test "a submodule's place is an empty directory", context do
    files = %{"a.yaml" => "a\n", "vendor/module" => {:submodule, String.duplicate("1", 40)}}
    commit = Repository.commit!(context.origin, files)
    assert sync(context) == {:ok, commit}
    Oracle.assert_tree_equals(context.path, context.origin, commit)
    Oracle.fsck!(context.path)
    assert Directory.names(Path.join(context.path, "vendor/module")) == []
  end

  test "the clone is the one that git makes: same commit, same tree, no more branches", context do
    Repository.history!(context.origin, 5)
    Repository.commit!(context.origin, OddFiles.all(), branch: "other")
    Repository.tag!(context.origin, "v1", "main")
    assert {:ok, commit} = sync(context)
    clone = Path.join(context.dir, "git-clone")
    GitCommand.run!(["clone", "-q", "--depth", "1", "--no-tags", context.url, clone])

    for args <- [
          ["rev-parse", "HEAD", "HEAD^{tree}", "refs/heads/main", "refs/remotes/origin/main"],
          ["symbolic-ref", "HEAD"],
          ["rev-list", "--count", "HEAD"],
          ["ls-files", "--stage"],
          ["cat-file", "-p", "HEAD"],
          ["for-each-ref", "refs/heads", "refs/tags"]
        ] do
      assert GitCommand.run!(args, cd: context.path) == GitCommand.run!(args, cd: clone)
    end

    assert Repository.rev_parse(context.path, "refs/heads/main") == commit
  end

  test "into an empty directory, one that links lead to, and one with an odd name", context do
    commit = Repository.commit!(context.origin, OddFiles.all())
    empty = Path.join(context.dir, "empty")
    File.mkdir!(empty)
    link = Path.join(context.dir, "link")
    File.ln_s!("linked", link)
    File.mkdir!(Path.join(context.dir, "linked"))
    odd = context.dir <> "/öde, \xff \n and/deep/below"

    for path <- [empty, link, odd] do
      assert sync(%{context | path: path}) == {:ok, commit}
      Oracle.assert_synced(path, context.origin, commit)
    end

    assert File.read_link!(link) == "linked"
  end
end
