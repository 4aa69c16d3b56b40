defmodule Alumiini.Git.WithoutWorkingTreeTest do
  # `working_tree: false`: the same commits, the same answers, and nothing on disk but `.git`.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.OddFiles

  setup [:dir, :origin, :http, :git]

  defp bare(context, options \\ []), do: sync(context, [working_tree: false] ++ options)

  defp read(context, file, options \\ []),
    do: Git.read(context.path, file, [server: context.git] ++ options)

  defp assert_bare(context, commit),
    do: Oracle.assert_synced_bare(context.path, context.origin, commit)

  test "a clone, something new, nothing new, other depths and a force-push", context do
    [first | _] = Repository.history!(context.origin, 4)
    commit = Repository.commit!(context.origin, OddFiles.all())

    for depth <- [1, 3, :infinity, 1] do
      assert bare(context, depth: depth) == {:ok, commit}
      assert_bare(context, commit)
    end

    commit = Repository.commit!(context.origin, %{"new.yaml" => "new\n"})
    assert bare(context) == {:ok, commit}
    assert_bare(context, commit)
    assert read(context, "new.yaml") == {:ok, "new\n"}

    Repository.move_branch!(context.origin, "main", first)
    assert bare(context) == {:ok, first}
    assert_bare(context, first)
    assert {:error, %Error{reason: :path_not_found}} = read(context, "new.yaml")
  end

  test "nothing new is one request, and no file is written", context do
    commit = Repository.commit!(context.origin, OddFiles.all())
    for _ <- 1..2, do: assert(bare(context) == {:ok, commit})
    before = Directory.contents(context.path)
    requests = length(HttpServer.log(context.http))
    assert bare(context) == {:ok, commit}
    assert length(HttpServer.log(context.http)) == requests + 1
    assert Directory.touched(before, Directory.contents(context.path)) == []
  end

  test "from one to the other and back, with and without something new", context do
    for n <- 1..2, change? <- [true, false] do
      if change?,
        do: Repository.commit!(context.origin, %{"n.yaml" => "#{n}\n", "dir/a.yaml" => "a\n"})

      commit = Repository.rev_parse!(context.origin, "refs/heads/main")
      assert bare(context) == {:ok, commit}
      assert_bare(context, commit)
      assert read(context, "n.yaml") == {:ok, "#{n}\n"}
      assert sync(context) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
      assert read(context, "n.yaml") == {:ok, "#{n}\n"}
    end
  end

  test "what lies beside .git is not looked at, until it is to make room for a working tree",
       context do
    commit = Repository.commit!(context.origin, %{"a.yaml" => "committed\n"})
    assert bare(context) == {:ok, commit}
    File.write!(Path.join(context.path, "a.yaml"), "not committed\n")
    File.write!(Path.join(context.path, "b.yaml"), "not committed\n")

    for _ <- 1..2 do
      assert read(context, "a.yaml") == {:ok, "committed\n"}
      assert Git.files(context.path, nil, server: context.git) == {:ok, ["a.yaml"]}
      commit = Repository.commit!(context.origin, %{"c/#{System.unique_integer()}" => "c\n"})
      assert bare(context) == {:ok, commit}
      assert Directory.names(context.path) == [".git", "a.yaml", "b.yaml"]
      assert File.read!(Path.join(context.path, "a.yaml")) == "not committed\n"
    end

    assert {:ok, commit} = sync(context)
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  test "an index that somebody made goes", context do
    commit = Repository.commit!(context.origin, %{"a.yaml" => "a\n"})
    assert bare(context) == {:ok, commit}
    GitCommand.run!(["read-tree", "HEAD"], cd: context.path)
    assert read(context, "a.yaml") == {:ok, "a\n"}
    assert bare(context) == {:ok, commit}
    assert_bare(context, commit)
  end

  test "somebody's own repository keeps its working tree, and nothing there is touched", context do
    Repository.commit!(context.origin, %{"a.yaml" => "a\n"})
    GitCommand.run!(["clone", "-q", context.origin, context.path])
    Repository.commit!(context.origin, %{"a.yaml" => "b\n"})
    before = Directory.contents(context.path)

    for force <- [false, true] do
      assert {:error, %Error{reason: :unsupported, message: message}} = bare(context, force: force)
      assert message =~ context.path and message =~ "working_tree"
      assert Directory.touched(before, Directory.contents(context.path)) == []
    end
  end

  test "checkout moves what is read, and no file is written", context do
    [first, second | _] = Repository.history!(context.origin, 3)
    assert {:ok, last} = bare(context, depth: :infinity)

    for rev <- [first, second] do
      assert Git.checkout(context.path, rev, server: context.git) == {:ok, rev}
      assert {:ok, %{sha: ^rev, branch: nil}} = Git.head(context.path, server: context.git)
      assert_bare(context, rev)
    end

    assert bare(context, depth: :infinity) == {:ok, last}
    assert {:ok, %{sha: ^last, branch: "main"}} = Git.head(context.path, server: context.git)
  end

  test "what git moves in it is what the next read sees, and what the next sync puts right",
       context do
    [first | _] = Repository.history!(context.origin, 3)
    assert {:ok, last} = bare(context, depth: :infinity)
    # A worker that has the repository open.
    assert {:ok, %{sha: ^last}} = Git.head(context.path, server: context.git)
    GitCommand.run!(["update-ref", "refs/heads/main", first], cd: context.path)
    assert {:ok, %{sha: ^first}} = Git.head(context.path, server: context.git)
    assert bare(context, depth: :infinity) == {:ok, last}
    assert {:ok, %{sha: ^last}} = Git.head(context.path, server: context.git)
  end

  test "calls answer the same with a working tree and without", context do
    links = %{
      "deploy/app.yaml" => "app\n",
      "deploy/.hidden.yaml" => "hidden\n",
      "deploy/dir.yaml/inside.yaml" => "inside\n",
      "deploy/link.yaml" => {:symlink, "app.yaml"},
      "deploy/up.yaml" => {:symlink, "../lines/unix.yaml"},
      "out.yaml" => {:symlink, "../outside.yaml"},
      "loop.yaml" => {:symlink, "loop.yaml"},
      "vendor/module" => {:submodule, String.duplicate("1", 40)}
    }

    files = Map.merge(OddFiles.all(), links)
    commit = Repository.commit!(context.origin, files)
    tree = Path.join(context.dir, "with")
    none = Path.join(context.dir, "none")
    assert sync(%{context | path: tree}) == {:ok, commit}
    assert bare(%{context | path: none}) == {:ok, commit}

    names =
      Map.keys(files) ++
        ~w(deploy deploy/dir.yaml vendor vendor/module vendor/module/x) ++
        ~w(links/to-directory/unix.yaml absent absent/x) ++
        ~w(deploy/app.yaml/x .git .git/config deploy/.git ../x /etc/hostname) ++
        ~w(./deploy/../x deploy//app.yaml deploy/app.yaml/) ++
        [".", "links", "names", "a"]

    calls =
      for(name <- names, do: &Git.read(&1, name, server: &2)) ++
        for(name <- names, do: &Git.read(&1, name, server: &2, max_bytes: 3)) ++
        for(name <- [nil, "" | names], do: &Git.files(&1, name, server: &2)) ++
        for(
          below <- ["deploy", "links", "vendor/module", "absent", "deploy/app.yaml"],
          name <- ["app.yaml", "link.yaml", "up.yaml", "absent"],
          do: &Git.read(&1 <> "/" <> below, name, server: &2)
        ) ++
        for(below <- ["deploy", "absent"], do: &Git.files(&1 <> "/" <> below, nil, server: &2)) ++
        for(below <- ["", "/deploy", "/absent"], do: &Git.head(&1 <> below, server: &2))

    kinds =
      for call <- calls do
        answers = for path <- [tree, none], do: path |> call.(context.git) |> plain()
        assert [answer] = Enum.uniq(answers)
        elem(answer, 0)
      end

    assert Enum.count(kinds, &(&1 == :ok)) > 40
    assert Enum.count(kinds, &(&1 == :error)) > 60
  end

  # What an error says of the path of its repository differs, and nothing else.
  defp plain({:error, %Error{} = error}),
    do: {:error, error.reason, error.retryable?, Map.delete(error.detail, :path)}

  defp plain(ok), do: ok

  test "what a read cannot read, the next sync repairs", context do
    commit = Repository.commit!(context.origin, OddFiles.all())
    assert bare(context) == {:ok, commit}
    {:ok, content} = read(context, "lines/unix.yaml")
    # A worker of its own has nothing open, and has seen nothing.
    stop_supervised!(Git)
    context = %{context | git: start_supervised!({Git, name: nil})}

    oid =
      ["rev-parse", "HEAD:lines/unix.yaml"] |> GitCommand.run!(cd: context.path) |> String.trim()

    spoil_object(context, oid)
    # Nothing of what the sync looks at is damaged.
    assert bare(context) == {:ok, commit}
    assert {:error, %Error{reason: :corrupt}} = read(context, "lines/unix.yaml")
    assert read(context, "lines/windows.yaml") == {:ok, OddFiles.all()["lines/windows.yaml"]}
    assert bare(context) == {:ok, commit}
    assert read(context, "lines/unix.yaml") == {:ok, content}
    assert_bare(context, commit)
  end

  # The end of its bytes in the pack, which is the checksum of what comes out of them.
  defp spoil_object(context, oid) do
    [pack] = Path.wildcard(Path.join(context.path, ".git/objects/pack/*.pack"))
    listed = GitCommand.run!(["verify-pack", "-v", Path.rootname(pack) <> ".idx"], cd: context.path)

    [[^oid, _kind, _size, packed, offset | _]] =
      for(
        line <- String.split(listed, "\n"),
        String.starts_with?(line, oid),
        do: String.split(line)
      )

    File.chmod!(pack, 0o644)
    {:ok, io} = :file.open(pack, [:read, :write, :raw, :binary])

    :ok =
      :file.pwrite(io, String.to_integer(offset) + String.to_integer(packed) - 4, <<0, 0, 0, 0>>)

    :ok = :file.close(io)
  end

  test "a working tree that is damaged repairs into none", context do
    commit = Repository.commit!(context.origin, OddFiles.all())
    assert sync(context) == {:ok, commit}

    for pack <- Path.wildcard(Path.join(context.path, ".git/objects/pack/*.pack")),
        do: File.rm!(pack)

    assert bare(context) == {:ok, commit}
    assert_bare(context, commit)

    for pack <- Path.wildcard(Path.join(context.path, ".git/objects/pack/*.pack")),
        do: File.rm!(pack)

    File.write!(Path.join(context.path, "mine"), "mine")
    assert bare(context) == {:ok, commit}
    assert File.read!(Path.join(context.path, "mine")) == "mine"
    File.rm!(Path.join(context.path, "mine"))
    assert_bare(context, commit)
  end

  test "a working tree that cannot be written leaves the commit readable without one", context do
    commit = Repository.commit!(context.origin, %{"a.yaml" => "a\n", "b.yaml" => "b\n"})
    assert bare(context) == {:ok, commit}
    long = String.duplicate("n", 300)
    later = Repository.commit!(context.origin, %{"a.yaml" => "later\n", long => "x"})
    # A name that no file system takes.
    assert {:error, %Error{}} = sync(context)
    assert read(context, "a.yaml") == {:ok, "a\n"}
    assert_bare_at(context, commit)
    assert bare(context) == {:ok, later}
    assert read(context, "a.yaml") == {:ok, "later\n"}
    assert_bare(context, later)
  end

  defp assert_bare_at(context, commit) do
    assert Directory.names(context.path) == [".git"]
    assert GitCommand.run!(["rev-parse", "HEAD"], cd: context.path) == commit <> "\n"
    assert {:ok, %{sha: ^commit}} = Git.head(context.path, server: context.git)
  end
end
