defmodule Alumiini.Git.FixedModesTest do
  # File systems that keep no modes (SMB, many in user space): all files are executable there, or
  # none is. `bindfs` shows a directory like that, which takes FUSE and root.
  use Alumiini.Git.Test.HttpCase, async: true

  # Files and directories as each of the two shows them.
  @kinds [all: "0777", none: "a=rw,a+D"]

  # Answers whether there is such a file system here.
  mount = fn perms, from, to ->
    arguments = ["--perms=#{perms}", "--chmod-ignore", from, to]

    System.find_executable("bindfs") &&
      match?({_, 0}, System.cmd("bindfs", arguments, stderr_to_stdout: true))
  end

  probe = Path.join(System.tmp_dir!(), "alumiini-git-fuse-probe-#{System.pid()}")
  File.mkdir_p!(probe)
  mounted? = mount.("0777", probe, probe)
  if mounted?, do: {_, 0} = System.cmd("umount", [probe])
  File.rmdir(probe)
  unless mounted?, do: @moduletag(skip: "a file system without modes takes bindfs, FUSE and root")

  setup [:dir, :origin, :http, :git]

  defp mount!(context, kind) do
    [from, volume] = for name <- ["below", "volume"], do: Path.join(context.dir, "#{name}-#{kind}")
    for directory <- [from, volume], do: File.mkdir_p!(directory)
    {_, 0} = System.cmd("bindfs", ["--perms=#{@kinds[kind]}", "--chmod-ignore", from, volume])
    # Runs before the directory is removed: the last to be named is the first to run.
    on_exit(fn -> {_, 0} = System.cmd("umount", ["-l", volume]) end)
    Map.put(context, :path, Path.join(volume, "clone"))
  end

  defp commit!(context, n) do
    files = %{
      "run.sh" => {:executable, "run #{n}\n"},
      "a.yaml" => "a: #{n}\n",
      "sub/b.yaml" => "b: 1\n"
    }

    Repository.commit!(context.origin, files)
  end

  # Files may have new times only where they have new contents.
  defp assert_nothing_written(context) do
    files = fn ->
      Directory.contents(context.path) |> Map.reject(fn {name, _} -> name =~ ~r"^\.git(/|$)" end)
    end

    before = files.()
    HttpServer.reset(context.http)
    assert {:ok, _same} = sync(context)
    assert HttpServer.stats(context.http).pack_bytes == 0
    assert Directory.touched(before, files.()) == []
  end

  for {kind, _perms} <- @kinds do
    @kind kind

    test "nothing new touches nothing (executable: #{kind})", context do
      context = mount!(context, @kind)
      commit = commit!(context, 1)
      assert sync(context) == {:ok, commit}
      assert GitCommand.run!(["config", "core.filemode"], cd: context.path) == "false\n"
      for _ <- 1..3, do: assert_nothing_written(context)
      assert GitCommand.run!(["status", "--porcelain"], cd: context.path) == ""
      commit = commit!(context, 2)
      assert sync(context) == {:ok, commit}
      for _ <- 1..2, do: assert_nothing_written(context)
      assert GitCommand.run!(["status", "--porcelain"], cd: context.path) == ""
      Oracle.fsck!(context.path)
      # An edit still shows.
      File.write!(Path.join(context.path, "a.yaml"), "edited\n")
      assert sync(context) == {:ok, commit}
      assert File.read!(Path.join(context.path, "a.yaml")) == "a: 2\n"
    end

    test "a repository that was made elsewhere finds it out (executable: #{kind})", context do
      context = mount!(context, @kind)
      commit = commit!(context, 1)
      assert sync(context) == {:ok, commit}
      GitCommand.run!(["config", "core.filemode", "true"], cd: context.path)
      commit = commit!(context, 2)
      assert sync(context) == {:ok, commit}
      for _ <- 1..2, do: assert_nothing_written(context)
      assert GitCommand.run!(["config", "core.filemode"], cd: context.path) == "false\n"
    end
  end
end
