defmodule Alumiini.Git.Test.FixturesTest do
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Test.{Manifests, OddFiles, RandomHistory}

  setup [:dir, :origin]

  # A checkout of the committed bytes, which git itself does only when told.
  defp clone!(context) do
    GitCommand.run!(["clone", "--quiet", "--no-checkout", context.origin, context.path])
    attributes = "* -text -eol -ident -filter -working-tree-encoding\n"
    File.write!(Path.join(context.path, ".git/info/attributes"), attributes)
    GitCommand.run!(["checkout", "--quiet", "HEAD"], cd: context.path)
  end

  test "odd files are committed as given, and the same on every run", context do
    id = Repository.commit!(context.origin, OddFiles.all())
    again = Repository.create!(context.dir, "again.git")
    assert Repository.commit!(again, OddFiles.all()) == id
    Oracle.fsck!(context.origin)

    entries = Oracle.ls_tree(context.origin, id)
    assert Enum.sort(for entry <- entries, do: entry.path) == Enum.sort(Map.keys(OddFiles.all()))
    assert %{mode: "100755"} = Enum.find(entries, &(&1.path == "scripts/run.sh"))
    assert %{mode: "120000"} = Enum.find(entries, &(&1.path == "links/to-directory"))
    assert Oracle.cat_file(context.origin, id, "lines/mixed.yaml") == "a: 1\r\nb: 2\n\r\r\n"

    clone!(context)
    Oracle.assert_synced(context.path, context.origin, id)
  end

  test "every difference of a working tree is found", context do
    id = Repository.commit!(context.origin, OddFiles.all())
    clone!(context)
    at = &Path.join(context.path, &1)

    File.write!(at.("lines/windows.yaml"), "a: 1\nb: 2\n")
    File.rm!(at.("empty.yaml"))
    File.chmod!(at.("scripts/run.sh"), 0o644)
    File.rm!(at.("links/to-file"))
    File.write!(at.("links/to-file"), "../lines/unix.yaml")
    File.rm!(at.("links/dangling"))
    File.ln_s!("somewhere", at.("links/dangling"))
    File.mkdir_p!(at.("left/over"))
    File.write!(at.("ignored.log"), "")
    File.write!(at.("names/stray-\xff"), "")

    assert Enum.sort(Oracle.differences(context.path, context.origin, id)) == [
             content: "lines/windows.yaml",
             content: "links/dangling",
             empty_directory: "left/over",
             executable_bit: "scripts/run.sh",
             kind: "links/to-file",
             missing: "empty.yaml",
             unexpected: "ignored.log",
             unexpected: "names/stray-\xff"
           ]

    assert_raise ExUnit.AssertionError, fn ->
      Oracle.assert_tree_equals(context.path, context.origin, id)
    end

    assert_raise ExUnit.AssertionError, fn -> Oracle.status!(context.path) end
  end

  test "fsck finds a broken repository", context do
    Repository.commit!(context.origin, %{"a" => "a"})
    # A blob that is not there, under a commit that is.
    Repository.commit_raw_tree!(context.origin, "main", [
      {"100644", "a", {:id, String.duplicate("ab", 20)}}
    ])

    assert_raise ExUnit.AssertionError, ~r/missing/, fn -> Oracle.fsck!(context.origin) end
  end

  test "branches move, go, and are rewritten", context do
    [first, second, third] = Repository.history!(context.origin, 3)
    assert Repository.rev_parse!(context.origin) == third
    rewritten = Repository.rewrite!(context.origin, "main", 1, %{"new.yaml" => "a: 1\n"})
    assert Repository.rev_parse!(context.origin, "main~1") == second
    refute rewritten == third

    Repository.move_branch!(context.origin, "old", first)
    assert Repository.rev_parse!(context.origin, "old") == first
    Repository.delete_branch!(context.origin, "old")
    assert Repository.rev_parse(context.origin, "old") == nil

    other =
      Repository.commit!(context.origin, %{"only.yaml" => ""},
        branch: "other",
        from: first,
        only: true
      )

    assert [%{path: "only.yaml"}] = Oracle.ls_tree(context.origin, other)
    Repository.tag!(context.origin, "v1.0.0", "main", message: "One")
    assert Repository.rev_parse!(context.origin, "v1.0.0") == rewritten
  end

  test "trees that git refuses can be made", context do
    id =
      Repository.commit_raw_tree!(context.origin, "main", [
        {"100644", "..", "x"},
        {"100644", ".git", "y"}
      ])

    assert [%{path: ".."}, %{path: ".git"}] = Oracle.ls_tree(context.origin, id)
    assert {_, 128} = GitCommand.run(["clone", "--quiet", context.origin, context.path])
  end

  test "thousands of manifests in one go", context do
    id = Repository.commit!(context.origin, Manifests.many(3_000))
    clone!(context)
    assert length(Oracle.ls_tree(context.origin, id)) == 3_000
    Oracle.assert_tree_equals(context.path, context.origin, id)
  end

  test "random histories follow their seed, and their model is true", context do
    run = fn name, seed ->
      origin = Repository.create!(context.dir, name)

      {steps, history} =
        Enum.map_reduce(1..30, RandomHistory.new(origin, seed), fn _, history ->
          RandomHistory.step(history)
        end)

      for branch <- RandomHistory.branches(history) do
        [{id, paths} | _] = history.branches[branch]
        assert Repository.rev_parse!(origin, "refs/heads/#{branch}") == id

        assert Enum.sort(for entry <- Oracle.ls_tree(origin, id), do: entry.path) ==
                 Enum.sort(paths)
      end

      Oracle.fsck!(origin)
      steps
    end

    steps = run.("one.git", 7)
    assert run.("two.git", 7) == steps
    refute run.("three.git", 8) == steps
    assert steps |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> length() >= 4
  end
end
