defmodule Alumiini.Git.ReadsKilledTest do
  # A worker that is killed while it reads: the next one answers, and nothing half done is left.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{OsProcess, RawWorker}

  @moduletag timeout: 120_000

  setup [:dir, :origin, :commits, :impatient_git, :synced]

  defp commits(%{origin: origin}) do
    files = for n <- 1..50, do: {"app/#{n}.yaml", "version: 1\n"}
    first = Repository.commit!(origin, files)
    second = Repository.commit!(origin, for({path, _content} <- files, do: {path, "version: 2\n"}))
    %{first: first, second: second}
  end

  defp impatient_git(_context) do
    %{git: start_supervised!({Git, name: nil, backoff_initial: 1, backoff_max: 20})}
  end

  defp synced(context) do
    assert sync(context, depth: :infinity) == {:ok, context.second}
    :ok
  end

  defp calls(%{path: path, dir: dir, first: first, second: second, git: git}) do
    server = [server: git]

    [
      fn -> Git.snapshot(path, [at: first] ++ server) end,
      fn -> Git.files(path, "app", [at: first, recursive: true] ++ server) end,
      fn -> Git.read(path, "app/1.yaml", [at: first] ++ server) end,
      fn -> Git.diff(path, first, second, server) end,
      fn -> Git.log(path, server) end,
      fn -> Git.status(path, server) end,
      fn -> Git.export(path, Path.join(dir, "dest"), [at: first] ++ server) end,
      fn -> Git.export(path, Path.join(dir, "dest.tar.gz"), [format: :tar_gz] ++ server) end
    ]
  end

  test "each call is answered by the next worker", context do
    calls = calls(context)
    expected = for call <- calls, do: call.()
    assert Enum.all?(expected, &match?({:ok, _value}, &1))
    %{os_pid: os_pid} = Server.info(context.git)
    # It has them all, and has answered none.
    :ok = OsProcess.kill(os_pid, :STOP)
    tasks = for call <- calls, do: Task.async(call)
    in_flight = length(calls)
    assert OsProcess.await(fn -> Server.info(context.git).in_flight == in_flight end, 5_000) == :ok
    :ok = OsProcess.kill(os_pid, :KILL)
    assert Task.await_many(tasks, 30_000) == expected
    assert %{attempts: 2, pending: 0} = Server.info(context.git)
    Oracle.assert_tree_equals(Path.join(context.dir, "dest"), context.origin, context.first)
  end

  @requests %{
    "snapshot" => %{},
    "files" => %{"at" => "HEAD", "recursive" => true},
    "read" => %{"at" => "HEAD", "file" => "app/1.yaml"},
    "diff" => %{"from" => "HEAD~1", "to" => "HEAD"},
    "log" => %{},
    "status" => %{},
    "export" => %{}
  }

  for op <- Map.keys(@requests) do
    test "a #{op} that ends each worker in its middle fails alone", context do
      %{git: git, path: path, dir: dir} = context
      fault = %{"fault" => %{"at" => "object", "do" => "kill"}}
      fields = %{"op" => unquote(op), "path" => path, "dest" => Path.join(dir, "dest")}
      request = @requests |> Map.fetch!(unquote(op)) |> Map.merge(fields) |> Map.merge(fault)
      op = String.to_existing_atom(unquote(op))
      assert {:error, %Error{reason: :worker_exited, op: ^op}} = Server.call(git, request)
      assert {:ok, %{commit: commit}} = Git.snapshot(path, server: git)
      assert commit == context.second
      Oracle.assert_synced(path, context.origin, context.second)
    end
  end

  test "an export that is killed leaves what was there, whole, and nothing beside it", context do
    %{path: path, dir: dir, origin: origin, first: first, second: second, git: git} = context
    exports = Path.join(dir, "exports")
    File.mkdir_p!(exports)
    dest = Path.join(exports, "dest")
    request = %{"op" => "export", "path" => path, "dest" => dest, "at" => second}

    for link <- [false, true] do
      assert {:ok, _export} = Git.export(path, dest, at: first, link: link, server: git)

      for {at, after_} <- [{"object", 1}, {"object", 2}, {"object", 50}, {"exported", 1}] do
        fault = %{"at" => at, "after" => after_, "do" => "kill"}
        request = Map.merge(request, %{"fault" => fault, "link" => link})
        assert {:exited, _status} = RawWorker.with_worker(&RawWorker.call(&1, request))
        Oracle.assert_tree_equals(dest, origin, first)
      end

      # Once it is in its place, it is all there.
      fault = %{"at" => "replaced", "do" => "kill"}
      replacing = Map.merge(request, %{"fault" => fault, "link" => link})
      assert {:exited, _status} = RawWorker.with_worker(&RawWorker.call(&1, replacing))
      Oracle.assert_tree_equals(dest, origin, second)

      assert {:ok, _export} = Git.export(path, dest, at: first, link: link, server: git)
      Oracle.assert_tree_equals(dest, origin, first)
      assert Enum.sort(File.ls!(exports)) == [".dest.alumiini", "dest"]
      left = exports |> Path.join(".dest.alumiini") |> File.ls!()
      # The directory that a link leads to is there.
      assert length(left -- ["made"]) == if(link, do: 1, else: 0)
      File.rm_rf!(exports)
      File.mkdir_p!(exports)
    end
  end
end
