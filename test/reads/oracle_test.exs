defmodule Alumiini.Git.ReadsOracleTest do
  # Reads of commits of a long and tangled history are what git says of them.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Test.{Oracle, ReadOracle, Repository, TangledHistory, TempDir}

  @moduletag timeout: 280_000

  # Every so many commits, and with another one.
  for {seed, working_tree} <- [{1, true}, {2, false}] do
    test "some of 250 commits, working_tree: #{working_tree}", context do
      assert_equal(context, 250, unquote(seed), 30, working_tree: unquote(working_tree))
    end
  end

  for seed <- [3, 4, 5] do
    @tag :soak
    @tag timeout: 1_800_000
    test "300 of 600 commits, seed #{seed}", context do
      assert_equal(context, 600, unquote(seed), 300, working_tree: false)
    end
  end

  defp assert_equal(_context, count, seed, some, options) do
    dir = TempDir.create!("oracle")
    origin = Repository.create!(dir)
    commits = TangledHistory.create!(origin, count, seed)
    git = start_supervised!({Git, name: nil})
    path = Path.join(dir, "clone")
    options = [server: git, depth: :infinity] ++ options
    assert Git.sync(origin, "main", path, options) == {:ok, hd(commits)}
    reads = %{origin: origin, path: path, server: [server: git], dest: Path.join(dir, "dest")}
    :rand.seed(:exsss, seed)

    for {commit, n} <- commits |> Enum.take_random(some) |> Enum.with_index() do
      assert_snapshot(reads, commit)
      assert_diff(reads, Enum.random(commits), commit)
      assert_log(reads, commit)
      # These wait for the disk.
      if n < 30, do: assert_export(reads, commit)
    end

    assert_log(reads, hd(commits))
  end

  defp assert_snapshot(%{origin: origin, path: path, server: server}, commit) do
    expected = ReadOracle.snapshot(origin, commit)
    assert {:ok, snapshot} = Git.snapshot(path, [at: commit] ++ server)
    assert %{snapshot | files: without_lfs(snapshot.files)} == expected

    for file <- snapshot.files do
      pointer? = (file.content || "") =~ "git-lfs"
      assert {file.path, file.lfs != nil} == {file.path, pointer?}
    end

    # A link is named where it leads to a file.
    {files, others} = Enum.split_with(expected.files, &(&1.mode in [0o100644, 0o100755]))
    others = MapSet.new(others, & &1.path)
    options = [at: commit, recursive: true, match: "*"] ++ server
    assert {:ok, names} = Git.files(path, options)
    assert names == Enum.sort(names)
    assert Enum.reject(names, &(&1 in others)) == files |> Enum.map(& &1.path) |> Enum.sort()

    for file <- Enum.take_random(files, 5) do
      assert Git.read(path, file.path, [at: commit] ++ server) == {:ok, file.content}
    end
  end

  defp without_lfs(files), do: Enum.map(files, &%{&1 | lfs: nil})

  defp assert_diff(%{origin: origin, path: path, server: server}, from, to) do
    assert {:ok, changes} = Git.diff(path, from, to, server)
    assert_same(changes, ReadOracle.diff(origin, from, to))
    assert {:ok, renamed} = Git.diff(path, from, to, [renames: true] ++ server)
    assert_same(renamed, ReadOracle.diff(origin, from, to, renames: true))
  end

  # What is not the same alone, of lists that fill screens.
  defp assert_same(list, expected) do
    assert {list -- expected, expected -- list} == {[], []}
    assert list == expected
  end

  defp assert_log(%{origin: origin, path: path, server: server}, commit) do
    for options <- [
          [limit: 20],
          [limit: 10_000],
          [limit: 50, path: "deploy"],
          [limit: 10_000, path: "app.yaml"],
          [limit: 10_000, path: "charts/app/templates"]
        ] do
      assert {:ok, commits} = Git.log(path, [from: commit] ++ options ++ server)

      assert {options, Enum.map(commits, & &1.sha)} ==
               {options, ReadOracle.log(origin, commit, options)}
    end
  end

  defp assert_export(%{origin: origin, path: path, server: server, dest: dest}, commit) do
    assert {:ok, export} = Git.export(path, dest, [at: commit] ++ server)
    assert export.commit == commit
    Oracle.assert_tree_equals(dest, origin, commit)
    archive = dest <> ".tar.gz"
    options = [at: commit, format: :tar_gz] ++ server
    assert {:ok, %{digest: digest}} = Git.export(path, archive, options)
    bytes = File.read!(archive)
    assert digest == "sha256:" <> Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)
    assert {:ok, %{digest: ^digest}} = Git.export(path, archive, options)
    assert File.read!(archive) == bytes
    unpacked = dest <> ".unpacked"
    File.rm_rf!(unpacked)
    File.mkdir_p!(unpacked)
    {"", 0} = System.cmd("tar", ["-xzf", archive, "-C", unpacked], stderr_to_stdout: true)
    Oracle.assert_tree_equals(unpacked, origin, commit)
  end
end
