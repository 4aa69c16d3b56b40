defmodule Alumiini.Git.HostileReadsTest do
  # What a commit that is in a repository can make a read do: trees and files that no git client
  # makes. Each read is refused, or answers within its bounds; others are served meanwhile, by the
  # same worker.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.OsProcess

  # In microseconds, on a machine that is busy with other tests.
  @within 15_000_000
  # What a worker may take, whatever it reads.
  @memory 256 * 1024 * 1024
  @timeout 30_000

  # How a commit is answered that no read but `log` takes.
  @unsafe [
    snapshot: :unsafe_path,
    files: :unsafe_path,
    diff: :unsafe_path,
    renames: :unsafe_path,
    log: :ok,
    export: :unsafe_path,
    read: :unsafe_path
  ]
  @too_large for {read, answer} <- @unsafe,
                 do: {read, if(answer == :ok, do: :ok, else: :too_large)}
  @corrupt for {read, _answer} <- @unsafe, do: {read, :corrupt}

  @moduletag timeout: 180_000
  @moduletag git_config: [{"core.maxTreeDepth", "100000"}]

  setup [:dir, :repository, :git]

  # A repository of somebody's own, and another one, which is read meanwhile.
  defp repository(context) do
    for name <- ["hostile", "other"], into: %{} do
      path = Path.join(context.dir, name)
      GitCommand.run!(["init", "-q", "--initial-branch=main", path])
      good = object!(path, "blob", "app: 1\n")
      tree = object!(path, "tree", entry("100644", "app.yaml", good))
      run_git(path, ["update-ref", "refs/heads/main", commit!(path, tree)])
      {String.to_atom(name), path}
    end
  end

  describe "in a repository of somebody's own:" do
    test "more than a million entries of a tree", context do
      %{hostile: path} = context
      sha = commit!(path, millions!(path))
      answers = reads(context, sha, "0000001.yaml", [:diff, :renames])

      # The tree itself is more than is read of one.
      assert answers == answers(Keyword.drop(@too_large, [:diff, :renames]), log: :too_large)
    end

    test "more than a million changes", context do
      %{hostile: path, git: git} = context

      for tree <- [millions!(path), shared!(path, 1), shared!(path, 10)],
          renames <- [false, true] do
        sha = commit!(path, tree)

        assert {:error, %Error{reason: :too_large}} =
                 Git.diff(path, "main", sha, server: git, timeout: @timeout, renames: renames)
      end

      assert OsProcess.memory(Server.info(git).os_pid, :peak) < @memory
    end

    test "more than a million entries of a tree, many times at once", context do
      %{hostile: path, git: git} = context
      sha = commit!(path, millions!(path))
      snapshot = fn -> Git.snapshot(path, at: sha, server: git, timeout: 60_000) end
      answers = for _ <- 1..8, do: Task.async(snapshot)

      for answer <- Task.await_many(answers, 61_000),
          do: assert({:error, %Error{reason: :too_large}} = answer)

      assert OsProcess.memory(Server.info(git).os_pid, :peak) < @memory
    end

    test "a file that says that it has 4 GiB", context do
      %{hostile: path} = context
      blob = object!(path, "blob", "app: 1\n", 4 * 1024 * 1024 * 1024)
      sha = commit!(path, object!(path, "tree", entry("100644", "app.yaml", blob)))

      assert reads(context, sha, "app.yaml") == [
               snapshot: :too_large,
               files: :ok,
               diff: :ok,
               renames: :ok,
               log: :ok,
               export: :too_large,
               read: :too_large
             ]
    end

    test "a file that has more than it says, or less", context do
      %{hostile: path} = context
      zeros = :binary.copy(<<0>>, 256 * 1024 * 1024)

      for {size, content} <- [{16_000_000, "app"}, {2, "app: 1\n"}, {2, zeros}] do
        blob = object!(path, "blob", content, size)
        sha = commit!(path, object!(path, "tree", entry("100644", "app.yaml", blob)))

        assert reads(context, sha, "app.yaml") == [
                 snapshot: :corrupt,
                 files: :ok,
                 diff: :ok,
                 renames: :ok,
                 log: :ok,
                 export: :corrupt,
                 read: :corrupt
               ]
      end
    end

    test "a tree, and a commit, that say that they have 4 GiB", context do
      %{hostile: path} = context
      huge = 4 * 1024 * 1024 * 1024
      entries = entry("100644", "app.yaml", object!(path, "blob", "app: 1\n"))
      tree = object!(path, "tree", entries, huge)
      answers = reads(context, commit!(path, tree), "app.yaml")
      for {read, answer} <- answers, read != :log, do: assert({read, :too_large} == {read, answer})
      tree = object!(path, "tree", entries)
      answers = reads(context, commit!(path, tree, huge), "app.yaml")
      for {read, answer} <- answers, do: assert({read, :too_large} == {read, answer})
    end

    test "10,000 levels of directories", context do
      sha = commit!(context.hostile, levels!(context.hostile))

      for levels <- [4, 1_000] do
        file = String.duplicate("d/", levels) <> "app.yaml"
        assert reads(context, sha, file) == @too_large
      end
    end

    test "names that no directory may have", context do
      %{hostile: path} = context

      for {what, reads, body, file} <- odd_trees(path) do
        answers = reads(context, commit!(path, object!(path, "tree", body)), file)
        assert {what, Keyword.drop(answers, [:read])} == {what, Keyword.drop(reads, [:read])}
        # Nobody can ask for a file without a name.
        assert {what, answers[:read]} == {what, if(file == "", do: :invalid, else: reads[:read])}
      end
    end
  end

  # Its history brought them: what is checked before files are written is the newest commit.
  describe "in a clone:" do
    setup [:origin, :http]

    # An object of 16 MiB is refused when it is fetched, by the worker of these tests.
    test "more than a million files, by trees that name one tree many times", context do
      clone = clone!(context, shared!(context.origin, 1))

      answers = reads(context, clone, "d0/0000001.yaml", [:diff, :renames])
      assert answers == Keyword.drop(@too_large, [:diff, :renames])
    end

    test "files without end, by trees that name one tree many times", context do
      clone = clone!(context, shared!(context.origin, 10))
      answers = reads(context, clone, "d0/d0/0000001.yaml", [:diff, :renames])
      assert answers == Keyword.drop(@too_large, [:diff, :renames])
    end

    test "10,000 levels of directories", context do
      clone = clone!(context, levels!(context.origin))
      assert reads(context, clone, "d/d/app.yaml") == @too_large
    end

    test "names that no directory may have", context do
      # Git's own server does not send what is malformed or not there, nor what has no name.
      for {what, reads, body, file} <- odd_trees(context.origin),
          reads[:files] == :unsafe_path and not String.starts_with?(what, "no name") do
        clone = clone!(context, object!(context.origin, "tree", body))
        assert {what, reads(context, clone, file)} == {what, reads}
      end
    end
  end

  ## What is in the commits

  defp millions!(path) do
    blob = Base.decode16!(object!(path, "blob", ""), case: :lower)
    object!(path, "tree", for(n <- 1..1_000_001, do: ["100644 ", name(n), 0, blob]))
  end

  defp name(n), do: [String.pad_leading(Integer.to_string(n), 7, "0"), ".yaml"]

  # A directory of 100,000 files, with so many levels of eleven directories above it.
  defp shared!(path, levels) do
    blob = Base.decode16!(object!(path, "blob", ""), case: :lower)
    files = object!(path, "tree", for(n <- 1..100_000, do: ["100644 ", name(n), 0, blob]))
    names = Enum.sort(for n <- 0..10, do: "d#{n}")

    above = fn _level, tree ->
      object!(path, "tree", for(d <- names, do: entry("40000", d, tree)))
    end

    Enum.reduce(1..levels, files, above)
  end

  defp levels!(path) do
    leaf = object!(path, "tree", entry("100644", "app.yaml", object!(path, "blob", "")))
    deeper = fn _level, tree -> object!(path, "tree", entry("40000", "d", tree)) end
    Enum.reduce(1..10_000, leaf, deeper)
  end

  # What is odd, how reads are answered, the tree, and the file that is read.
  defp odd_trees(path) do
    blob = object!(path, "blob", "app: 1\n")
    dir = object!(path, "tree", entry("100644", "app.yaml", blob))
    nowhere = String.duplicate("1", 40)
    # What is told of a change is one path of the two.
    told = answers(@unsafe, diff: :ok, renames: :ok)
    # The root is sound, and `log` looks no further.
    unread = answers(@corrupt, log: :ok)

    entries =
      for {what, reads, entries, file} <- [
            {"twice", @unsafe, [{"100644", "app.yaml", blob}, {"100644", "app.yaml", blob}],
             "app.yaml"},
            {"a file and a directory", told, [{"100644", "app", blob}, {"40000", "app", dir}],
             "app/app.yaml"},
            {"a slash", @unsafe, [{"100644", "a/app.yaml", blob}], "a/app.yaml"},
            {"out", @unsafe, [{"100644", "../app.yaml", blob}], "../app.yaml"},
            {"from the top", @unsafe, [{"100644", "/app.yaml", blob}], "/app.yaml"},
            {"..", @unsafe, [{"40000", "..", dir}], "../app.yaml"},
            {".., a file", @unsafe, [{"100644", "..", blob}], ".."},
            {".", @unsafe, [{"40000", ".", dir}], "./app.yaml"},
            {".git", @unsafe, [{"40000", ".git", dir}], ".git/app.yaml"},
            {".GIT, a file", @unsafe, [{"100644", ".GIT", blob}], ".GIT"},
            {"no name", @unsafe, [{"100644", "", blob}], ""},
            {"no name, a directory", @unsafe, [{"40000", "", dir}], "/app.yaml"},
            {"not there", unread, [{"40000", "d", nowhere}], "d/app.yaml"},
            {"a file that is none", answers(unread, files: :ok, diff: :ok, renames: :ok),
             [{"100644", "app.yaml", dir}], "app.yaml"},
            {"a directory that is none", unread, [{"40000", "d", blob}], "d/app.yaml"}
          ] do
        {what, reads, for({mode, name, id} <- entries, do: entry(mode, name, id)), file}
      end

    malformed =
      for {what, body} <- [
            {"cut off", "100644 app.yaml\0" <> <<1, 2, 3>>},
            {"a name without an end", "100644 app.yaml"},
            {"no mode", " app.yaml\0" <> <<1::160>>},
            {"zeros", <<0::8_000>>}
          ],
          do: {what, @corrupt, body, "app.yaml"}

    entries ++ malformed
  end

  # `reads` with others, in the same order.
  defp answers(reads, others),
    do: for({read, answer} <- reads, do: {read, Keyword.get(others, read, answer)})

  # A clone of which the commit before the newest has this tree: where it is, and that commit.
  defp clone!(context, tree) do
    %{origin: origin, url: url, git: git, dir: dir} = context
    hostile = commit!(origin, tree)
    GitCommand.run!(["update-ref", "refs/heads/main", hostile], cd: origin)
    Repository.commit!(origin, %{"app.yaml" => "app: 1\n"}, only: true)
    path = Path.join(dir, "clone-#{System.unique_integer([:positive])}")
    assert {:ok, _good} = Git.sync(url, "main", path, server: git, depth: :infinity)
    {path, hostile}
  end

  ## Reads

  # How each read of a commit is answered: `:ok`, or the reason. The worker is the same afterwards,
  # and was never larger than it may be; somebody else was served all the time.
  defp reads(context, commit, file, without \\ [])

  defp reads(context, sha, file, without) when is_binary(sha),
    do: reads(context, {context.hostile, sha}, file, without)

  defp reads(context, {path, sha}, file, without) do
    %{other: other, git: git} = context
    worker = Server.info(git)
    options = [server: git, timeout: @timeout]
    at = [at: sha] ++ options
    reader = Task.async(fn -> read_until_told(other, options, []) end)

    answers =
      for {read, call} <- [
            snapshot: fn -> Git.snapshot(path, at) end,
            files: fn -> Git.files(path, [recursive: true, match: "*"] ++ at) end,
            diff: fn -> Git.diff(path, "main", sha, options) end,
            renames: fn -> Git.diff(path, sha, "main", [renames: true] ++ options) end,
            log: fn -> Git.log(path, [from: sha, path: "app.yaml"] ++ options) end,
            export: fn -> Git.export(path, Path.join(context.dir, "export"), at) end,
            read: fn -> Git.read(path, file, at) end
          ],
          read not in without do
        {time, answer} = :timer.tc(call)
        assert {read, time < @within, time} == {read, true, time}
        {read, reason(answer)}
      end

    send(reader.pid, :enough)
    assert Enum.max(Task.await(reader, @timeout)) < @within
    assert Server.info(git).os_pid == worker.os_pid
    peak = OsProcess.memory(worker.os_pid, :peak)
    assert {peak < @memory, peak} == {true, peak}
    answers
  end

  defp reason({:ok, _value}), do: :ok
  defp reason({:error, %Error{reason: reason}}), do: reason

  # How many microseconds each read took.
  defp read_until_told(path, options, times) do
    {time, {:ok, "app: 1\n"}} =
      :timer.tc(fn -> Git.read(path, "app.yaml", [at: "main"] ++ options) end)

    receive do
      :enough -> [time | times]
    after
      10 -> read_until_told(path, options, [time | times])
    end
  end

  ## Objects

  defp entry(mode, name, id), do: [mode, " ", name, 0, Base.decode16!(id, case: :lower)]

  defp commit!(path, tree, size \\ nil) do
    who = "A <a@example.com> 1700000000 +0000"
    text = "tree #{tree}\nauthor #{who}\ncommitter #{who}\n\nA commit\n"
    object!(path, "commit", text, size)
  end

  # A loose object, written as it is; its header may say another size.
  defp object!(path, type, body, size \\ nil) do
    size = size || IO.iodata_length(body)
    object = [type, " ", Integer.to_string(size), 0, body]
    id = :crypto.hash(:sha, object) |> Base.encode16(case: :lower)
    <<first::binary-2, rest::binary>> = id
    git_dir = if File.dir?(Path.join(path, ".git")), do: Path.join(path, ".git"), else: path
    file = Path.join([git_dir, "objects", first, rest])
    File.mkdir_p!(Path.dirname(file))
    File.write!(file, deflate(object))
    id
  end

  defp deflate(data) do
    z = :zlib.open()
    :ok = :zlib.deflateInit(z, :best_speed)
    deflated = :zlib.deflate(z, data, :finish)
    :zlib.close(z)
    deflated
  end
end
