defmodule Alumiini.Git.ReadBoundsTest do
  # What a request for a read may ask for, and what a history may make one do.
  use Alumiini.Git.Test.GitCase, async: true

  @moduletag timeout: 180_000

  setup [:dir, :origin, :commit, :git]

  setup context do
    %{server: [server: context.git]}
  end

  test "patterns are 256 of 1,024 bytes each", context do
    {:ok, _sha} = sync(context)
    %{path: path, server: server} = context
    fits = ["*.yaml" | List.duplicate(String.duplicate("b", 1_024), 255)]

    for key <- [:match, :ignore] do
      assert {:ok, _snapshot} = Git.snapshot(path, [{key, fits} | server])

      for wrong <- [["*.yaml" | fits], [String.duplicate("b", 1_025)]],
          read <- [&Git.snapshot/2, &Git.files/2, &Git.diff(&1, "HEAD", "HEAD", &2)],
          do: assert({:error, %Error{reason: :invalid}} = read.(path, [{key, wrong} | server]))
    end
  end

  test "a revision has 4,096 bytes", context do
    {:ok, _sha} = sync(context)
    %{path: path, server: server} = context

    for {length, told} <- [{4_096, :ok}, {4_098, :invalid}] do
      revision = "HEAD" <> String.duplicate("^0", div(length - 4, 2))

      for read <- [
            fn -> Git.snapshot(path, [at: revision] ++ server) end,
            fn -> Git.files(path, [at: revision] ++ server) end,
            fn -> Git.read(path, "a.yaml", [at: revision] ++ server) end,
            fn -> Git.export(path, Path.join(context.dir, "dest"), [at: revision] ++ server) end,
            fn -> Git.log(path, [from: revision] ++ server) end,
            fn -> Git.diff(path, revision, "HEAD", server) end,
            fn -> Git.diff(path, "HEAD", revision, server) end
          ] do
        assert told ==
                 (case read.() do
                    {:ok, _value} -> :ok
                    {:error, %Error{reason: reason}} -> reason
                  end)
      end
    end
  end

  test "a long name is one of no ref", context do
    {:ok, _sha} = sync(context)

    assert {:error, %Error{reason: :ref_not_found}} =
             Git.snapshot(context.path, at: String.duplicate("b", 4_096), server: context.git)
  end

  test "a repository has 10,000 leases", context do
    {:ok, sha} = sync(context)
    %{path: path, server: server} = context
    leases = file(context, ".git/refs/alumiini/leases")
    File.mkdir_p!(leases)
    for n <- 1..9_999, do: File.write!(Path.join(leases, "of-another-#{n}"), sha <> "\n")
    assert {:ok, lease} = Git.lease(path, sha, server)

    assert {:error, %Error{reason: :too_large, detail: %{limit: 10_000}}} =
             Git.lease(path, sha, server)

    assert Git.release(lease) == :ok
    assert {:ok, _lease} = Git.lease(path, sha, server)
  end

  test "files are compared for renames up to a thousand with a thousand", context do
    %{origin: origin, server: server} = context

    for {deleted, added, renamed} <- [{1_000, 1_000, 1_000}, {1_001, 1_000, 0}] do
      old = for n <- 1..deleted, into: %{}, do: {"old/#{n}", text(n, "old")}
      new = for n <- 1..added, into: %{}, do: {"new/a-#{n}", text(n, "new")}
      from = Repository.commit!(origin, old, only: true)
      to = Repository.commit!(origin, new, only: true)
      path = clone(context, deleted)
      assert {:ok, changes} = Git.diff(path, from, to, [renames: true] ++ server)
      assert {deleted, Enum.count(changes, &(&1.status == :renamed))} == {deleted, renamed}
    end
  end

  # Six files of 12 MiB, each of which has a line more then.
  @tag :soak
  test "128 MiB are compared for renames", context do
    %{origin: origin, server: server} = context
    line = &"file #{&1}, line #{&2} of a long text, which has so many\n"
    old = for n <- 1..6, into: %{}, do: {"old/#{n}", Enum.map_join(1..240_000, &line.(n, &1))}
    new = for {"old/" <> n, text} <- old, into: %{}, do: {"new/a-#{n}", text <> "new\n"}
    from = Repository.commit!(origin, old, only: true)
    to = Repository.commit!(origin, new, only: true)
    path = clone(context, "large")
    assert {:ok, changes} = Git.diff(path, from, to, [renames: true] ++ server)
    assert Enum.count(changes, &(&1.status == :renamed)) in 1..5
  end

  # Some minutes, most of them to make and to fetch the commits.
  @tag :soak
  @tag timeout: 600_000
  test "a log looks at a million commits", context do
    %{origin: origin, path: path, server: server} = context
    commits = Stream.map(1..1_000_000, &%{files: %{}, message: "Revision #{&1}\n"})
    Repository.commits!(origin, commits)
    {:ok, _sha} = Git.sync(origin, "main", path, [depth: :infinity, timeout: 500_000] ++ server)

    assert {:error, %Error{reason: :too_large, detail: %{limit: 1_000_000}}} =
             Git.log(path, [path: "nowhere", timeout: 300_000] ++ server)

    assert {:ok, [_commit]} = Git.log(path, [limit: 1] ++ server)
  end

  defp text(n, last), do: Enum.map_join(1..8, &"#{n}, line #{&1}\n") <> last <> "\n"

  defp clone(context, name) do
    path = Path.join(context.dir, "clone-#{name}")
    {:ok, _sha} = sync(context, path: path, depth: :infinity)
    path
  end
end
