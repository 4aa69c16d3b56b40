defmodule Alumiini.Git.UntouchedTest do
  # A repository in which nothing was touched for some seconds is not opened by a poll. Whatever is
  # touched then, or wished for otherwise, must show all the same.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.OsProcess

  # What a worker reads, Linux alone counts.
  @moduletag skip: not File.exists?("/proc/self/io") && "there is no /proc/<pid>/io here"
  # A frame and what wakes threads; an index of 100 files has more.
  @nothing 3_000
  @file_name "apps/shop/50.yaml"

  setup [:dir, :http, :git]

  # A repository of its own for each case, and a clone of it.
  defp clone!(context, name) do
    origin = Repository.create!(context.dir, "#{name}.git")
    files = for n <- 1..100, into: %{}, do: {"apps/shop/#{n}.yaml", "n: #{n}\n"}
    Repository.commit!(origin, %{"old.yaml" => "old: 1\n"})
    commit = Repository.commit!(origin, files)
    GitCommand.run!(["branch", "release", "main~1"], cd: origin)
    url = HttpServer.url(context.http, "#{name}.git")
    %{origin: origin, commit: commit, path: Path.join(context.dir, name), url: url}
  end

  defp sync_clone(context, clone, options \\ []), do: sync(Map.merge(context, clone), options)

  defp read_by(context, fun) do
    counted = fn ->
      io = File.read!("/proc/#{Git.Server.info(context.git).os_pid}/io")
      [_, bytes] = Regex.run(~r/^rchar: (\d+)$/m, io)
      String.to_integer(bytes)
    end

    before = counted.()
    fun.()
    counted.() - before
  end

  # Stats tell nothing of files that are younger than the coarsest clock's tick, so this takes its
  # time.
  defp settle!(context, clones) do
    reads_nothing? = fn clone ->
      read_by(context, fn -> assert sync_clone(context, clone) == {:ok, clone.commit} end) <
        @nothing
    end

    all? = fn -> clones |> Enum.map(reads_nothing?) |> Enum.all?() end
    assert :ok = OsProcess.await(all?, 60_000)
  end

  defp cases do
    edit = fn clone ->
      file = Path.join(clone.path, @file_name)
      {_, 0} = System.cmd("cp", ["-p", file, clone.path <> ".kept"])
      File.write!(file, "n: XX\n")
      {_, 0} = System.cmd("touch", ["-r", clone.path <> ".kept", file])
    end

    %{
      "nothing" => fn _clone -> [] end,
      "a new commit" => fn clone ->
        Repository.commit!(clone.origin, %{"new.yaml" => "new: 1\n"}) && []
      end,
      "a commit less" => fn clone ->
        Repository.move_branch!(clone.origin, "main", "main~1") && []
      end,
      "another branch" => fn _clone -> [ref: "release"] end,
      "another depth" => fn _clone -> [depth: :infinity] end,
      "a file that is edited, with its size and times kept" => fn clone -> edit.(clone) && [] end,
      "a file more" => fn clone ->
        File.write!(Path.join(clone.path, "apps/more.yaml"), "") && []
      end,
      "a directory more" => fn clone ->
        File.mkdir_p!(Path.join(clone.path, "apps/more/and")) && []
      end,
      "a file less" => fn clone -> File.rm!(Path.join(clone.path, @file_name)) && [] end,
      "another mode" => fn clone -> File.chmod!(Path.join(clone.path, @file_name), 0o755) && [] end,
      "a detached HEAD" => fn clone ->
        GitCommand.run!(["checkout", "--detach", "-q"], cd: clone.path) && []
      end,
      "no index" => fn clone -> File.rm!(Path.join(clone.path, ".git/index")) && [] end,
      "a pack that is cut short" => fn clone ->
        [pack] = Path.wildcard(Path.join(clone.path, ".git/objects/pack/*.pack"), match_dot: true)
        File.chmod!(pack, 0o644)
        File.write!(pack, binary_part(File.read!(pack), 0, 60))
        # Its objects are wanted again, for want of a tree.
        File.rm!(Path.join(clone.path, @file_name))
        []
      end,
      "no directory" => fn clone -> TempDir.remove!(clone.path) && [] end
    }
  end

  test "is not opened, and shows what becomes of it", context do
    cases =
      for {name, change} <- cases(),
          do: {name, change, clone!(context, String.replace(name, ~r/\W+/, "-"))}

    settle!(context, for({_name, _change, clone} <- cases, do: clone))

    for {name, change, clone} <- cases do
      options = change.(clone)
      branch = Keyword.get(options, :ref, "main")
      wanted = Repository.rev_parse!(clone.origin, branch)
      HttpServer.reset(context.http)
      assert {name, sync_clone(context, clone, options)} == {name, {:ok, wanted}}
      Oracle.assert_synced(clone.path, clone.origin, wanted)
      {head, 0} = GitCommand.run(["symbolic-ref", "HEAD"], cd: clone.path)
      assert {name, head} == {name, "refs/heads/#{branch}\n"}

      if options[:depth],
        do: assert(GitCommand.run!(["rev-list", "--count", "HEAD"], cd: clone.path) == "2\n")

      # Whatever it is, the branch was asked for once; then there is a fetch, or nothing.
      asked =
        for %{method: "POST", body: "0014command=ls-refs" <> _} <- HttpServer.log(context.http),
            do: :asked

      most = if name in ["no directory", "a pack that is cut short"], do: 2, else: 1
      assert {name, length(asked)} == {name, most}
    end
  end

  test "is not taken for what it was when something else is there", context do
    clone = clone!(context, "replaced")
    settle!(context, [clone])
    File.rename!(clone.path, clone.path <> ".away")
    File.mkdir!(clone.path)
    File.write!(Path.join(clone.path, "precious"), "mine")
    assert {:error, %Git.Error{reason: :occupied}} = sync_clone(context, clone)
    assert File.ls!(clone.path) == ["precious"]
    # And is known again by what it is, not by where it was.
    TempDir.remove!(clone.path)
    File.rename!(clone.path <> ".away", clone.path)
    assert sync_clone(context, clone) == {:ok, clone.commit}
  end

  test "is read as it is, at any time", context do
    clone = clone!(context, "read")
    settle!(context, [clone])
    file = Path.join(clone.path, @file_name)
    read = fn -> Git.read(clone.path, @file_name, server: context.git) end
    for _ <- 1..20, do: assert(read.() == {:ok, "n: 50\n"})
    File.write!(file, "n: XX\n")
    assert read.() == {:ok, "n: XX\n"}
    File.write!(file, "")
    assert read.() == {:ok, ""}
    File.rm!(file)
    assert {:error, %Git.Error{reason: :path_not_found}} = read.()
    File.ln_s!("51.yaml", file)
    assert read.() == {:ok, "n: 51\n"}
    assert {:ok, _} = sync_clone(context, clone)
    assert read.() == {:ok, "n: 50\n"}
    Repository.commit!(clone.origin, %{@file_name => "n: new\n"})
    assert {:ok, _} = sync_clone(context, clone)
    assert read.() == {:ok, "n: new\n"}

    assert {:error, %Git.Error{reason: :too_large}} =
             Git.read(clone.path, @file_name, server: context.git, max_bytes: 3)
  end

  test "remembers the URL by which it was synced last", context do
    clone = clone!(context, "url")
    settle!(context, [clone])
    url = String.replace(clone.url, "127.0.0.1", "localhost")
    assert sync_clone(context, clone, url: url) == {:ok, clone.commit}
    assert GitCommand.run!(["config", "remote.origin.url"], cd: clone.path) == url <> "\n"
  end
end
