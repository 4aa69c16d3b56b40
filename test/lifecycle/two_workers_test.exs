defmodule Alumiini.Git.TwoWorkersTest do
  # Two workers know nothing of each other but the lock on the directory: two servers on one path,
  # or a BEAM that died and whose worker has not noticed.
  use Alumiini.Git.Test.KillCase, async: true

  alias Alumiini.Git.Test.SecondBeam

  @moduletag timeout: 120_000

  @clone [
    {"connect", 1},
    {"pack", 2},
    {"rename", 1},
    {"renamed", 1},
    {"checkout", 20},
    {"unmark", 1}
  ]
  @fetch [
    {"connect", 1},
    {"pack", 2},
    {"installed", 1},
    {"marker", 1},
    {"refs", 1},
    {"checkout", 20},
    {"unmark", 1}
  ]
  # From here on there is something that a reader must not take for a whole commit.
  @under_way ["renamed", "checkout", "unmark", "refs"]

  setup [:dir, :versions, :http]

  defp request(context, path) do
    %{"op" => "sync", "url" => context.url, "branch" => "main", "path" => path, "depth" => 1}
  end

  defp fault(request, {phase, n}, what) do
    Map.put(request, "fault", %{"at" => phase, "do" => what, "after" => n})
  end

  defp new_path(context), do: Path.join(context.dir, "work-#{System.unique_integer([:positive])}")

  defp assert_synced(context, path, version) do
    Oracle.assert_synced(path, context.origin, context.commits[version])
    assert Leftovers.of(path) == []
  end

  # A repository at version 1 whose remote is at 2, or nothing whose remote is at 1.
  defp prepare(context, :clone), do: {request(context, new_path(context)), [], 1}

  defp prepare(context, :fetch) do
    request = request(context, new_path(context))
    publish!(context, 1)
    RawWorker.with_worker(fn worker -> assert {:ok, _id} = RawWorker.call(worker, request) end)
    publish!(context, 2)
    {request, [1], 2}
  end

  describe "while one worker is at work, another waits, and takes over when the first is " <>
             "killed, in" do
    for what <- [:clone, :fetch] do
      @what what
      test "a #{what}", context do
        moments = if @what == :clone, do: @clone, else: @fetch
        for moment <- moments, do: killed_while_another_waits(context, @what, moment)
      end
    end
  end

  defp killed_while_another_waits(context, what, {phase, _n} = moment) do
    {%{"path" => path} = request, old, new} = prepare(context, what)

    RawWorker.with_worker(fn first ->
      parked = RawWorker.ask(first, fault(request, moment, "hang"))
      :ok = RawWorker.await_parked!(first, parked)

      RawWorker.with_worker(fn second ->
        asked = HttpServer.stats(context.http).requests
        sync = RawWorker.ask(second, request)

        # Reads do not wait.
        case WholeCommit.read(second, path) do
          {:ok, contents} ->
            refute phase in @under_way, "#{what}, #{phase}: read while files are moved"
            assert {moment, WholeCommit.version(contents)} in Enum.map(old, &{moment, &1})

          {:error, kind} ->
            assert {moment, kind} == {moment, "incomplete"}
        end

        # The second had time to begin, and has not: it would have asked the remote.
        assert RawWorker.unanswered?(second, sync)
        assert HttpServer.stats(context.http).requests == asked

        RawWorker.kill!(first)
        assert RawWorker.await(second, sync) == {:ok, context.commits[new]}
      end)
    end)

    assert_synced(context, path, new)
    TempDir.remove!(path)
  end

  test "two workers that sync one path at once both answer with the remote's commit", context do
    path = new_path(context)

    RawWorker.with_worker(fn one ->
      RawWorker.with_worker(fn two ->
        for version <- [1, 2, 3, 1, 3, 2] do
          publish!(context, version)

          syncs =
            for worker <- [one, two], do: {worker, RawWorker.ask(worker, request(context, path))}

          for {worker, id} <- syncs,
              do: assert(RawWorker.await(worker, id) == {:ok, context.commits[version]})

          assert_synced(context, path, version)
        end
      end)
    end)
  end

  test "a reader in another worker sees one whole commit in each listing and each file, or " <>
         "`incomplete`",
       context do
    path = new_path(context)
    seen = for version <- 1..2, into: %{}, do: {version, Versions.contents(version)}

    RawWorker.with_worker(fn writer ->
      assert {:ok, _id} = RawWorker.call(writer, request(context, path))

      RawWorker.with_worker(fn reader ->
        for turn <- 1..10 do
          version = rem(turn, 2) + 1
          publish!(context, version)
          sync = RawWorker.ask(writer, request(context, path))
          read_until_answered(reader, path, seen, writer, sync)
          assert RawWorker.await(writer, sync) == {:ok, context.commits[version]}
        end
      end)
    end)
  end

  defp read_until_answered(reader, path, seen, writer, sync) do
    listing = RawWorker.ask(reader, %{"op" => "files", "path" => path, "subpath" => "deploy"})

    file =
      RawWorker.ask(reader, %{
        "op" => "read",
        "path" => path,
        "file" => "app/40.yaml",
        "raw" => true
      })

    case RawWorker.await(reader, listing) do
      {:ok, names} ->
        assert names in for({_, all} <- seen, do: all["deploy"] |> Map.keys() |> Enum.sort())

      {:error, kind, _sentence} ->
        assert kind == "incomplete"
    end

    case RawWorker.await(reader, file) do
      {:ok, content} -> assert content in for({_, all} <- seen, do: all["app"]["40.yaml"])
      {:error, kind, _sentence} -> assert kind == "incomplete"
    end

    if RawWorker.unanswered?(writer, sync),
      do: read_until_answered(reader, path, seen, writer, sync)
  end

  describe "the worker of a BEAM that was killed, stopped in the middle of a checkout," do
    test "keeps the path until it is gone; then the next sync completes it", context do
      {git, beam_worker, path} = stopped_worker_of_dead_beam(context)

      # It holds the lock: a sync waits as long as it may, a read does not wait.
      assert {:error, %Error{reason: :timeout}} =
               Git.sync(context.url, "main", path, server: git, timeout: 500)

      assert {:error, %Error{reason: :incomplete, retryable?: true}} =
               Git.files(path, nil, server: git)

      waiting = Task.async(fn -> Git.sync(context.url, "main", path, server: git) end)
      assert OsProcess.await(fn -> Git.Server.info(git).in_flight == 1 end, 5_000) == :ok
      assert OsProcess.state(beam_worker) == "T"

      :ok = OsProcess.kill(beam_worker, :KILL)
      assert Task.await(waiting) == {:ok, context.commits[1]}
      assert_synced(context, path, 1)
    end

    test "ends by itself when it goes on, and a read completes what it left", context do
      {git, beam_worker, path} = stopped_worker_of_dead_beam(context)
      :ok = OsProcess.kill(beam_worker, :CONT)
      assert OsProcess.await_exit(beam_worker, 1_000) == :ok
      assert Git.files(path, "deploy", server: git) == {:ok, ["always.yaml", "only-1.yaml"]}
      Oracle.assert_tree_equals(path, context.origin, context.commits[1])
      assert Git.sync(context.url, "main", path, server: git) == {:ok, context.commits[1]}
      assert_synced(context, path, 1)
    end
  end

  defp stopped_worker_of_dead_beam(context) do
    path = new_path(context)

    request = fault(request(context, path), {"checkout", 20}, "stop")

    beam =
      SecondBeam.start!("""
      {:ok, git} = Alumiini.Git.start_link(name: nil)
      Alumiini.Git.head("/nowhere", server: git)
      IO.puts(Alumiini.Git.Server.info(git).os_pid)
      Alumiini.Git.Server.call(git, #{inspect(request)})
      """)

    worker = beam |> SecondBeam.line!() |> String.to_integer()
    on_exit(fn -> OsProcess.kill(worker, :KILL) end)
    assert OsProcess.await_state(worker, ["T"], 20_000) == :ok
    :ok = SecondBeam.kill!(beam)
    assert OsProcess.state(worker) == "T"
    {start_supervised!({Git, name: nil}), worker, path}
  end
end
