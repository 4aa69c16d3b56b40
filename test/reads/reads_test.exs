defmodule Alumiini.Git.ReadsTest do
  # What each read says of a commit in which there is everything, and of what is not there; with a
  # working tree and without.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.{Change, Snapshot, Status}

  alias Alumiini.Git.Test.{OddFiles, ReadOracle, TangledHistory}

  @module "0123456789abcdef0123456789abcdef01234567"

  defp files do
    Map.merge(OddFiles.all(), %{
      "deploy/app.yaml" => "kind: Deployment\n",
      "deploy/app.test.yaml" => "kind: Test\n",
      "deploy/base/service.yml" => "kind: Service\n",
      "deploy/base/values.json" => "{}\n",
      "deploy/.hidden.yaml" => "hidden: true\n",
      "deploy/link.yaml" => {:symlink, "app.yaml"},
      "deploy/broken.yaml" => {:symlink, "nowhere.yaml"},
      "deploy/out.yaml" => {:symlink, "../../../../etc/passwd"},
      "deploy/absolute.yaml" => {:symlink, "/etc/passwd"},
      "deploy/loop.yaml" => {:symlink, "loop.yaml"},
      "run.sh" => {:executable, "#!/bin/sh\n"},
      "module" => {:submodule, @module},
      "large.bin" => TangledHistory.lfs_pointer("large", 5_000_000_000),
      "latin1-\xfc.yaml" => "name: odd\n",
      "moved.txt" => Enum.map_join(1..50, &"line #{&1}\n"),
      "replaced" => "a file\n"
    })
  end

  setup [:dir, :origin, :commits, :git]

  setup context do
    %{server: [server: context.git]}
  end

  defp commits(%{origin: origin}) do
    first = Repository.commit!(origin, files(), message: "First\n")
    Repository.tag!(origin, "v1.0.0", first, message: "One\n")
    Repository.tag!(origin, "light", first)

    second =
      Repository.commit!(
        origin,
        %{
          "deploy/app.yaml" => "kind: Deployment\nreplicas: 2\n",
          "deploy/new.yaml" => "kind: ConfigMap\n",
          "deploy/base/service.yml" => :delete,
          "moved.txt" => :delete,
          "deploy/here.txt" => Enum.map_join(1..50, &"line #{&1}\n") <> "line 51\n",
          "replaced" => {:symlink, "run.sh"},
          "run.sh" => "#!/bin/sh\n"
        },
        message: "Second\n"
      )

    # Nothing changes in the last one.
    third = Repository.commit!(origin, %{}, message: "Third\n")
    %{first: first, second: second, third: third}
  end

  defp sync!(context, options) do
    options = [depth: :infinity] ++ options ++ context.server
    assert {:ok, _sha} = Git.sync(context.origin, "main", context.path, options)
  end

  defp paths({:ok, %Snapshot{files: files}}), do: Enum.map(files, & &1.path)

  for working_tree <- [true, false] do
    describe "working_tree: #{working_tree}" do
      setup context do
        sync!(context, working_tree: unquote(working_tree))
        :ok
      end

      test "a snapshot holds all, as it is committed", context do
        %{path: path, origin: origin, server: server, first: first, third: third} = context

        for {at, commit} <- [
              {[], third},
              {[at: "HEAD"], third},
              {[at: "main"], third},
              {[at: "HEAD~2"], first},
              {[at: "refs/remotes/origin/main"], third},
              {[at: first], first},
              {[at: binary_part(first, 0, 12)], first}
            ] do
          assert {:ok, snapshot} = Git.snapshot(path, at ++ server)
          expected = ReadOracle.snapshot(origin, commit)
          assert {at, snapshot.commit, snapshot.tree} == {at, expected.commit, expected.tree}
          assert Enum.map(snapshot.files, &%{&1 | lfs: nil}) == expected.files
        end

        assert {:ok, %{files: files}} = Git.snapshot(path, [at: first] ++ server)
        files = Map.new(files, &{&1.path, &1})
        assert %{mode: 0o100755, content: "#!/bin/sh\n"} = files["run.sh"]
        assert %{mode: 0o120000, content: "nowhere.yaml"} = files["deploy/broken.yaml"]
        assert %{content: "../../../../etc/passwd"} = files["deploy/out.yaml"]
        assert %{mode: 0o160000, oid: @module, size: nil, content: nil} = files["module"]
        assert %{content: "name: odd\n", lfs: nil} = files["latin1-\xfc.yaml"]
        oid = TangledHistory.lfs_oid("large")
        assert files["large.bin"].lfs == %{oid: oid, size: 5_000_000_000}
        # git-lfs would take it for no pointer.
        assert files["pointer.lfs"].lfs == nil
      end

      test "a snapshot of a part", context do
        %{path: path, server: server, first: first} = context
        all = paths(Git.snapshot(path, [at: first] ++ server))
        take = &paths(Git.snapshot(path, &1, [at: first] ++ &2 ++ server))
        deploy = Enum.filter(all, &String.starts_with?(&1, "deploy/"))

        for subpath <- ["deploy", "deploy/", "./deploy"], do: assert(take.(subpath, []) == deploy)
        assert take.("deploy/base", []) == ["deploy/base/service.yml", "deploy/base/values.json"]
        assert take.("module", []) == []

        for {options, expected} <- [
              {[match: "*.json"], ["deploy/base/values.json"]},
              {[match: "/run.sh"], ["run.sh"]},
              {[match: "/deploy/*.yml"], []},
              {[match: "/deploy/**/*.yml"], ["deploy/base/service.yml"]},
              {[match: "base/"], ["deploy/base/service.yml", "deploy/base/values.json"]},
              {[match: ["/deploy/app*.yaml", "!*.test.yaml"]], ["deploy/app.yaml"]},
              {[match: "/deploy/app*", ignore: ["*.test.yaml"]], ["deploy/app.yaml"]},
              {[match: "/deploy/base/*", ignore: "# json\r\n*.json\n"],
               ["deploy/base/service.yml"]},
              {[match: "/deploy/app.yaml", ignore: "/deploy/"], []},
              {[match: "nothing"], []},
              {[match: "latin1-*.yaml"], Enum.filter(all, &(&1 =~ "latin1-"))},
              {[ignore: "*"], []},
              {[ignore: []], all},
              {[match: "*"], all}
            ] do
          assert {options, take.(nil, options)} == {options, expected}
        end
      end

      test "patterns of ignore are those of a .gitignore", context do
        %{path: path, server: server, first: first, origin: origin} = context
        names = ReadOracle.names(origin, first)

        for rules <- [
              ["*.yaml"],
              ["*.yaml", "!app.yaml"],
              ["/deploy/*", "!/deploy/base"],
              ["deploy/"],
              ["**/base"],
              ["names/*"],
              ["a/**/here.yaml"],
              ["[a-d]*"],
              ["\\*star*", "# no", "\\#no"],
              ["/*", "!/deploy", "/deploy/*", "!/deploy/base"],
              [".*"],
              ["*", "!*/", "!*.json"]
            ] do
          expected = names -- ignored_by_git(context.dir, rules, names)
          options = [at: first, content: false, ignore: rules] ++ server
          assert {rules, paths(Git.snapshot(path, options))} == {rules, expected}
        end
      end

      test "a snapshot without contents, or without those that are known", context do
        %{path: path, server: server, first: first, third: third} = context
        assert {:ok, whole} = Git.snapshot(path, [at: first] ++ server)
        assert {:ok, names} = Git.snapshot(path, [at: first, content: false] ++ server)
        assert names.files == Enum.map(whole.files, &%{&1 | content: nil})

        known = MapSet.new(whole.files, & &1.oid)
        assert {:ok, ^names} = Git.snapshot(path, [at: first, known: known] ++ server)
        none = String.duplicate("ab", 20)
        assert {:ok, ^whole} = Git.snapshot(path, [at: first, known: [none]] ++ server)

        # Of the next commit only what is new, which is all that counts.
        options = [at: third, known: Enum.map(whole.files, &String.upcase(&1.oid))]
        assert {:ok, next} = Git.snapshot(path, options ++ [max_bytes: 500] ++ server)

        assert for(%{content: content} = file when content != nil <- next.files, do: file.path) ==
                 ["deploy/app.yaml", "deploy/here.txt", "deploy/new.yaml", "replaced"]
      end

      test "a snapshot within its limits, and beyond", context do
        %{path: path, server: server, first: first} = context
        {:ok, whole} = Git.snapshot(path, [at: first] ++ server)
        files = length(whole.files)

        bytes =
          Enum.sum(
            for %{content: content} when content != nil <- whole.files, do: byte_size(content)
          )

        options = [at: first, max_files: files, max_bytes: bytes]
        assert {:ok, ^whole} = Git.snapshot(path, options ++ server)

        for {options, limit, says} <- [
              {[max_files: files - 1], files - 1, "max_files"},
              {[max_bytes: bytes - 1], bytes - 1, "max_bytes"}
            ] do
          assert {:error, %Error{reason: :too_large, op: :snapshot} = error} =
                   Git.snapshot(path, [at: first] ++ options ++ server)

          assert error.detail.limit == limit
          assert error.message =~ says
          # How to ask for less.
          assert error.message =~ "match"
        end
      end

      test "names and files of a commit", context do
        %{path: path, server: server, first: first} = context
        take = &Git.files(path, &1, [at: first] ++ &2 ++ server)
        deploy = ["app.test.yaml", "app.yaml", "link.yaml"]
        assert take.("deploy", []) == {:ok, deploy}
        assert take.("deploy", recursive: true) == {:ok, Enum.sort(["base/service.yml" | deploy])}
        assert take.("deploy", recursive: true, match: "*.json") == {:ok, ["base/values.json"]}
        assert take.("deploy", match: ".*") == {:ok, [".hidden.yaml"]}
        assert take.("deploy", ignore: "*.test.yaml") == {:ok, ["app.yaml", "link.yaml"]}

        assert take.("deploy", match: "/base/*", recursive: true) ==
                 {:ok, ["base/service.yml", "base/values.json"]}

        read = &Git.read(path, &1, [at: first] ++ server)
        assert read.("deploy/app.yaml") == {:ok, "kind: Deployment\n"}
        assert read.("deploy/link.yaml") == {:ok, "kind: Deployment\n"}
        assert read.("latin1-\xfc.yaml") == {:ok, "name: odd\n"}
        assert Git.read(path, "deploy/app.yaml", server) == {:ok, "kind: Deployment\nreplicas: 2\n"}

        for {file, reason} <- [
              {"deploy/broken.yaml", :path_not_found},
              {"deploy/out.yaml", :unsafe_path},
              {"deploy/absolute.yaml", :unsafe_path},
              {"deploy/loop.yaml", :unsafe_path},
              {"deploy/new.yaml", :path_not_found},
              {"../x", :unsafe_path},
              {".git/config", :unsafe_path}
            ] do
          assert {^file, {:error, %Error{reason: ^reason, op: :read}}} = {file, read.(file)}
        end

        assert {:error, %Error{reason: :too_large}} =
                 Git.read(path, "deploy/app.yaml", [at: first, max_bytes: 3] ++ server)
      end

      test "files without `at` take the same options", context do
        %{path: path, server: server} = context
        take = &Git.files(path, &1, &2 ++ server)
        deploy = ["app.test.yaml", "app.yaml", "link.yaml", "new.yaml"]
        assert take.("deploy", []) == {:ok, deploy}
        assert take.("deploy", recursive: true) == {:ok, deploy}
        assert take.("deploy", recursive: true, match: "*.json") == {:ok, ["base/values.json"]}
        assert take.("deploy", match: "/app*", ignore: ["*.test.yaml"]) == {:ok, ["app.yaml"]}
      end

      test "what differs between two commits", context do
        %{path: path, server: server, origin: origin} = context
        %{first: first, second: second, third: third} = context

        for {from, to} <- [{first, third}, {third, first}, {first, first}, {second, third}],
            renames <- [false, true] do
          assert {:ok, changes} = Git.diff(path, from, to, [renames: renames] ++ server)
          assert changes == ReadOracle.diff(origin, from, to, renames: renames)
        end

        assert {:ok, changes} = Git.diff(path, "HEAD~2", "main", [renames: true] ++ server)

        assert [
                 %Change{status: :modified, path: "deploy/app.yaml", mode: 0o100644},
                 %Change{status: :deleted, path: "deploy/base/service.yml", mode: nil, oid: nil},
                 %Change{
                   status: :renamed,
                   path: "deploy/here.txt",
                   old_path: "moved.txt",
                   score: score
                 },
                 %Change{status: :added, path: "deploy/new.yaml", old_mode: nil, old_oid: nil},
                 %Change{
                   status: :type_changed,
                   path: "replaced",
                   mode: 0o120000,
                   old_mode: 0o100644
                 },
                 %Change{status: :modified, path: "run.sh", mode: 0o100644, old_mode: 0o100755}
               ] = changes

        assert score in 90..99
        assert {:ok, some} = Git.diff(path, first, third, [paths: "deploy"] ++ server)

        assert some ==
                 for(
                   %{path: "deploy/" <> _} = one <- ReadOracle.diff(origin, first, third),
                   do: one
                 )

        assert {:ok, [%{path: "run.sh"}]} =
                 Git.diff(path, first, third, [paths: ["run.sh"]] ++ server)

        for {options, paths} <- [
              {[paths: ["run.sh", "deploy/base/"]], ["deploy/base/service.yml", "run.sh"]},
              {[match: "*.yaml"], ["deploy/app.yaml", "deploy/new.yaml"]},
              {[paths: "deploy", ignore: ["*.yaml", "base"]], ["deploy/here.txt"]},
              {[paths: "nothing"], []}
            ] do
          assert {:ok, changes} = Git.diff(path, first, third, options ++ server)
          assert {options, Enum.map(changes, & &1.path)} == {options, paths}
        end
      end

      test "the commits that lead to one", context do
        %{path: path, server: server, first: first, second: second, third: third} = context
        assert {:ok, [last, %{sha: ^second}, root]} = Git.log(path, server)
        assert {last.sha, last.message, last.parents} == {third, "Third\n", [second]}
        assert {root.sha, root.parents, root.branch} == {first, [], nil}
        assert {:ok, head} = Git.head(path, server)
        assert %{head | branch: nil} == last

        for {options, expected} <- [
              {[from: "main~2"], [first]},
              {[limit: 1], [third]},
              {[path: "deploy/app.yaml"], [second, first]},
              {[path: "deploy/base"], [second, first]},
              {[path: "names"], [first]},
              {[path: "nothing"], []},
              {[path: "run.sh", from: first], [first]}
            ] do
          assert {:ok, commits} = Git.log(path, options ++ server)
          assert {options, Enum.map(commits, & &1.sha)} == {options, expected}
        end
      end

      test "an export, as a directory and as an archive", context do
        %{path: path, server: server, origin: origin, dir: dir} = context
        %{first: first, third: third} = context
        dest = Path.join(dir, "dest")

        for commit <- [first, third, first] do
          assert {:ok, %{commit: ^commit}} = Git.export(path, dest, [at: commit] ++ server)
          Oracle.assert_tree_equals(dest, origin, commit)
        end

        beside = [".dest.alumiini", "clone", "dest", "origin.git"]
        assert Enum.sort(File.ls!(dir)) == beside
        options = [subpath: "deploy", match: "*.y*ml", ignore: "*.test.yaml\n/loop.yaml"]
        chart = Path.join(dir, "chart")
        assert {:ok, %{files: files}} = Git.export(path, chart, [at: first] ++ options ++ server)
        assert File.read!(Path.join(chart, "base/service.yml")) == "kind: Service\n"
        refute File.exists?(Path.join(chart, "app.test.yaml"))
        refute File.exists?(Path.join(chart, "base/values.json"))
        assert File.read_link!(Path.join(chart, "out.yaml")) == "../../../../etc/passwd"
        assert files == 7

        archive = Path.join(dir, "a.tar.gz")
        assert {:ok, one} = Git.export(path, archive, [at: first, format: :tar_gz] ++ server)
        bytes = File.read!(archive)
        assert one.digest == "sha256:" <> Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)
      end

      test "what is not there", context do
        %{path: path, server: server, dir: dir, third: third} = context
        none = String.duplicate("ab", 20)
        dest = Path.join(dir, "dest")

        calls = fn path, at ->
          [
            fn -> Git.snapshot(path, [at: at] ++ server) end,
            fn -> Git.files(path, [at: at] ++ server) end,
            fn -> Git.read(path, "run.sh", [at: at] ++ server) end,
            fn -> Git.diff(path, at, "HEAD", server) end,
            fn -> Git.diff(path, "HEAD", at, server) end,
            fn -> Git.log(path, [from: at] ++ server) end,
            fn -> Git.export(path, dest, [at: at] ++ server) end
          ]
        end

        for at <- [none, "gone", "refs/heads/gone", "HEAD~99", "main:deploy"],
            {call, n} <- Enum.with_index(calls.(path, at)) do
          assert {^at, ^n, {:error, %Error{} = error}} = {at, n, call.()}
          assert {at, n, error.reason in [:ref_not_found, :invalid]} == {at, n, true}
        end

        for at <- [":/Second", "HEAD^{/Second}", "-x"], call <- calls.(path, at) do
          assert {:error, %Error{reason: :invalid}} = call.()
        end

        plain = Path.join(dir, "plain")
        File.mkdir_p!(plain)
        File.write!(Path.join(plain, "file"), "")

        for call <- calls.(plain, "HEAD"),
            do: assert({:error, %Error{reason: :not_a_repository}} = call.())

        gone = Path.join(dir, "gone")

        for call <- calls.(gone, "HEAD"),
            do: assert({:error, %Error{reason: :path_not_found}} = call.())

        assert {:error, %Error{reason: :not_a_repository}} = Git.status(plain, server)
        assert {:error, %Error{reason: :path_not_found}} = Git.status(gone, server)

        assert {:error, %Error{reason: :path_not_found, op: :snapshot}} =
                 Git.snapshot(path, "nothing", server)

        assert {:error, %Error{reason: :path_not_found}} =
                 Git.export(path, dest, [subpath: "nothing"] ++ server)

        assert {:error, %Error{reason: :path_not_found}} =
                 Git.files(path, "nothing", [at: third] ++ server)

        assert {:error, %Error{reason: :unsafe_path}} = Git.snapshot(path, "../x", server)
        refute File.exists?(dest)
      end
    end
  end

  test "status tells what was changed, and puts nothing right", context do
    %{path: path, server: server, origin: origin, third: third} = context
    sync!(context, working_tree: true)
    assert Git.status(path, server) == {:ok, []}
    write = &File.write!(Path.join(path, &1), &2)
    write.("deploy/app.yaml", "kind: Pod\n")
    write.("deploy/untracked.yaml", "kind: Pod\n")
    write.("untracked.log", "ignored by a .gitignore of the commit\n")
    File.mkdir_p!(Path.join(path, "new/directory"))
    write.("new/directory/file", "untracked\n")
    File.chmod!(Path.join(path, "deploy/new.yaml"), 0o755)
    File.rm!(Path.join(path, "run.sh"))
    File.rm!(Path.join(path, "replaced"))
    write.("replaced", "a file again\n")

    drift = [
      %Status{status: :modified, path: "deploy/app.yaml"},
      %Status{status: :modified, path: "deploy/new.yaml"},
      %Status{status: :untracked, path: "deploy/untracked.yaml"},
      %Status{status: :untracked, path: "new/"},
      %Status{status: :type_changed, path: "replaced"},
      %Status{status: :deleted, path: "run.sh"},
      %Status{status: :untracked, path: "untracked.log"}
    ]

    for _twice <- 1..2, do: assert(Git.status(path, server) == {:ok, drift})
    assert File.read!(Path.join(path, "deploy/app.yaml")) == "kind: Pod\n"
    sync!(context, working_tree: true)
    assert Git.status(path, server) == {:ok, []}
    Oracle.assert_tree_equals(path, origin, third)
    sync!(context, working_tree: false)
    assert {:error, %Error{reason: :unsupported, op: :status}} = Git.status(path, server)
  end

  test "a repository of somebody's own is read, too", context do
    %{origin: origin, server: server, first: first, dir: dir, second: second} = context
    theirs = Path.join(dir, "theirs")
    GitCommand.run!(["clone", "-q", origin, theirs])

    for at <- ["v1.0.0", "light", "refs/tags/v1.0.0", "origin/main~2", "v1.0.0^{commit}"] do
      assert {^at, {:ok, snapshot}} = {at, Git.snapshot(theirs, [at: at] ++ server)}
      assert {at, snapshot.commit} == {at, first}
      assert {:ok, [%{sha: ^first}]} = Git.log(theirs, [from: at] ++ server)
      assert Git.read(theirs, "deploy/app.yaml", [at: at] ++ server) == {:ok, "kind: Deployment\n"}
    end

    assert {:ok, [_, %{sha: ^second}, _]} = Git.log(theirs, server)
    assert {:ok, [_ | _]} = Git.diff(theirs, first, "origin/main", server)
    # A directory below a working tree is that of the commit.
    below = Path.join(theirs, "deploy")
    assert {:ok, ["app.test.yaml" | _]} = Git.files(below, [at: first] ++ server)

    # What is ignored there is its owner's, and so is what stays.
    File.write!(Path.join(theirs, "untracked.log"), "ignored\n")
    File.write!(Path.join(theirs, "run.sh"), "changed\n")
    assert {:ok, drift} = Git.status(theirs, server)
    # libgit2 does not know working-tree-encoding.
    assert for(one <- drift, one.path != "text.utf16", do: {one.status, one.path}) ==
             [modified: "run.sh"]

    assert {:error, %Error{reason: :unsupported}} = Git.lease(theirs, first, server)
  end

  # What `git check-ignore` says of names that need not be there.
  defp ignored_by_git(dir, rules, names) do
    repository = Path.join(dir, "ignoring")
    File.rm_rf!(repository)
    GitCommand.run!(["init", "-q", "--template=", repository])
    File.mkdir_p!(Path.join(repository, ".git/info"))
    File.write!(Path.join(repository, ".git/info/exclude"), Enum.map(rules, &[&1, "\n"]))
    list = Path.join(dir, "names")
    File.write!(list, Enum.intersperse(names, <<0>>))
    command = "git check-ignore --no-index --stdin -z < '#{list}'"
    env = GitCommand.environment()
    {output, status} = System.cmd("sh", ["-c", command], cd: repository, env: env)
    true = status in [0, 1]
    output |> :binary.split(<<0>>, [:global]) |> Enum.reject(&(&1 == ""))
  end
end
