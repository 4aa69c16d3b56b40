defmodule Alumiini.Git.AnyRefTest do
  # Every kind of ref, over every kind of remote; git is the oracle.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Update
  alias Alumiini.Git.Test.{HttpServer, Remotes}

  setup [:dir, :origin, :commits, :git]

  defp commits(%{origin: origin}) do
    commits =
      for n <- 1..5 do
        files = %{"app.yaml" => "app: #{n}\n", "only-#{n}" => ""}
        Repository.commit!(origin, files, only: true)
      end

    git!(origin, ["tag", "light", Enum.at(commits, 0)])
    git!(origin, ["tag", "-a", "-m", "one", "v1.0.0", Enum.at(commits, 1)])
    git!(origin, ["tag", "-a", "-m", "of a tag", "v1.1.0-rc.1", "v1.0.0"])
    git!(origin, ["update-ref", "refs/pull/7/head", Enum.at(commits, 2)])
    git!(origin, ["update-ref", "refs/heads/other", Enum.at(commits, 3)])
    %{commits: commits}
  end

  defp git!(cd, arguments), do: arguments |> GitCommand.run!(cd: cd) |> String.trim()

  defp assert_at(context, commit, head) do
    assert git!(context.path, ["rev-parse", "HEAD"]) == commit
    assert git!(context.path, ["rev-parse", "--abbrev-ref", "HEAD"]) == head
    assert git!(context.path, ["status", "--porcelain"]) == ""
    assert git!(context.path, ["fsck", "--no-dangling"]) == ""
    Oracle.assert_tree_equals(context.path, context.origin, commit)
  end

  for kind <- [:v2, :v0, :file] do
    test "one after another on one path, over #{kind}", context do
      %{origin: origin, git: git, path: path, dir: dir} = context
      [c1, c2, c3, c4, c5] = context.commits
      url = Remotes.serve!(unquote(kind), dir).url.("origin.git")
      tag = git!(origin, ["rev-parse", "v1.0.0"])
      nested = git!(origin, ["rev-parse", "v1.1.0-rc.1"])

      for {ref, commit, head, full, tag} <- [
            {"main", c5, "main", "refs/heads/main", nil},
            {{:tag, "v1.0.0"}, c2, "HEAD", "refs/tags/v1.0.0", tag},
            {{:tag, "light"}, c1, "HEAD", "refs/tags/light", nil},
            {:default, c5, "main", "refs/heads/main", nil},
            {{:ref, "refs/pull/7/head"}, c3, "HEAD", "refs/pull/7/head", nil},
            {{:branch, "other"}, c4, "other", "refs/heads/other", nil},
            {{:semver, "~> 1.0"}, c2, "HEAD", "refs/tags/v1.0.0", tag},
            {{:semver, ">= 1.0.0", pre: true}, c2, "HEAD", "refs/tags/v1.1.0-rc.1", nested},
            {{:ref, "HEAD"}, c5, "HEAD", "HEAD", nil},
            {{:commit, c5}, c5, "HEAD", nil, nil},
            {"main", c5, "main", "refs/heads/main", nil}
          ] do
        before = if File.exists?(path), do: git!(path, ["rev-parse", "HEAD"])
        assert {:ok, update} = Git.update(url, ref, path, server: git)

        assert %Update{sha: ^commit, previous: ^before, ref: ^full, tag: ^tag} = update
        assert update.changed? == (before != commit)
        assert update.cloned? == (before == nil)
        assert_at(context, commit, head)
        # Nothing new.
        assert {:ok, %Update{sha: ^commit, changed?: false, bytes: 0}} =
                 Git.update(url, ref, path, server: git)

        assert_at(context, commit, head)
      end
    end

    test "a first clone of each, over #{kind}", context do
      [c1, c2, c3 | _] = context.commits
      url = Remotes.serve!(unquote(kind), context.dir).url.("origin.git")

      for {ref, commit} <- [
            {{:tag, "v1.0.0"}, c2},
            {{:tag, "light"}, c1},
            {{:ref, "refs/pull/7/head"}, c3},
            {:default, List.last(context.commits)},
            # Of no ref: where a server refuses ids, its history is gone through.
            {{:commit, hd(context.commits)}, c1}
          ],
          working_tree <- [true, false] do
        assert Git.sync(url, ref, context.path, server: context.git, working_tree: working_tree) ==
                 {:ok, commit}

        assert git!(context.path, ["rev-parse", "HEAD"]) == commit
        assert git!(context.path, ["fsck", "--no-dangling"]) == ""
        assert {:ok, ["app.yaml"]} = Git.files(context.path, nil, server: context.git)
        File.rm_rf!(context.path)
      end
    end
  end

  test "a commit that is there needs no remote", context do
    http = start_supervised!({HttpServer, root: context.dir})
    url = HttpServer.url(http, "origin.git")
    [c1 | _] = context.commits
    options = [server: context.git, depth: :infinity]
    assert {:ok, _sha} = Git.sync(url, "main", context.path, options)
    HttpServer.reset(http)

    assert {:ok, %Update{sha: ^c1, changed?: true, bytes: 0}} =
             Git.update(url, {:commit, c1}, context.path, options)

    assert {:ok, %Update{sha: ^c1, changed?: false}} =
             Git.update(url, {:commit, c1}, context.path, options)

    assert HttpServer.log(http) == []
  end

  test "a commit that is there and damaged is fetched again, with a new repository", context do
    [c1 | _] = context.commits
    url = Remotes.serve!(:v2, context.dir).url.("origin.git")
    options = [server: context.git, depth: :infinity]
    assert {:ok, _sha} = Git.sync(url, "main", context.path, options)
    [pack] = Path.wildcard(Path.join(context.path, ".git/objects/pack/*.pack"))
    moved = Path.join(context.dir, "moved.pack")
    File.rename!(pack, moved)
    File.rm!(String.replace_suffix(pack, ".pack", ".idx"))
    {_, 0} = System.cmd("sh", ["-c", "git unpack-objects -q < '#{moved}'"], cd: context.path)
    <<two::binary-2, rest::binary>> = git!(context.origin, ["rev-parse", "#{c1}:app.yaml"])
    File.rm!(Path.join([context.path, ".git/objects", two, rest]))

    assert {:ok, %Update{sha: ^c1, repaired?: true}} =
             Git.update(url, {:commit, c1}, context.path, options)

    assert_at(context, c1, "HEAD")
  end

  test "a commit that only history leads to, from a server that gives none by its id", context do
    commits = Repository.history!(context.origin, 200)
    http = start_supervised!({HttpServer, root: context.dir})
    HttpServer.rule(http, :no_v2)
    url = HttpServer.url(http, "origin.git")
    options = [server: context.git]
    # Where it is within the first depth, and where it is not.
    for commit <- [Enum.at(commits, -20), Enum.at(commits, 5)] do
      assert Git.sync(url, {:commit, commit}, context.path, options) == {:ok, commit}
      assert git!(context.path, ["rev-parse", "HEAD"]) == commit
      assert git!(context.path, ["fsck", "--no-dangling"]) == ""
    end

    assert {:ok, _sha} = Git.sync(url, "main", context.path, options)
    none = String.duplicate("ab", 20)

    assert {:error, %Error{reason: :ref_not_found, message: message}} =
             Git.sync(url, {:commit, none}, context.path, options)

    assert message =~ "does not give the commit #{none}"
    assert git!(context.path, ["rev-parse", "HEAD"]) == git!(context.origin, ["rev-parse", "main"])
  end

  test "what cannot be synced is refused, and what is there stays", context do
    %{origin: origin, git: git, path: path, dir: dir} = context
    git!(origin, ["tag", "-a", "-m", "a tree", "tree", "main^{tree}"])
    blob = git!(origin, ["rev-parse", "main:app.yaml"])
    git!(origin, ["tag", "blob", blob])
    main = git!(origin, ["rev-parse", "main"])

    for kind <- [:v2, :v0, :file] do
      url = Remotes.serve!(kind, dir).url.("origin.git")
      assert {:ok, ^main} = Git.sync(url, "main", path, server: git)

      for {ref, reason, says} <- [
            {{:tag, "tree"}, :unsupported, "only a commit"},
            {{:tag, "blob"}, :unsupported, "only a commit"},
            {{:tag, "v1.0.1"}, :ref_not_found, "v1.0.0"},
            {{:tag, "a b"}, :invalid, "not a valid name"},
            {{:ref, "main"}, :invalid, "not a full ref name"},
            {{:ref, "refs/none"}, :ref_not_found, "refs/none"},
            {{:commit, "abcdef1"}, :invalid, "full id"},
            {{:commit, String.duplicate("0", 40)}, :ref_not_found, "commit"},
            {{:semver, "~> 9.0"}, :ref_not_found, "~> 9.0"},
            {{:semver, "newest"}, :invalid, "Version"}
          ] do
        assert {:error, %Error{reason: ^reason, op: :update} = error} =
                 Git.update(url, ref, path, server: git)

        assert error.message =~ says
        assert_at(context, main, "main")
      end

      File.rm_rf!(path)
    end

    assert {:error, %Error{reason: :unsupported}} =
             Git.ls_remote("https://h/x", {:commit, main}, server: git)

    for ref <- [
          {:semver, "~> 1.0", prefix: 1},
          {:semver, "~> 1.0", [:x]},
          {:tag, 1},
          :head,
          {:semver, 1}
        ] do
      assert_raise ArgumentError, fn -> Git.sync("https://h/x", ref, path, server: git) end
    end
  end

  test "a default branch that changes is followed; one that is none is detached", context do
    %{origin: origin, git: git, path: path} = context
    [_, _, _, c4, c5] = context.commits
    url = Remotes.serve!(:v2, context.dir).url.("origin.git")
    assert {:ok, %Update{sha: ^c5}} = Git.update(url, :default, path, server: git)
    git!(origin, ["symbolic-ref", "HEAD", "refs/heads/other"])

    assert {:ok, %Update{sha: ^c4, changed?: true, ref: "refs/heads/other"}} =
             Git.update(url, :default, path, server: git)

    assert_at(context, c4, "other")
    File.write!(Path.join(origin, "HEAD"), c5 <> "\n")
    assert {:ok, %Update{sha: ^c5, ref: "HEAD"}} = Git.update(url, :default, path, server: git)
    assert_at(context, c5, "HEAD")
  end

  test "a default branch of a name that leads out of the repository is not made", context do
    %{git: git, path: path, dir: dir} = context
    [_, _, _, _, c5] = context.commits
    http = start_supervised!({HttpServer, root: dir})
    HttpServer.rule(http, :no_v2)
    url = HttpServer.url(http, "origin.git")

    for name <- ["../../../../../victim", "a\nb", "a..b", "x.lock", ""] do
      pkt = fn text ->
        [
          text |> byte_size() |> Kernel.+(4) |> Integer.to_string(16) |> String.pad_leading(4, "0"),
          text
        ]
      end

      capabilities = "shallow ofs-delta side-band-64k symref=HEAD:refs/heads/#{name}"

      list = [
        pkt.("# service=git-upload-pack\n"),
        "0000",
        pkt.("#{c5} HEAD\0#{capabilities}\n"),
        pkt.("#{c5} refs/heads/main\n"),
        "0000"
      ]

      headers = [{"content-type", "application/x-git-upload-pack-advertisement"}]

      rule =
        HttpServer.rule(http, {:status, 200, headers, IO.iodata_to_binary(list)}, on: :info_refs)

      File.write!(Path.join(dir, "victim"), "theirs")
      assert {:ok, ^c5} = Git.sync(url, "main", path, server: git)
      result = Git.update(url, :default, path, server: git)
      assert {name, File.read(Path.join(dir, "victim"))} == {name, {:ok, "theirs"}}
      assert {:ok, %Update{sha: ^c5}} = result
      assert_at(context, c5, "HEAD")
      File.rm_rf!(path)
      HttpServer.remove(http, rule)
    end
  end

  test "ten thousand tags are one round trip a poll", context do
    %{origin: origin, git: git, path: path} = context
    [c1 | _] = context.commits

    refs =
      for n <- 0..9_999 do
        "update refs/tags/v#{rem(n, 10)}.#{div(n, 10)}.0 #{Enum.at(context.commits, rem(n, 5))}\n"
      end

    File.write!(Path.join(context.dir, "refs.txt"), refs)
    {_, 0} = System.cmd("sh", ["-c", "git update-ref --stdin < ../refs.txt"], cd: origin)
    git!(origin, ["pack-refs", "--all"])
    http = start_supervised!({HttpServer, root: context.dir})
    url = HttpServer.url(http, "origin.git")
    # 5.999.0
    newest = Enum.at(context.commits, rem(9_995, 5))
    assert newest == c1

    assert {:ok, %Update{sha: ^newest, ref: "refs/tags/v5.999.0"}} =
             Git.update(url, {:semver, "~> 5.0"}, path, server: git)

    HttpServer.reset(http)

    assert {:ok, %Update{sha: ^newest, changed?: false}} =
             Git.update(url, {:semver, "~> 5.0"}, path, server: git)

    assert [request] = HttpServer.log(http)
    assert request.body =~ "ref-prefix refs/tags/v5."

    assert Git.ls_remote(url, {:semver, ">= 9.0.0"}, server: git) ==
             {:ok, Enum.at(context.commits, rem(9_999, 5))}
  end

  test "the last commits that were synced survive repacking, so many as asked for", context do
    %{origin: origin, git: git, path: path} = context
    url = Remotes.serve!(:v2, context.dir).url.("origin.git")
    options = [server: git, keep: 3]

    # One pack each, more than are let lie.
    synced =
      for n <- 1..55 do
        commit = Repository.commit!(origin, %{"app.yaml" => "again: #{n}\n"})
        assert Git.sync(url, "main", path, options) == {:ok, commit}
        commit
      end

    packs = Path.wildcard(Path.join(path, ".git/objects/pack/*.pack"))
    assert length(packs) < 20
    [last, one, two | older] = Enum.reverse(synced)

    for commit <- [last, one, two] do
      assert git!(path, ["cat-file", "-t", commit]) == "commit"
      assert git!(path, ["ls-tree", "-r", commit]) == git!(origin, ["ls-tree", "-r", commit])
    end

    assert {_, 128} =
             System.cmd("git", ["cat-file", "-t", List.last(older)],
               cd: path,
               stderr_to_stdout: true
             )

    assert git!(path, ["fsck", "--no-dangling"]) == ""
    assert_at(context, last, "main")
  end

  test "an annotated tag's own object stays through repacking", context do
    %{origin: origin, git: git, path: path} = context
    url = Remotes.serve!(:v2, context.dir).url.("origin.git")

    for n <- 1..52 do
      commit = Repository.commit!(origin, %{"app.yaml" => "again: #{n}\n"})
      git!(origin, ["tag", "-f", "-a", "-m", "#{n}", "moving", commit])
      tag = git!(origin, ["rev-parse", "moving"])

      assert {:ok, %Update{sha: ^commit, tag: ^tag}} =
               Git.update(url, {:tag, "moving"}, path, server: git)
    end

    tag = git!(origin, ["rev-parse", "moving"])
    assert git!(path, ["cat-file", "-p", tag]) == git!(origin, ["cat-file", "-p", tag])
    assert git!(path, ["fsck", "--no-dangling"]) == ""
  end
end
