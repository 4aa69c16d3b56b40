defmodule Alumiini.Git.TakenBackTest do
  # A commit that cannot be checked out leaves the one before where it was, whole and readable.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{Leftovers, RawWorker}

  # No file system takes a name of more than 255 bytes; Git's objects do.
  @name String.duplicate("n", 300) <> ".yaml"

  setup [:dir, :origin, :http, :git]

  defp good(context), do: Repository.commit!(context.origin, files(1))

  # Files before and after the one that fails.
  defp bad(context),
    do: Repository.commit!(context.origin, Map.put(files(2), "m/" <> @name, "x: 1\n"))

  defp files(n) do
    for name <- ["a/a.yaml", "b.yaml", "m/m.yaml", "z/z.yaml"],
        into: %{},
        do: {name, "n: #{n} of #{name}\n"}
  end

  defp assert_at(context, commit) do
    Oracle.assert_synced(context.path, context.origin, commit)
    assert {:ok, %{sha: ^commit}} = Git.head(context.path, server: context.git)
    assert {:ok, ["b.yaml"]} = Git.files(context.path, nil, server: context.git)
    assert {:ok, "n: 1 of a/a.yaml\n"} = Git.read(context.path, "a/a.yaml", server: context.git)
    assert Leftovers.of(context.path) == []
  end

  for depth <- [1, :infinity] do
    @depth depth

    test "an update goes back, and fetches nothing twice (depth #{depth})", context do
      old = good(context)
      assert sync(context, depth: @depth) == {:ok, old}
      new = bad(context)

      for n <- 1..3 do
        HttpServer.reset(context.http)
        assert {:error, %Error{reason: :io} = error} = sync(context, depth: @depth)
        assert error.message =~ "name too long" and error.message =~ @name
        assert_at(context, old)
        if n > 1, do: assert(HttpServer.stats(context.http).pack_bytes == 0)
      end

      assert Repository.rev_parse(context.path, "refs/remotes/origin/main") == new
      next = Repository.commit!(context.origin, files(3), only: true)
      assert sync(context, depth: @depth) == {:ok, next}
      Oracle.assert_synced(context.path, context.origin, next)
    end
  end

  test "a change of the branch goes back, too", context do
    old = good(context)
    assert sync(context) == {:ok, old}
    Repository.move_branch!(context.origin, "other", old)
    bad = bad(context)
    Repository.move_branch!(context.origin, "bad", bad)

    assert {:error, %Error{reason: :io}} = sync(context, ref: "bad")

    assert Repository.rev_parse(context.path, "refs/heads/main") == old
    assert_at(context, old)

    assert {:error, %Error{reason: :io}} = sync(context, ref: "bad")

    assert sync(context, ref: "other") == {:ok, old}
  end

  test "a first clone leaves nothing", context do
    bad(context)
    assert {:error, %Error{reason: :io}} = sync(context)
    assert Directory.names(context.dir) |> Enum.filter(&(&1 =~ "clone/")) == []
    next = Repository.commit!(context.origin, files(3), only: true)
    assert sync(context) == {:ok, next}
  end

  test "a checkout of one goes back", context do
    bad = bad(context)
    old = Repository.commit!(context.origin, files(1), only: true)
    assert sync(context, depth: :infinity) == {:ok, old}
    result = Git.checkout(context.path, bad, server: context.git)
    assert {:error, %Error{reason: :io}} = result
    assert_at(context, old)
    assert {:ok, %{branch: "main"}} = Git.head(context.path, server: context.git)
  end

  test "a damaged repository comes back where the new one cannot be checked out", context do
    old = good(context)
    assert sync(context) == {:ok, old}
    bad(context)
    File.write!(Path.join(context.path, ".git/refs/heads/main"), "no id\n")
    assert {:error, %Error{}} = sync(context)
    assert Directory.names(context.path) |> Enum.filter(&(&1 =~ "alumiini-")) == []
    assert {:ok, "n: 1 of a/a.yaml\n"} = Git.read(context.path, "a/a.yaml", server: context.git)
    next = Repository.commit!(context.origin, files(3), only: true)
    assert sync(context) == {:ok, next}
    Oracle.assert_synced(context.path, context.origin, next)
  end

  test "a kill on the way to one ends in a whole commit", context do
    old = good(context)
    assert sync(context) == {:ok, old}
    bad(context)

    for phase <- ["marker", "refs", "checkout"] do
      fault = %{"at" => phase, "do" => "kill", "after" => 1}

      request = %{
        "op" => "sync",
        "url" => context.url,
        "branch" => "main",
        "path" => context.path,
        "fault" => fault
      }

      RawWorker.with_worker(fn worker ->
        assert RawWorker.call(worker, request) == {:exited, 137}
      end)

      # A worker that knows nothing of it.
      RawWorker.with_worker(fn worker ->
        read = %{"op" => "read", "path" => context.path, "file" => "a/a.yaml", "raw" => true}
        assert {phase, RawWorker.call(worker, read)} == {phase, {:ok, "n: 1 of a/a.yaml\n"}}
      end)

      assert_at(context, old)
    end
  end

  test "a cancel on the way ends in a whole commit", context do
    old = good(context)
    assert sync(context) == {:ok, old}
    new = Repository.commit!(context.origin, files(2))

    RawWorker.with_worker(fn worker ->
      fault = %{"at" => "checkout", "do" => "hang", "after" => 2}

      request = %{
        "op" => "sync",
        "url" => context.url,
        "branch" => "main",
        "path" => context.path,
        "fault" => fault
      }

      id = RawWorker.ask(worker, request)
      RawWorker.await_parked!(worker, id)
      RawWorker.cancel(worker, id)
      assert {:error, "cancelled", _sentence} = RawWorker.await(worker, id)
      read = %{"op" => "read", "path" => context.path, "file" => "a/a.yaml", "raw" => true}
      assert RawWorker.call(worker, read) == {:ok, "n: 2 of a/a.yaml\n"}

      assert {:ok, %{"sha" => ^new}} =
               RawWorker.call(worker, %{"op" => "head", "path" => context.path})
    end)

    Oracle.assert_synced(context.path, context.origin, new)
    assert Leftovers.of(context.path) == []
  end
end
