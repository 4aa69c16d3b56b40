defmodule Alumiini.Git.ExportTest do
  # What becomes of the place that is exported to, and who reads there meanwhile.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Error, Export}
  alias Alumiini.Git.Test.{Oracle, Repository, TempDir}

  @moduletag timeout: 120_000

  @files 20

  setup do
    dir = TempDir.create!("export")
    origin = Repository.create!(dir)

    commits =
      Repository.commits!(
        origin,
        for n <- 1..20 do
          files = for f <- 1..@files, do: {"app/#{f}.yaml", "version: #{n}\n"}
          %{files: files}
        end
      )

    git = start_supervised!({Git, name: nil})
    path = Path.join(dir, "clone")
    options = [server: git, working_tree: false, depth: :infinity]
    assert {:ok, _sha} = Git.sync(origin, "main", path, options)
    dest = Path.join(dir, "dest")
    %{dir: dir, origin: origin, commits: commits, server: [server: git], path: path, dest: dest}
  end

  test "what no export put there is not touched", context do
    %{path: path, dest: dest, dir: dir, server: server} = context
    theirs = Path.join(dest, "theirs")
    File.mkdir_p!(dest)
    File.write!(theirs, "theirs\n")
    elsewhere = Path.join(dir, "elsewhere")
    File.mkdir_p!(elsewhere)
    File.write!(Path.join(elsewhere, "theirs"), "theirs\n")
    link = Path.join(dir, "link")
    File.ln_s!(elsewhere, link)

    for {to, options} <- [{dest, []}, {dest, [link: true]}, {link, []}, {link, [link: true]}] do
      assert {:error, %Error{reason: :occupied, op: :export, detail: %{file: ^to}}} =
               Git.export(path, to, options ++ server)
    end

    assert {:error, %Error{reason: :occupied}} = Git.export(path, dest, [format: :tar_gz] ++ server)

    assert File.ls!(dest) == ["theirs"]
    assert File.ls!(elsewhere) == ["theirs"]
    assert File.read_link!(link) == elsewhere
    # An empty directory is as good as none, as a mount point is.
    File.rm!(theirs)
    assert {:ok, %Export{files: @files}} = Git.export(path, dest, server)
  end

  test "a place in a working tree is refused", context do
    %{path: path, dir: dir, origin: origin, server: server} = context
    checkout = Path.join(dir, "checkout")
    assert {:ok, _sha} = Git.sync(origin, "main", checkout, server)

    for to <- [
          Path.join(checkout, "dest"),
          Path.join(checkout, ".git/dest"),
          Path.join(path, "dest")
        ] do
      assert {^to, {:error, %Error{reason: :unsafe_path}}} = {to, Git.export(path, to, server)}
    end

    Oracle.assert_synced(checkout, origin, List.last(context.commits))
  end

  test "below the root of a server alone", context do
    %{path: path, dir: dir, dest: dest} = context
    root = Path.join(dir, "root")
    File.mkdir_p!(root)
    git = start_supervised!({Git, name: nil, root: root}, id: :rooted)
    inside = Path.join(root, "clone")
    File.rename!(path, inside)
    assert {:error, %Error{reason: :unsafe_path}} = Git.export(inside, dest, server: git)
    refute File.exists?(dest)
    assert {:ok, _export} = Git.export(inside, Path.join(root, "dest"), server: git)
    File.rename!(inside, path)
    assert {:error, %Error{reason: :unsafe_path}} = Git.snapshot(path, server: git)
  end

  test "the digest is of what is in it, wherever it comes from", context do
    %{path: path, dest: dest, dir: dir, origin: origin, server: server, commits: commits} = context
    other = Path.join(dir, "other")
    assert {:ok, last} = Git.sync(origin, "main", other, server)
    assert last == List.last(commits)

    for options <- [[], [format: :tar_gz], [subpath: "app", match: "1*.yaml"], [link: true]] do
      exports =
        for {from, n} <- [{path, 1}, {other, 2}] do
          to = "#{dest}-#{n}-#{System.unique_integer([:positive])}"
          assert {:ok, export} = Git.export(from, to, options ++ server)
          bytes = if options[:format], do: File.read!(to)
          {export, bytes}
        end

      assert [one, one] = exports
    end

    assert {:ok, %{digest: now}} = Git.export(path, dest, server)
    assert {:ok, %{digest: before}} = Git.export(path, dest, [at: hd(commits)] ++ server)
    assert now != before
  end

  test "a limit of bytes says how much was too much, and leaves what was there", context do
    %{path: path, dest: dest, origin: origin, server: server, commits: [first | _]} = context
    assert {:ok, %{bytes: bytes}} = Git.export(path, dest, [at: first] ++ server)

    assert {:error, %Error{reason: :too_large, detail: %{limit: limit}}} =
             Git.export(path, dest, [at: first, max_bytes: bytes - 1] ++ server)

    assert limit == bytes - 1
    assert {:ok, _export} = Git.export(path, dest, [at: first, max_bytes: bytes] ++ server)
    Oracle.assert_tree_equals(dest, origin, first)
  end

  for {kind, options} <- [{"a directory", []}, {"a link", [link: true, grace: 60_000]}] do
    test "#{kind} that is replaced under readers is always whole", context do
      %{path: path, dest: dest, server: server, commits: commits} = context
      options = unquote(options)
      assert {:ok, _export} = Git.export(path, dest, [at: hd(commits)] ++ options ++ server)
      # How often each reader has read, and whether it is enough.
      reads = :counters.new(3, [])
      readers = for n <- 1..2, do: Task.async(fn -> read_on(dest, options[:link], reads, n) end)

      exports =
        Stream.cycle(commits)
        |> Stream.with_index(1)
        |> Enum.find_value(fn {commit, count} ->
          assert {:ok, %{commit: ^commit}} =
                   Git.export(path, dest, [at: commit] ++ options ++ server)

          read = Enum.min(for n <- 1..2, do: :counters.get(reads, n))
          if read >= 10 and commit == List.last(commits), do: count
        end)

      :counters.add(reads, 3, 1)
      Task.await_many(readers, 60_000)
      Oracle.assert_tree_equals(dest, context.origin, List.last(commits))
      left = Path.join(Path.dirname(dest), ".dest.alumiini") |> File.ls!()
      # With a link those before stay, for those who read there.
      assert length(left -- ["made"]) == if(options[:link], do: exports + 1, else: 0)
    end
  end

  defp read_on(dest, link?, reads, n) do
    if :counters.get(reads, 3) == 0 do
      assert_whole(dest, link?)
      :counters.add(reads, n, 1)
      read_on(dest, link?, reads, n)
    end
  end

  # Who follows the link once reads one commit.
  defp assert_whole(dest, true) do
    directory = Path.expand(File.read_link!(dest), Path.dirname(dest))
    assert [_version] = versions(directory)
  end

  # By its name there is always one, whichever.
  defp assert_whole(dest, nil), do: assert(versions(dest) != [])

  defp versions(directory) do
    Enum.uniq(for f <- 1..@files, do: File.read!(Path.join(directory, "app/#{f}.yaml")))
  end
end
