defmodule Alumiini.Git.ReleaseTest do
  # What a release is made with, as far as that takes no minutes; `make release-check` does the
  # rest.
  use ExUnit.Case, async: true

  alias Alumiini.Git.Precompiled.{Archive, Target}
  alias Alumiini.Git.Test.TempDir

  @root Path.expand("../..", __DIR__)

  defp script(name, arguments, options \\ []) do
    root = Keyword.get(options, :root, @root)
    environment = Keyword.get(options, :env, [])

    System.cmd(Path.join([root, "bin/release", name]), arguments,
      stderr_to_stdout: true,
      env: environment
    )
  end

  defp lines(output), do: output |> String.split("\n", trim: true) |> Enum.sort()

  test "is of the targets that the library looks for" do
    {first, 0} = script("targets", ["--tier", "1"])
    {second, 0} = script("targets", ["--tier", "2"])
    {matrix, 0} = script("targets", ["--matrix"])

    assert lines(first) == Enum.sort(Target.first_tier())
    assert lines(second) == Enum.sort(Target.all() -- Target.first_tier())

    in_matrix = for [_, target] <- Regex.scan(~r/"target":"([^"]+)"/, matrix), do: target
    assert Enum.sort(in_matrix) == Enum.sort(lines(first) ++ lines(second))
  end

  # The tar of macOS is another.
  @gnu_tar match?(
             {"tar (GNU tar)" <> _, 0},
             System.cmd("tar", ["--version"], stderr_to_stdout: true)
           )

  @tag skip: not @gnu_tar && "packing needs GNU tar"
  test "has archives that are the same each time, with what the library takes from them" do
    dir = TempDir.create!("release")
    binary = Path.join(dir, "some name")
    time = [{"SOURCE_DATE_EPOCH", "1700000000"}]
    target = "x86_64-unknown-linux-gnu"

    [first, second] =
      for {touched, mode, out} <- [{1_600_000_000, 0o600, "one"}, {1_650_000_000, 0o755, "two"}] do
        File.write!(binary, "a worker")
        File.touch!(binary, touched)
        File.chmod!(binary, mode)
        {path, 0} = script("package", [target, binary, Path.join(dir, out)], env: time)
        path = String.trim(path)
        assert Path.basename(path) == Target.archive(Mix.Project.config()[:version], target)
        File.read!(path)
      end

    assert first == second
    assert Archive.unpack(first, Target.executable()) == {:ok, "a worker"}

    {:ok, [entry]} = :erl_tar.table({:binary, :zlib.gunzip(first)}, [:verbose])
    assert {~c"alumiini-git", :regular, 8, 1_700_000_000, 0o755, 0, 0} = entry
  end

  @tag skip: not @gnu_tar && "packing needs GNU tar"
  test "is none without all targets of the first tier" do
    dir = TempDir.create!("release")
    [missing | present] = Target.first_tier()
    for target <- present, do: File.write!(Path.join(dir, target), "a worker")
    arguments = [dir, Path.join(dir, "archives")]

    assert {output, 1} = script("assemble", arguments)
    assert output =~ "there is no worker for #{missing}"

    File.write!(Path.join(dir, missing), "a worker")
    assert {output, 0} = script("assemble", arguments)
    assert output =~ "armv7-unknown-linux-gnueabihf is in the second tier and could not be built"
    assert length(File.ls!(Path.join(dir, "archives"))) == length(Target.first_tier())
  end

  describe "the version" do
    @files ~w(bin/release/version mix.exs CHANGELOG.md Cargo.lock) ++
             ~w(native/alumiini-git/Cargo.toml native/alumiini-git/fuzz/Cargo.lock)

    setup do
      root = TempDir.create!("version")

      for file <- @files do
        File.mkdir_p!(Path.dirname(Path.join(root, file)))
        File.cp!(Path.join(@root, file), Path.join(root, file))
      end

      %{root: root}
    end

    test "is set wherever it stands, and nothing else is", %{root: root} do
      now = Mix.Project.config()[:version]
      assert {"#{now} -> 7.8.9\n", 0} == script("version", ["7.8.9"], root: root)
      assert {"7.8.9\n", 0} == script("version", [], root: root)

      for file <- @files -- ["bin/release/version", "CHANGELOG.md"] do
        before = String.split(File.read!(Path.join(@root, file)), "\n")
        changed = String.split(File.read!(Path.join(root, file)), "\n")
        assert [{old, new}] = Enum.zip(before, changed) |> Enum.filter(fn {a, b} -> a != b end)
        assert new == String.replace(old, now, "7.8.9"), file
      end
    end

    test "must be that of the tag, and have its section in the changelog", %{root: root} do
      {_, 0} = script("version", ["7.8.9"], root: root)

      assert {output, 1} = script("version", ["--tag", "v7.8.8"], root: root)
      assert output =~ "the tag is v7.8.8, and mix.exs says 7.8.9"

      assert {output, 1} = script("version", ["--tag", "v7.8.9"], root: root)
      assert output =~ "CHANGELOG.md has no section `## 7.8.9`"

      File.write!(Path.join(root, "CHANGELOG.md"), "# Changelog\n\n## 7.8.9 - 2026-12-01\n")
      assert {"", 0} = script("version", ["--tag", "v7.8.9"], root: root)

      {_, 0} = script("version", ["7.8.9-dev"], root: root)
      assert {output, 1} = script("version", ["--tag", "v7.8.9-dev"], root: root)
      assert output =~ "is not for a release"
    end
  end
end
