defmodule Alumiini.Git.PartialTest do
  # Syncs of some paths of a repository: what is fetched, what is checked out, and what Git makes of
  # it.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Update
  alias Alumiini.Git.Test.{RandomHistory, Relay, Remotes}

  setup [:dir, :origin, :git]

  @no_filter [{"uploadpack.allowFilter", "false"}]
  # In v0 nobody could ask for what is left out then.
  @no_wants [{"uploadpack.allowAnySHA1InWant", "false"}]

  @files %{
    "README" => "top\n",
    "deploy/app.yaml" => "app: 1\n",
    "deploy/base/run.sh" => {:executable, "#!/bin/sh\n"},
    "deploy/link" => {:symlink, "app.yaml"},
    "charts/app/values.yaml" => "values: 1\n",
    "charts/other/values.yaml" => "other: 1\n",
    "src/main.c" => "int main;\n"
  }

  defp serve!(context, kind, config \\ []),
    do: Remotes.serve!(kind, context.dir, config: config).url.("origin.git")

  defp git!(cd, arguments), do: arguments |> GitCommand.run!(cd: cd) |> String.trim()

  defp assert_part(path, origin, commit, paths) do
    Oracle.assert_synced(path, origin, commit, paths)
  end

  # The ids of files that a repository has, without asking its remote for any.
  defp blobs(path) do
    all = git!(path, ["cat-file", "--batch-all-objects", "--batch-check"])
    for line <- String.split(all, "\n"), [id, "blob", _size] <- [String.split(line)], do: id
  end

  for {kind, config} <- [
        v2: [],
        v0: [],
        v2: @no_filter,
        v0: @no_wants,
        v2: @no_wants,
        file: []
      ] do
    describe "over #{kind} with #{inspect(config)}" do
      @tag timeout: 300_000
      test "100 random pushes", %{origin: origin, git: git, path: path} = context do
        url = serve!(context, unquote(kind), unquote(Macro.escape(config)))
        paths = ["deploy/base", "docs", "app.yaml"]
        history = RandomHistory.new(origin, 20_261_128)

        Enum.reduce(1..100, {history, nil}, fn _n, {history, before} ->
          {_step, history} = RandomHistory.step(history)
          commit = Repository.rev_parse(origin, "refs/heads/main")

          if commit in [nil, before] do
            {history, before}
          else
            assert {:ok, update} = Git.update(url, "main", path, server: git, paths: paths)
            assert update.sha == commit
            assert update.changed? == (part(origin, commit, paths) != part(origin, before, paths))
            assert_part(path, origin, commit, paths)
            {history, commit}
          end
        end)

        filters? = {unquote(kind), unquote(Macro.escape(config))} in [v2: [], v0: [], v2: @no_wants]
        assert File.read!(file(context, ".git/config")) =~ "partialclone" == filters?
      end
    end
  end

  defp part(_origin, nil, _paths), do: nil
  defp part(origin, commit, paths), do: Oracle.ls_tree(origin, commit, paths)

  describe "what is fetched" do
    test "is what is at the paths, and nothing else", %{origin: origin, path: path} = context do
      commit = Repository.commit!(origin, @files)
      url = serve!(context, :v2)
      paths = ["deploy/", "charts/app"]
      assert {:ok, ^commit} = sync(context, url: url, paths: paths)
      assert_part(path, origin, commit, paths)
      wanted = for entry <- Oracle.ls_tree(origin, commit, paths), do: entry.oid
      assert Enum.sort(blobs(path)) == wanted |> Enum.uniq() |> Enum.sort()
      # Git knows it as a partial, sparse clone.
      assert git!(path, ["config", "extensions.partialclone"]) == "origin"
      assert git!(path, ["config", "core.sparsecheckout"]) == "true"
      assert git!(path, ["sparse-checkout", "list"]) == "/charts/app\n/deploy"
      assert git!(path, ["ls-files", "-t", "src", "README"]) == "S README\nS src/main.c"
    end

    test "takes two requests, and none for files where none changed", context do
      %{origin: origin, path: path, git: git} = context
      first = Repository.commit!(origin, @files)
      http = start_supervised!({HttpServer, root: context.dir})
      url = HttpServer.url(http, "origin.git")

      assert {:ok, %Update{sha: ^first}} =
               Git.update(url, "main", path, server: git, paths: "deploy")

      second = Repository.commit!(origin, %{"src/main.c" => "int other;\n"})
      before = length(HttpServer.log(http))
      assert {:ok, update} = Git.update(url, "main", path, server: git, paths: ["deploy"])
      assert %Update{sha: ^second, previous: ^first, changed?: false} = update
      # What the branch is at, and commit and trees.
      assert length(HttpServer.log(http)) - before == 2
      assert_part(path, origin, second, ["deploy"])

      third = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})
      before = length(HttpServer.log(http))
      assert {:ok, update} = Git.update(url, "main", path, server: git, paths: ["deploy"])
      assert %Update{sha: ^third, previous: ^second, changed?: true} = update
      assert length(HttpServer.log(http)) - before == 3
      assert_part(path, origin, third, ["deploy"])

      before = length(HttpServer.log(http))

      assert {:ok, %Update{changed?: false, bytes: 0}} =
               Git.update(url, "main", path, server: git, paths: ["deploy/"])

      assert length(HttpServer.log(http)) - before == 1
    end

    test "costs what changed at the paths", %{origin: origin, path: path, git: git} = context do
      noise = fn -> 20_000 |> :crypto.strong_rand_bytes() |> Base.encode16() end
      teams = for n <- 1..30, do: "team-#{n}"
      files = for team <- teams, n <- 1..3, into: %{}, do: {"#{team}/#{n}.yaml", noise.()}
      first = Repository.commit!(origin, files)
      http = start_supervised!({HttpServer, root: context.dir})
      relay = start_supervised!({Relay, to: HttpServer.port(http)})
      url = "http://127.0.0.1:#{Relay.port(relay)}/origin.git"
      assert {:ok, ^first} = sync(context, url: url, paths: ["team-7"])

      commits =
        for n <- 1..20 do
          files = for team <- Enum.take_random(teams, 3), do: {"#{team}/1.yaml", noise.()}
          mine = if rem(n, 4) == 0, do: [{"team-7/2.yaml", noise.()}], else: []
          Repository.commit!(origin, Map.new(files ++ mine))
        end

      {_last, allowed} =
        Enum.reduce([first | commits], {nil, 0}, fn commit, {before, allowed} ->
          :ok = Repository.move_branch!(origin, "main", commit)
          {:ok, _update} = Git.update(url, "main", path, server: git, paths: ["team-7"])
          assert_part(path, origin, commit, ["team-7"])

          {commit,
           allowed + 3 * (bytes(origin, before, commit, ["team-7"]) + trees(origin, commit))}
        end)

      assert Relay.stats(relay).down < allowed
    end

    defp bytes(origin, before, commit, paths) do
      known = if before, do: Oracle.ls_tree(origin, before, paths), else: []
      new = Oracle.ls_tree(origin, commit, paths) -- known
      new |> Enum.map(&size(origin, &1.oid)) |> Enum.sum()
    end

    defp trees(origin, commit) do
      listed = git!(origin, ["ls-tree", "-r", "-d", "-t", "--format=%(objectname)", commit])
      root = git!(origin, ["rev-parse", commit <> "^{tree}"])
      [root | String.split(listed)] |> Enum.map(&size(origin, &1)) |> Enum.sum()
    end

    defp size(origin, id),
      do: origin |> git!(["cat-file", "-s", id]) |> String.to_integer()
  end

  describe "paths that change" do
    setup context do
      commit = Repository.commit!(context.origin, @files)
      %{commit: commit, url: serve!(context, :v2)}
    end

    test "are widened and narrowed in place", %{origin: origin, path: path} = context do
      commit = context.commit

      for paths <- [
            ["deploy"],
            ["deploy", "charts"],
            ["charts/app", "README"],
            ["src/main.c"],
            ["nothing/there"],
            ["deploy/base", "src"]
          ] do
        assert {:ok, ^commit} = sync(context, paths: paths)
        assert_part(path, origin, commit, paths)
        assert {:ok, ^commit} = sync(context, paths: paths)
        assert_part(path, origin, commit, paths)
      end
    end

    test "to all and back", %{origin: origin, path: path, commit: commit} = context do
      assert {:ok, ^commit} = sync(context, paths: ["deploy"])
      assert {:ok, ^commit} = sync(context)
      Oracle.assert_synced(path, origin, commit)
      assert {"", 1} = GitCommand.run(["config", "core.sparsecheckout"], cd: path)
      assert {:ok, ^commit} = sync(context, paths: ["charts"])
      assert_part(path, origin, commit, ["charts"])
      second = Repository.commit!(origin, %{"charts/new" => "new\n", "deploy/new" => "new\n"})
      assert {:ok, ^second} = sync(context, paths: ["charts"])
      assert_part(path, origin, second, ["charts"])
      assert {:ok, ^second} = sync(context, paths: ["."])
      Oracle.assert_synced(path, origin, second)
    end

    test "with rules for what is left out", %{origin: origin, path: path} = context do
      files = %{"deploy/logo.png" => "a picture", "deploy/cache/a" => "a", "deploy/keep.png" => "b"}
      commit = Repository.commit!(origin, files)
      rules = "# pictures\n*.png\n!keep.png\ncache/\n"
      assert {:ok, ^commit} = sync(context, paths: ["deploy"], ignore: rules)

      assert {:ok, names} = Git.files(path, nil, recursive: true, match: "*", server: context.git)

      assert names ==
               ~w(deploy/app.yaml deploy/base/run.sh deploy/keep.png deploy/link)

      assert git!(path, ["status", "--porcelain"]) == ""
      missing = Oracle.ls_tree(origin, commit, ["deploy/logo.png", "deploy/cache"])
      assert for(%{oid: oid} <- missing, oid in blobs(path), do: oid) == []
      # Without paths, too.
      assert {:ok, ^commit} = sync(context, ignore: ["*.png"])
      refute File.exists?(file(context, "deploy/keep.png"))
      assert File.read!(file(context, "src/main.c")) == "int main;\n"
      assert git!(path, ["status", "--porcelain"]) == ""
    end
  end

  describe "what is not among the paths" do
    setup context do
      commit = Repository.commit!(context.origin, @files)
      %{commit: commit, url: serve!(context, :v2)}
    end

    for working_tree <- [true, false] do
      test "is refused by reads, working_tree: #{working_tree}", context do
        %{path: path, git: git, commit: commit} = context
        options = [paths: ["deploy", "charts/app"], working_tree: unquote(working_tree)]
        assert {:ok, ^commit} = sync(context, options)

        assert {:ok, "app: 1\n"} = Git.read(path, "deploy/app.yaml", server: git)
        assert {:ok, "app: 1\n"} = Git.read(path, "deploy/app.yaml", server: git, at: commit)
        assert {:ok, ["app.yaml"]} = Git.files(path, "deploy", server: git)
        assert {:ok, ["values.yaml"]} = Git.files(path, "charts/app", server: git)
        assert {:ok, []} = Git.files(path, "charts", server: git)
        assert {:ok, snapshot} = Git.snapshot(path, nil, server: git)

        assert Enum.map(snapshot.files, & &1.path) ==
                 ~w(charts/app/values.yaml deploy/app.yaml deploy/base/run.sh deploy/link)

        refusals = [
          Git.read(path, "src/main.c", server: git),
          Git.read(path, "src/main.c", server: git, at: commit),
          Git.read(path, "README", server: git),
          Git.files(path, "src", server: git),
          Git.files(path, "charts/other", server: git, at: "HEAD"),
          Git.snapshot(path, "src", server: git),
          Git.export(path, Path.join(context.dir, "out"), subpath: "src", server: git)
        ]

        for refusal <- refusals do
          assert {:error, %Error{reason: :path_not_found, message: message}} = refusal
          assert message =~ "not among the paths"
          assert message =~ "charts/app, deploy"
        end

        # What is nowhere is that.
        assert {:error, %Error{reason: :path_not_found, message: message}} =
                 Git.read(path, "deploy/none.yaml", server: git)

        refute message =~ "not among"

        out = Path.join(context.dir, "out")
        assert {:ok, _export} = Git.export(path, out, server: git)
        assert Oracle.differences(out, context.origin, commit, options[:paths]) == []
      end
    end

    test "of a commit before that was not synced with them", context do
      %{origin: origin, path: path, git: git, commit: first} = context
      assert {:ok, ^first} = sync(context, paths: ["deploy"], depth: 2)
      second = Repository.commit!(origin, %{"src/main.c" => "int two;\n"})
      assert {:ok, ^second} = sync(context, paths: ["src"], depth: 2)
      assert {:ok, "int two;\n"} = Git.read(path, "src/main.c", server: git)

      assert {:error, %Error{reason: :path_not_found, message: message}} =
               Git.read(path, "src/main.c", server: git, at: first)

      assert message =~ "was not fetched"

      assert {:error, %Error{reason: :path_not_found}} = Git.checkout(path, first, server: git)
      assert_part(path, origin, second, ["src"])
      # Nothing was taken for damage.
      assert {:ok, %Update{repaired?: false, changed?: false}} =
               Git.update(context.url, "main", path, server: git, paths: ["src"], depth: 2)

      assert {:ok, changes} = Git.diff(path, first, second, server: git, renames: true)
      assert [%{status: :modified, path: "src/main.c"}] = changes
    end
  end

  test "what somebody does to the working tree is put right", context do
    %{origin: origin, path: path} = context
    commit = Repository.commit!(origin, @files)
    context = Map.put(context, :url, serve!(context, :v2))
    paths = ["deploy"]
    assert {:ok, ^commit} = sync(context, paths: paths)

    for harm <- [
          fn -> File.rm!(file(context, "deploy/app.yaml")) end,
          fn -> File.mkdir_p!(file(context, "src")) end,
          fn -> File.write!(file(context, "README"), "mine") end,
          fn -> git!(path, ["update-index", "--no-skip-worktree", "README"]) end,
          fn -> git!(path, ["update-index", "--skip-worktree", "deploy/app.yaml"]) end,
          fn -> File.rm!(file(context, ".git/index")) end,
          fn -> git!(path, ["sparse-checkout", "disable"]) end,
          fn -> File.rm!(file(context, ".git/alumiini-paths")) end
        ] do
      # Some of these ask the remote, as they are to be able to.
      harm.()
      assert {:ok, ^commit} = sync(context, paths: paths)
      assert_part(path, origin, commit, paths)
    end

    File.write!(file(context, "deploy/app.yaml"), "mine")
    assert {:ok, [%{path: "deploy/app.yaml"}]} = Git.status(path, server: context.git)
    assert {:ok, ^commit} = sync(context, paths: paths)
    assert {:ok, []} = Git.status(path, server: context.git)
  end

  test "a repository that was not made here keeps all of its files", context do
    %{origin: origin} = context
    Repository.commit!(origin, @files)
    :ok = cloned(context)

    assert {:error, %Error{reason: :unsupported, message: message}} =
             sync(context, paths: ["deploy"])

    assert message =~ "without `paths`"
  end

  test "packs are put together without what is left out", %{origin: origin, path: path} = context do
    Repository.commit!(origin, @files)
    context = Map.put(context, :url, serve!(context, :v2))
    paths = ["deploy"]

    for n <- 1..60 do
      commit =
        Repository.commit!(origin, %{"deploy/app.yaml" => "app: #{n}\n", "src/#{n}" => "#{n}"})

      assert {:ok, ^commit} = sync(context, paths: paths)
    end

    packs = Path.wildcard(Path.join(path, ".git/objects/pack/*.pack"))
    assert length(packs) < 60
    assert_part(path, origin, Repository.rev_parse!(origin, "main"), paths)
  end

  test "paths that lead out, and too many, are refused", context do
    Repository.commit!(context.origin, @files)

    for paths <- [["../x"], ["/etc"], ["a\0b"]] do
      assert {:error, %Error{reason: :unsafe_path}} = sync(context, paths: paths)
    end

    assert {:error, %Error{reason: :invalid}} =
             sync(context, paths: for(n <- 1..200, do: String.duplicate("#{n}", 200)))

    assert_raise ArgumentError, ~r/:paths/, fn -> sync(context, paths: [1]) end
  end
end
