defmodule Alumiini.Git.LocalRemotesTest do
  # Repositories of this machine, by file:// and by path: what `git clone file://` and
  # `git ls-remote` make of them.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Ref

  setup [:dir, :origin, :git]

  defp synced!(context, commit, options \\ []) do
    assert sync(context, options) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  defp git!(path, args), do: args |> GitCommand.run!(cd: path) |> String.trim()
  defp lines(path, args), do: path |> git!(args) |> String.split("\n", trim: true)

  # Every object there is, reachable or not.
  defp objects(path) do
    path
    |> lines(["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"])
    |> MapSet.new()
  end

  defp write_ref(context, name, content) do
    file = Path.join(context.origin, name)
    File.mkdir_p!(Path.dirname(file))
    File.write!(file, content)
  end

  describe "what is copied" do
    test "is the branch's alone, as deep as asked, with `git clone`'s boundary", context do
      Repository.history!(context.origin, 6)
      Repository.commit!(context.origin, %{"side.yaml" => "1\n"}, branch: "side", from: "main~3")
      Repository.commit!(context.origin, %{"side.yaml" => "2\n"}, branch: "side")
      Repository.commit!(context.origin, %{"merged.yaml" => "m\n"}, merge: "refs/heads/side")
      tip = Repository.commit!(context.origin, %{"last.yaml" => "l\n"})
      Repository.commit!(context.origin, %{"other.yaml" => "o\n"}, branch: "other")
      Repository.tag!(context.origin, "v1", "main~4", message: "tagged")

      for url <- [context.url, context.origin], depth <- [1, 2, 3, 4, 20, :infinity] do
        context = %{context | path: Path.join(context.dir, "#{System.unique_integer([:positive])}")}
        synced!(context, tip, url: url, depth: depth)
        oracle = context.path <> "-oracle"
        depth = if depth == :infinity, do: [], else: ["--depth", "#{depth}"]

        GitCommand.run!(
          ["clone", "-q", "--single-branch", "--no-tags"] ++ depth ++ [context.url, oracle]
        )

        named =
          for line <- lines(oracle, ["rev-list", "--objects", "HEAD"]), do: hd(String.split(line))

        assert objects(context.path) == MapSet.new(named)
        assert Oracle.shallow(context.path) == Oracle.shallow(oracle)
      end
    end

    test "is only what is new", context do
      files = for n <- 1..200, into: %{}, do: {"d#{rem(n, 20)}/f#{n}.yaml", "file: #{n}\n"}
      Repository.commit!(context.origin, files)
      Repository.history!(context.origin, 20)
      synced!(context, Repository.rev_parse!(context.origin, "main"), depth: :infinity)
      packs = packs(context.path)
      new = Repository.commit!(context.origin, %{"d3/f3.yaml" => "changed\n"})
      synced!(context, new, depth: :infinity)
      # A commit, two trees and a file.
      assert [4] = counts = packs(context.path) -- packs
      Repository.commit!(context.origin, %{"side.yaml" => "s\n"}, branch: "side", from: "main~10")
      merged = Repository.commit!(context.origin, %{"m.yaml" => "m\n"}, merge: "refs/heads/side")
      synced!(context, merged, depth: :infinity)
      # Two commits, the top of each, and what is new in them.
      assert [6] = (packs(context.path) -- packs) -- counts
    end

    # How many objects each pack has: the last number of the first table of its index.
    defp packs(path) do
      for index <- Path.wildcard(Path.join(path, ".git/objects/pack/*.idx"), match_dot: true) do
        <<_::binary-size(1028), count::32, _::binary>> = File.read!(index)
        count
      end
    end

    test "of a shallow remote ends where that ends", context do
      commits = Repository.history!(context.origin, 8)
      mirror = Path.join(context.dir, "mirror.git")
      GitCommand.run!(["clone", "-q", "--bare", "--depth", "4", context.url, mirror])
      url = "file://" <> mirror
      tip = List.last(commits)

      for {depth, count} <- [{1, 1}, {3, 3}, {6, 4}, {:infinity, 4}] do
        context = %{context | path: Path.join(context.dir, "#{depth}")}
        synced!(context, tip, url: url, depth: depth)
        assert length(lines(context.path, ["rev-list", "HEAD"])) == count
        oracle = context.path <> "-oracle"
        depth = if depth == :infinity, do: [], else: ["--depth", "#{depth}"]
        GitCommand.run!(["clone", "-q", "--single-branch", "--no-tags"] ++ depth ++ [url, oracle])
        assert Oracle.shallow(context.path) == Oracle.shallow(oracle)
      end

      # History that is here stays, whatever the remote lacks; and what it comes to have is fetched.
      synced!(context, tip, depth: :infinity)
      assert Oracle.shallow(context.path) == []
      Repository.history!(context.origin, 1)
      GitCommand.run!(["-C", mirror, "fetch", "-q", context.url, "main:main"])
      synced!(context, Repository.rev_parse!(mirror, "main"), url: url, depth: :infinity)
      assert Oracle.shallow(context.path) == []
      assert length(lines(context.path, ["rev-list", "HEAD"])) == 9
    end
  end

  describe "what lies beside the branch does no harm:" do
    # Each is what real repositories have.
    test "broken and dangling refs, invalid names, lost objects of other branches", context do
      [first, tip] = Repository.history!(context.origin, 2)

      lost =
        Repository.commit!(context.origin, %{"lost.yaml" => "lost\n"}, branch: "lost", from: first)

      GitCommand.run!(["-C", context.origin, "tag", "v1", first])

      File.rm!(
        Path.join([context.origin, "objects", binary_part(lost, 0, 2), binary_part(lost, 2, 38)])
      )

      write_ref(context, "refs/remotes/origin/HEAD", "ref: refs/remotes/origin/gone\n")
      write_ref(context, "refs/heads/absent", String.duplicate("1", 40) <> "\n")
      write_ref(context, "refs/tags/absent", String.duplicate("2", 40) <> "\n")
      write_ref(context, "refs/tags/dangling", "ref: refs/tags/none\n")
      write_ref(context, "refs/heads/empty", "")
      write_ref(context, "refs/heads/bad name", tip <> "\n")
      write_ref(context, "refs/heads/x.lock", tip <> "\n")

      File.write!(
        Path.join(context.origin, "packed-refs"),
        "#{tip} refs/heads/also bad\n#{tip} refs/heads/packed\n"
      )

      synced!(context, tip)
      synced!(context, tip, depth: :infinity)
      assert {:ok, refs} = Git.refs(context.url, server: context.git)

      # What git cannot read of a ref is all zeros to it; what it says of names that are none goes
      # to its standard error.
      oracle =
        for line <- lines(context.dir, ["ls-remote", context.url]),
            [id, name] <- [String.split(line, "\t")],
            id != String.duplicate("0", 40),
            do: {name, id}

      assert Enum.map(refs, &{&1.name, &1.sha}) == Enum.sort(oracle)
      assert Git.ls_remote(context.url, {:tag, "v1"}, server: context.git) == {:ok, first}

      assert {:error, %Error{reason: :ref_not_found}} =
               Git.ls_remote(context.url, {:tag, "dangling"}, server: context.git)

      assert [%Ref{symref_target: "refs/heads/main"}] = Enum.filter(refs, &(&1.name == "HEAD"))
    end

    test "the branch itself may be packed, or a symbolic ref to another", context do
      tip = Repository.commit!(context.origin, %{"a.yaml" => "a\n"}, branch: "trunk")
      write_ref(context, "refs/heads/main", "ref: refs/heads/trunk\n")
      GitCommand.run!(["-C", context.origin, "pack-refs", "--all"])
      synced!(context, tip)
      new = Repository.commit!(context.origin, %{"a.yaml" => "b\n"}, branch: "trunk")
      synced!(context, new)
    end
  end

  describe "a remote" do
    test "that borrows its objects, is a linked working tree, or has its .git elsewhere", context do
      [_, tip] = Repository.history!(context.origin, 2)

      paths =
        for name <- ~w(shared shared-again tree linked separate), do: Path.join(context.dir, name)

      [shared, again, tree, linked, separate] = paths
      GitCommand.run!(["clone", "-q", "--shared", "--bare", context.origin, shared])
      GitCommand.run!(["clone", "-q", "--shared", "--bare", shared, again])
      GitCommand.run!(["clone", "-q", context.origin, tree])
      GitCommand.run!(["-C", tree, "worktree", "add", "-q", "-b", "side", linked])

      GitCommand.run!([
        "clone",
        "-q",
        "--separate-git-dir",
        separate <> ".git",
        context.origin,
        separate
      ])

      for path <- paths do
        context = %{context | path: path <> "-work"}
        synced!(context, tip, url: "file://" <> path)
        assert Git.ls_remote(path, "HEAD", server: context.git) == {:ok, tip}
      end

      [%Ref{symref_target: "refs/heads/side"}] =
        "file://#{linked}" |> Git.refs(prefix: "HEAD", server: context.git) |> elem(1)
    end

    test "that lacks an object of the branch: `corrupt`, and what is here stays", context do
      [_, tip] = Repository.history!(context.origin, 2)
      synced!(context, tip)
      before = Directory.contents(context.path)
      Repository.commit!(context.origin, %{"dir/new.yaml" => "new\n"})

      for object <- ["main:dir/new.yaml", "main:dir", "main"] do
        id = git!(context.origin, ["rev-parse", object])
        file = Path.join([context.origin, "objects", binary_part(id, 0, 2), binary_part(id, 2, 38)])
        File.rename!(file, file <> ".away")

        for context <- [context, %{context | path: context.path <> "-new"}] do
          assert {:error, %Error{reason: :corrupt} = error} = sync(context)

          assert {error.message, true} ==
                   {error.message, error.message =~ context.origin and error.message =~ id}

          refute File.exists?(context.path <> "-new")
        end

        assert Directory.touched(before, Directory.contents(context.path)) == []
        File.rename!(file <> ".away", file)
      end

      synced!(context, Repository.rev_parse!(context.origin, "main"))
    end

    test "with a file that is too large", context do
      Repository.commit!(context.origin, %{"large.bin" => :binary.copy(<<0>>, 65 * 1_048_576)})
      assert {:error, %Error{reason: :too_large} = error} = sync(context)
      assert error.message =~ "large.bin"
      refute File.exists?(context.path)
    end

    test "that is repacked, and pushed to, at every moment", context do
      Repository.history!(context.origin, 30)
      test = self()

      writer =
        spawn_link(fn ->
          for n <- 1..12 do
            Repository.commit!(context.origin, %{"n.yaml" => "#{n}\n"})
            GitCommand.run!(["gc", "-q", "--prune=now"], cd: context.origin)
          end

          send(test, :written)
        end)

      until = fn until, count ->
        path = Path.join(context.dir, "work-#{rem(count, 5)}")
        File.rm_rf!(path)

        assert {:ok, _} =
                 Git.sync(context.url, "main", path, depth: rem(count, 3) + 1, server: context.git)

        if Process.alive?(writer), do: until.(until, count + 1), else: count
      end

      until.(until, 0)
      assert_receive :written
      synced!(context, Repository.rev_parse!(context.origin, "main"))
    end
  end
end
