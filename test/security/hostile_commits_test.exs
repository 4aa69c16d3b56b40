defmodule Alumiini.Git.HostileCommitsTest do
  # What a commit of a remote repository can make a sync write: trees that no git client makes, and
  # links that lead out.
  use Alumiini.Git.Test.HttpCase, async: true

  @evil "#!/bin/sh\necho written by the remote\n"

  @moduletag git_config: [{"core.maxTreeDepth", "100000"}]

  setup [:dir, :origin, :http, :git, :outside]

  defp outside(context) do
    outside = Path.join(context.dir, "outside")
    File.mkdir_p!(outside)
    File.write!(Path.join(outside, "kept"), "kept")
    %{outside: outside, options: [server: context.git], urls: [context.url, context.origin]}
  end

  # Everything below a directory: what kind each name is, and what it holds.
  defp contents(dir) do
    for path <- Path.wildcard(dir <> "/**", match_dot: true), into: %{} do
      case File.lstat!(path).type do
        :regular -> {path, File.read!(path)}
        :symlink -> {path, {:link, File.read_link!(path)}}
        type -> {path, type}
      end
    end
  end

  # The parts of a repository that would be run or believed.
  defp believed(repo) do
    for name <- ["config", "info", "hooks"],
        {path, content} <-
          Enum.concat(contents(Path.join([repo, ".git", name])), git_file(repo, name)),
        into: %{},
        do: {Path.relative_to(path, repo), content}
  end

  defp git_file(repo, name) do
    path = Path.join([repo, ".git", name])
    if File.regular?(path), do: [{path, File.read!(path)}], else: []
  end

  defp tree!(origin, entries) do
    bytes =
      for {mode, name, content} <- entries do
        id =
          if match?({:id, _}, content),
            do: elem(content, 1),
            else: Repository.hash!(origin, "blob", content)

        [mode, " ", name, 0, Base.decode16!(id, case: :lower)]
      end

    {:id, Repository.hash!(origin, "tree", bytes)}
  end

  # Syncs a commit with this tree, fresh and on top of a harmless one, by each way to get at the
  # remote. Whatever the answer, nothing but the working tree may change. Answers what came back.
  defp sync_all(context, name, entries) do
    %{origin: origin, outside: outside, dir: dir, urls: urls, options: options} = context

    branch = "b#{System.unique_integer([:positive])}"

    good =
      Repository.commit!(origin, %{"good.yaml" => "good", "x/inner" => "inner"}, branch: branch)

    before = contents(outside)
    hostile = Repository.commit_raw_tree!(origin, branch, entries)

    [http, local] = urls

    answers =
      for {url, existing?} <- [{http, false}, {http, true}, {local, true}] do
        repo = Path.join([dir, "repos", "#{branch}-#{url == http}-#{existing?}"])

        if existing? do
          Repository.move_branch!(origin, branch, good)
          assert {:ok, ^good} = Git.sync(url, branch, repo, options)
          Repository.move_branch!(origin, branch, hostile)
        end

        answer = Git.sync(url, branch, repo, options)
        note = "#{name}, #{url}, #{inspect(answer)}"

        assert contents(outside) == before, note
        refute File.exists?(Path.join(dir, "repos/escaped")), note
        refute File.exists?(Path.join(dir, "escaped")), note
        believed = believed(repo)

        # And it is usable afterwards.
        Repository.move_branch!(origin, branch, good)
        assert {:ok, ^good} = Git.sync(url, branch, repo, options), note
        if believed != %{}, do: assert(believed(repo) == believed, note)
        assert :ok = Oracle.assert_tree_equals(repo, origin, good)

        # Warnings are about what was accepted. libgit2's local transport copies objects as they
        # are.
        if url == http, do: assert({_, 0} = GitCommand.run(["fsck", "--strict"], cd: repo), note)
        Repository.move_branch!(origin, branch, hostile)
        answer
      end

    # libgit2's local transport brings all branches, whatever is asked for.
    Repository.delete_branch!(origin, branch)
    answers
  end

  test "names that no working tree may have are refused, and nothing is written", context do
    %{origin: origin} = context
    config = {"100644", "config", "[core]\n\thooksPath = hooks\n\tfsmonitor = ./hooks/x\n"}
    hooks = tree!(origin, [{"100755", "post-checkout", @evil}])
    git = tree!(origin, [config, {"40000", "hooks", hooks}])
    escaped = tree!(origin, [{"100644", "escaped", @evil}])
    twice = tree!(origin, [{"40000", "..", escaped}])

    for {name, entries} <- [
          {".git, a directory", [{"40000", ".git", git}]},
          {".git, a file", [{"100644", ".git", "gitdir: ../outside\n"}]},
          {".git, a link", [{"120000", ".git", "../outside"}]},
          {".git, a submodule", [{"160000", ".git", {:id, String.duplicate("1", 40)}}]},
          {".GIT", [{"40000", ".GIT", git}]},
          {".Git, a file", [{"100644", ".Git", @evil}]},
          {".git below", [{"40000", "deep", tree!(origin, [{"40000", ".git", git}])}]},
          {"..", [{"40000", "..", escaped}]},
          {"../..", [{"40000", "..", twice}]},
          {".. below", [{"40000", "deep", tree!(origin, [{"40000", "..", escaped}])}]},
          {".", [{"40000", ".", git}]},
          {". with .git in it", [{"40000", ".", tree!(origin, [{"40000", ".git", git}])}]},
          {"a name with a slash", [{"100644", "../escaped", @evil}]},
          {"a name into .git", [{"100755", ".git/hooks/post-checkout", @evil}]},
          {"a name from the top", [{"100644", "/tmp/escaped", @evil}]},
          {"no name", [{"100644", "", @evil}]},
          {"no name, a directory", [{"40000", "", escaped}]}
        ] do
      for answer <- sync_all(context, name, entries) do
        assert {:error, %Error{reason: reason} = error} = answer, name
        # Git's own server does not send what has no name.
        allowed =
          if name =~ "no name", do: [:corrupt, :protocol, :unsafe_path], else: [:unsafe_path]

        assert reason in allowed, "#{name}: #{inspect(error)}"
      end
    end
  end

  test "names that mean .git on other systems do no harm here", context do
    git = tree!(context.origin, [{"100644", "config", @evil}])

    for name <- [
          "git~1",
          ".git ",
          ".git.",
          ".g\u200Cit",
          ".git::$INDEX_ALLOCATION",
          ".git\\config",
          "..\\escaped"
        ] do
      sync_all(context, name, [{"40000", name, git}])
    end
  end

  test "one name given twice writes nothing through a link", context do
    %{origin: origin, outside: outside} = context

    below =
      tree!(origin, [
        {"100644", "kept", @evil},
        {"100644", "new", @evil},
        {"100644", "config", @evil}
      ])

    for target <- [outside, ".git"] do
      link = {"120000", "x", target}
      sync_all(context, "a link #{target}, then a directory", [link, {"40000", "x", below}])
      sync_all(context, "a directory, then a link #{target}", [{"40000", "x", below}, link])
      sync_all(context, "a link #{target}, then a file", [link, {"100644", "x", @evil}])
    end

    sync_all(context, "the same file twice", [{"100644", "x", "one"}, {"100644", "x", "two"}])
  end

  test "entries that are not what their mode says are refused or harmless", context do
    %{origin: origin} = context
    directory = tree!(origin, [{"100644", "kept", @evil}])
    blob = {:id, Repository.hash!(origin, "blob", @evil)}

    for {name, entries} <- [
          {"a file that is a tree", [{"100644", "x", directory}]},
          {"a link that is a tree", [{"120000", "x", directory}]},
          {"a directory that is a blob", [{"40000", "x", blob}]},
          # Without the zero that Git's fsck calls an error: it makes a submodule of it.
          {"an unknown kind", [{"60000", "x", blob}]},
          {"setuid for everyone", [{"104777", "x", blob}]},
          {"an object that is nowhere", [{"100644", "x", {:id, String.duplicate("2", 40)}}]},
          {"an empty link", [{"120000", "x", ""}]},
          {"a link with a NUL", [{"120000", "x", "a\0b"}]},
          {"a link that is far too long", [{"120000", "x", String.duplicate("a", 10_000)}]},
          {"a name that is far too long", [{"100644", String.duplicate("n", 300), @evil}]}
        ] do
      sync_all(context, name, entries)
    end
  end

  test "links are written as links, wherever they lead, and not followed", context do
    %{origin: origin, outside: outside, dir: dir, urls: [url | _], options: options} = context

    repo = Path.join(dir, "repos/links")

    links = %{
      "absolute.yaml" => {:symlink, Path.join(outside, "kept")},
      "up.yaml" => {:symlink, "../../outside/kept"},
      "config.yaml" => {:symlink, ".git/config"},
      "git" => {:symlink, ".git"},
      "out" => {:symlink, "../../outside"},
      "loop.yaml" => {:symlink, "loop.yaml"},
      "passwd.yaml" => {:symlink, "/etc/passwd"},
      "good.yaml" => "good"
    }

    commit = Repository.commit!(origin, links)
    assert Git.sync(url, "main", repo, options) == {:ok, commit}
    Oracle.assert_synced(repo, origin, commit)
    assert Git.files(repo, nil, options) == {:ok, ["good.yaml"]}

    for name <- Map.keys(links) -- ["good.yaml", "git", "out"] do
      assert {:error, %Error{reason: :unsafe_path}} = Git.read(repo, name, options)
    end

    for name <- ["out/kept", "git/config"] do
      assert {:error, %Error{reason: :unsafe_path}} = Git.read(repo, name, options)
    end

    # Each link becomes a directory with files in it, and a link again.
    through = for {name, {:symlink, _}} <- links, into: %{}, do: {name <> "/kept", @evil}
    deleted = for {name, {:symlink, _}} <- links, into: %{}, do: {name, :delete}
    before = contents(outside)
    second = Repository.commit!(origin, Map.to_list(deleted) ++ Map.to_list(through))
    assert Git.sync(url, "main", repo, options) == {:ok, second}
    Oracle.assert_synced(repo, origin, second)
    Repository.move_branch!(origin, "main", commit)
    assert Git.sync(url, "main", repo, options) == {:ok, commit}
    Oracle.assert_synced(repo, origin, commit)
    assert contents(outside) == before
  end

  test "links that somebody put into the working tree are replaced, not written through", context do
    %{origin: origin, outside: outside, dir: dir, urls: [url | _], options: options} = context

    repo = Path.join(dir, "repos/planted")
    files = %{"deploy/kept" => "one", "deploy/sub/new" => "one", "top" => "one"}
    first = Repository.commit!(origin, files)
    assert Git.sync(url, "main", repo, options) == {:ok, first}
    before = contents(outside)

    for names <- [["deploy"], ["deploy/sub"], ["top"], ["deploy/kept", "deploy/sub/new"]] do
      for name <- names do
        File.rm_rf!(Path.join(repo, name))
        File.ln_s!(outside, Path.join(repo, name))
      end

      # Also one that nobody asked for: what it leads to is not removed with it.
      File.ln_s!(outside, Path.join(repo, "untracked"))
      assert Git.sync(url, "main", repo, options) == {:ok, first}
      Oracle.assert_synced(repo, origin, first)
      assert contents(outside) == before
    end
  end

  test "a tree that is nested without end does not end the worker", context do
    %{origin: origin, dir: dir, options: options, urls: urls} = context
    {:id, leaf} = tree!(origin, [{"100644", "leaf", @evil}])
    deep = nested!(origin, leaf, 2_000)
    commit = GitCommand.run!(["commit-tree", "-m", "deep", deep], cd: origin) |> String.trim()
    GitCommand.run!(["update-ref", "refs/heads/deep", commit], cd: origin)
    workers = Alumiini.Git.Server.info(options[:server]).attempts

    for {url, n} <- Enum.with_index(urls) do
      repo = Path.join([dir, "repos", "deep-#{n}"])
      assert {:error, %Error{reason: reason}} = Git.sync(url, "deep", repo, options)
      assert reason in [:too_large, :unsafe_path], inspect(reason)
    end

    assert Alumiini.Git.Server.info(options[:server]).attempts == workers
  end

  # 65 MiB of nothing are 65 KiB in a pack. The tests' worker takes files up to 64 MiB, a release up
  # to 512.
  test "a small pack that unfolds to a huge file is refused, and what was there stays", context do
    %{origin: origin, dir: dir, options: options, urls: [url | _local]} = context
    before = Repository.commit!(origin, %{"app.yaml" => "app: 1\n"})
    repo = Path.join(dir, "repos/huge")
    assert {:ok, ^before} = Git.sync(url, "main", repo, options)
    Repository.commit!(origin, %{"zeros.bin" => :binary.copy(<<0>>, 65 * 1024 * 1024)})

    assert {:error, %Error{reason: :too_large, retryable?: false} = error} =
             Git.sync(url, "main", repo, options)

    assert error.message =~ "an object of 68157440 bytes"
    assert error.detail.limit == 64 * 1024 * 1024
    Oracle.assert_synced(repo, origin, before)
  end

  # Directories within directories, made as loose objects, since each id depends on the one before.
  defp nested!(_origin, id, 0), do: id

  defp nested!(origin, id, levels) do
    body = ["40000 d", 0, Base.decode16!(id, case: :lower)]
    object = IO.iodata_to_binary(["tree ", Integer.to_string(IO.iodata_length(body)), 0, body])
    id = :crypto.hash(:sha, object) |> Base.encode16(case: :lower)
    path = Path.join([origin, "objects", binary_part(id, 0, 2), binary_part(id, 2, 38)])
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, :zlib.compress(object))
    nested!(origin, id, levels - 1)
  end
end
