defmodule Alumiini.Git.ServerTest do
  # A server with a worker that works, and one that is killed.
  use Alumiini.Git.Test.ScriptedServerCase, async: true

  describe "a worker that works" do
    test "answers", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert Server.call(server, %{"op" => "head"}) == {:ok, %{"ok" => "served"}}

      assert_receive {:worker, :up, ^server,
                      %{version: "1.2.3", attempt: 1, isolated: false, os_pid: os_pid}}

      assert %{os_pid: ^os_pid, pending: 0, in_flight: 0, workers: 1, version: "1.2.3"} =
               Server.info(server)
    end

    test "is told the request as it is, and how much time is left", context do
      out = Path.join(context.tmp_dir, "frame")

      {server, _binary} =
        scripted!(context, [
          hello() ++ [:read, {:shell, ~s(echo $frame > "#{out}")}, {:answer, 1}, :serve]
        ])

      assert {:ok, %{"ok" => 1}} =
               Server.call(server, %{"op" => "head", "path" => <<"/x", 255>>}, timeout: 10_000)

      frame = out |> File.read!() |> String.trim() |> Base.decode16!(case: :lower)

      assert %{"op" => "head", "path" => path, "id" => 2, "timeout" => left} =
               Msgpax.unpack!(frame, binary: true)

      assert path == Msgpax.Bin.new(<<"/x", 255>>)
      assert left in 5_000..10_000
    end

    test "may answer out of order, and each caller gets its own", context do
      # The last answer first. Ids are 2 to 4.
      answers = for id <- [4, 3, 2], do: {:reply, %{"id" => id, "ok" => "for #{id}"}}

      {server, _binary} =
        scripted!(context, [
          hello() ++ [:read, event(), :read, event(), :read] ++ answers ++ [:serve]
        ])

      {first, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon
      {second, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon
      third = Server.call(server, %{"op" => "head"})

      assert [{:ok, %{"ok" => "for 2"}}, {:ok, %{"ok" => "for 3"}}] =
               Task.await_many([first, second])

      assert {:ok, %{"ok" => "for 4"}} = third
    end

    test "goes when the server stops", context do
      {server, _binary} = scripted!(context, [hello() ++ [:hang]])
      assert_receive {:worker, :up, ^server, %{os_pid: os_pid}}, @soon

      watcher = watch(os_pid)

      stop_supervised!(Git)
      assert_receive {:worker, :down, ^server, %{reason: :shutdown}}
      assert_receive {^watcher, {:exit_status, 0}}, @soon
    end

    test "goes when the server stops, even if it does not read", context do
      {server, _binary} = scripted!(context, [hello() ++ [:stop, :serve]])
      assert_receive {:worker, :up, ^server, %{os_pid: os_pid}}, @soon
      {task, _ref} = async(server, %{"op" => "head", "path" => String.duplicate("x", 500_000)})
      wait_until_stuck(server)

      watcher = watch(os_pid)

      stop_supervised!(Git)
      assert {:error, %Error{reason: :worker_unavailable}} = Task.await(task)
      assert_receive {^watcher, {:exit_status, 0}}, @soon
    end
  end

  describe "a server that is killed" do
    test "is told of with its worker, by the process that wrote to it", context do
      Process.flag(:trap_exit, true)
      WorkersSeen.attach!()
      binary = ScriptedWorker.write!(context.tmp_dir, [hello() ++ [:hang]])
      {:ok, server} = Git.start_link(name: nil, binary: binary)
      assert_receive {:worker, :up, ^server, %{os_pid: os_pid}}, @soon
      Process.exit(server, :kill)

      assert_receive {:worker, :down, ^server,
                      %{reason: :server_down, os_pid: ^os_pid, attempt: 1}},
                     @soon

      refute_received {:worker, :down, ^server, _again}
    end

    test "its processes have names in Observer", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert {:ok, _served} = Server.call(server, %{"op" => "head"})
      {:links, links} = Process.info(server, :links)
      names = for pid <- links, is_pid(pid), do: elem(Process.info(pid, :initial_call), 1)
      assert {Server.Writer, :init, 3} in names
    end
  end

  describe "secrets" do
    test "are in no state, no status and no crash report", context do
      {server, _binary} = scripted!(context, [hello() ++ [:read, event(), :hang]])
      test = self()

      spawn(fn ->
        Git.sync("https://u:s3cr3t-in-url@h/x?t=s3cr3t-in-query", "main", "/x",
          server: server,
          auth: Git.Auth.token("s3cr3t-token"),
          progress: fn _progress -> :ok end
        )
      end)

      spawn(fn ->
        Server.call(server, %{"op" => "head", "progress" => true},
          on_event: fn _, _ -> send(test, :second) end
        )
      end)

      # Only one of them is read; both are pending, and one is in the message queue of a suspended
      # process or in the pipe.
      state = wait_for(fn -> :sys.get_state(server) end, &(map_size(&1.pending.entries) == 2))
      {:status, _pid, _module, status} = :sys.get_status(server)

      for term <- [state, status],
          shown <- [
            inspect(term, structs: false, limit: :infinity),
            format("~p", term),
            format("~w", term)
          ] do
        refute shown =~ "s3cr3t"
        refute shown =~ "115,51,99,114,51,116"
      end

      # The report of a crash that has requests in the state and as last message.
      log =
        ExUnit.CaptureLog.capture_log(fn ->
          Process.unlink(server)
          monitor = Process.monitor(server)

          :sys.replace_state(
            server,
            &%{&1 | pending: nil, options: Map.put(&1.options, :kept, &1.pending)}
          )

          Git.ls_remote("https://u:s3cr3t-in-url@h/x", "main",
            server: server,
            timeout: 1_000
          )

          assert_receive {:DOWN, ^monitor, :process, _pid, _reason}
          Logger.flush()
        end)

      assert log =~ "terminating"
      refute log =~ "s3cr3t"
      refute log =~ "115,51,99,114,51,116"
    end
  end

  defp format(format, term), do: to_string(:io_lib.format(format, [term]))
end
