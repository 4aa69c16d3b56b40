defmodule Alumiini.Git.ReadsPagesTest do
  # Answers that come in several replies are one to the caller.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.ReadOracle

  @moduletag timeout: 180_000

  setup [:dir, :origin, :git]

  setup context do
    %{server: [server: context.git]}
  end

  defp sync!(%{origin: origin, path: path, server: server}) do
    options = [working_tree: false, depth: :infinity] ++ server
    assert {:ok, sha} = Git.sync(origin, "main", path, options)
    sha
  end

  # How many replies the worker makes of it.
  defp pages(context, request, after_page \\ nil, count \\ 1) do
    request = Map.merge(request, %{"path" => context.path, "after" => after_page})
    assert {:ok, reply} = Server.call(context.git, request)
    if reply["next"], do: pages(context, request, reply["next"], count + 1), else: count
  end

  test "a snapshot of 40 MiB and 3,000 files", context do
    %{origin: origin, path: path, server: server} = context
    large = for n <- 1..38, do: {"large/#{n}.bin", :crypto.strong_rand_bytes(1_048_576)}
    one = {"large/one.bin", String.duplicate("12 MiB of text, ", 786_432)}
    small = for n <- 1..3_000, do: {"small/#{rem(n, 100)}/#{n}.yaml", "n: #{n}\n"}
    Repository.commit!(origin, [one | large ++ small])
    sha = sync!(context)
    assert pages(context, %{"op" => "snapshot"}) > 3

    assert {:ok, snapshot} = Git.snapshot(path, server)
    expected = ReadOracle.snapshot(origin, sha)
    assert {snapshot.commit, snapshot.tree} == {expected.commit, expected.tree}
    names = &Enum.map(&1, fn file -> {file.path, file.oid, file.mode, file.size} end)
    assert names.(snapshot.files) == names.(expected.files)

    for {ours, theirs} <- Enum.zip(snapshot.files, expected.files),
        do: assert(ours.content == theirs.content)

    # Nothing holds more than itself.
    for %{content: content} <- snapshot.files,
        do: assert(:binary.referenced_byte_size(content) == byte_size(content))

    # The limits are those of the whole.
    for {limit, options} <- [
          {40_000_000, [max_bytes: 40_000_000]},
          {3_000, [max_files: 3_000, content: false]}
        ] do
      assert {:error, %Error{reason: :too_large, detail: %{limit: ^limit}}} =
               Git.snapshot(path, options ++ server)
    end

    assert {:error, %Error{reason: :timeout, op: :snapshot}} =
             Git.snapshot(path, [timeout: 1] ++ server)
  end

  test "a diff of 70,000 files", context do
    %{origin: origin, path: path, server: server} = context
    first = Repository.commit!(origin, %{"app.yaml" => "a: 1\n"})
    files = for n <- 1..70_000, do: {"files/#{rem(n, 100)}/#{n}.yaml", "n: #{rem(n, 7)}\n"}
    second = Repository.commit!(origin, files)
    sync!(context)
    assert pages(context, %{"op" => "diff", "from" => first, "to" => second}) > 1
    assert {:ok, changes} = Git.diff(path, first, second, server)
    assert changes == ReadOracle.diff(origin, first, second)
  end

  test "a log of 12,000 commits, of which the newest comes in the middle", context do
    %{origin: origin, path: path, server: server} = context
    Repository.history!(origin, 12_000)
    sync!(context)
    request = %{"op" => "log", "path" => path, "limit" => 20_000}
    assert pages(context, request) > 1
    assert {:ok, commits} = Git.log(path, [limit: 20_000] ++ server)
    expected = ReadOracle.log(origin, "main")
    assert Enum.map(commits, & &1.sha) == expected

    # A page goes on where the one before it ended, whatever is synced between the two.
    assert {:ok, %{"ok" => first, "next" => next}} = Server.call(context.git, request)
    Repository.commit!(origin, %{"new.yaml" => "new\n"})
    sync!(context)
    request = Map.put(request, "after", next)
    assert {:ok, %{"ok" => second}} = Server.call(context.git, request)
    shas = Enum.map(first ++ second, & &1["sha"])
    assert shas -- Enum.uniq(shas) == []
    assert List.starts_with?(expected, shas)
  end
end
