defmodule Alumiini.Git.CallTest do
  # What a caller can count on: deadlines, events, an empty mailbox, one answer.
  use Alumiini.Git.Test.ScriptedServerCase, async: true

  describe "a deadline" do
    test "holds while the worker is silent; it is told to stop, and lives on when it does",
         context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]], grace: 20_000)

      {ms, result} =
        took(fn -> Server.call(server, %{"op" => "read", "path" => "silent"}, timeout: 300) end)

      assert {:error, %Error{reason: :timeout, op: :read, retryable?: true} = error} = result
      assert error.message =~ "300 ms"
      assert ms in 299..1_300
      # Answered in order, so the answer to `cancel` has been read by then.
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert %{pending: 0, workers: 1, attempts: 1} = Server.info(server)
    end

    test "holds while there is no worker yet", context do
      {server, _binary} = scripted!(context, [[:hang]])
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}, timeout: 200) end)
      assert {:error, %Error{reason: :timeout}} = result
      assert ms in 199..1_200
      assert %{pending: 0} = Server.info(server)
    end

    test "that the worker does not keep to costs it its life, and nobody else an answer", context do
      first = hello() ++ [:read, event(), :hang]
      {server, _binary} = scripted!(context, [first, hello() ++ [:serve]], grace: 100)

      assert {:error, %Error{reason: :timeout}} =
               Server.call(server, %{"op" => "head", "progress" => true}, timeout: 200)

      other = Task.async(fn -> Server.call(server, %{"op" => "head"}) end)

      assert_receive {:worker, :down, ^server, %{reason: :unresponsive}}, @soon
      assert {:ok, %{"ok" => "served"}} = Task.await(other)
      assert_receive {:worker, :up, ^server, %{attempt: 2}}
    end

    test "holds while the worker has stopped and the pipe is full, and others are served",
         context do
      {server, _binary} =
        scripted!(context, [hello() ++ [:stop, :serve], hello() ++ [:serve]], grace: 200)

      assert_receive {:worker, :up, ^server, _metadata}, @soon
      big = String.duplicate("x", 300_000)

      {patient, _ref} = async(server, %{"op" => "head", "path" => big})
      wait_until_stuck(server)
      others = for _ <- 1..5, do: Task.async(fn -> Server.call(server, %{"op" => "read"}) end)

      {ms, result} =
        took(fn -> Server.call(server, %{"op" => "files", "path" => big}, timeout: 300) end)

      assert {:error, %Error{reason: :timeout}} = result
      assert ms in 299..1_300

      for result <- Task.await_many([patient | others]),
          do: assert({:ok, %{"ok" => "served"}} = result)

      assert_receive {:worker, :down, ^server, %{reason: :unresponsive}}
    end

    test "of a server that does not run: calls return, and leave nothing in the mailbox", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      :sys.suspend(server)
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}, timeout: 100) end)
      assert {:error, %Error{reason: :timeout}} = result
      assert ms in 99..1_100
      :sys.resume(server)
      # The late answer was sent, if at all, before this one.
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert mailbox() == []
    end
  end

  describe "a caller" do
    test "that dies cancels its request", context do
      out = Path.join(context.tmp_dir, "cancelled")
      take = {:shell, ~s(echo $frame > "#{out}.new" && mv "#{out}.new" "#{out}")}
      cancelled = {:reply, %{"id" => 2, "err" => "cancelled", "kind" => "cancelled"}}

      {server, _binary} =
        scripted!(context, [hello() ++ [:read, event(), :read, take, cancelled, :serve]])

      test = self()
      on_event = fn name, _event -> send(test, name) end

      caller =
        spawn(fn ->
          Server.call(server, %{"op" => "head", "progress" => true}, on_event: on_event)
        end)

      assert_receive "taken", @soon
      Process.exit(caller, :kill)
      {:ok, frame} = wait_for(fn -> File.read(out) end, &match?({:ok, _frame}, &1))

      assert %{"op" => "cancel", "id" => 2} =
               frame |> String.trim() |> Base.decode16!(case: :lower) |> Msgpax.unpack!()

      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert %{pending: 0, attempts: 1} = Server.info(server)
    end

    test "whose function raises cancels its request and gets what was raised", context do
      script = hello() ++ [:read, event(), :serve]
      {server, _binary} = scripted!(context, [script], grace: 20_000)
      raising = fn _name, _event -> raise "not like this" end

      assert_raise RuntimeError, "not like this", fn ->
        Server.call(server, %{"op" => "head", "progress" => true}, on_event: raising)
      end

      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert %{pending: 0, attempts: 1} = Server.info(server)
      assert mailbox() == []
    end

    test "gets no event that it did not ask for, and nothing after the answer", context do
      script =
        hello() ++
          [
            :read,
            event(),
            {:answer, 1},
            event("late"),
            :read,
            event(),
            {:answer, 2},
            event("late"),
            :serve
          ]

      {server, _binary} = scripted!(context, [script])
      test = self()
      on_event = fn name, _event -> send(test, {:told, name}) end

      assert {:ok, %{"ok" => 1}} = Server.call(server, %{"op" => "head"}, on_event: on_event)

      assert {:ok, %{"ok" => 2}} =
               Server.call(server, %{"op" => "head", "progress" => true}, on_event: on_event)

      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert_received {:told, "taken"}
      refute_received {:told, _name}
    end

    # A server of the test's own, which answers when it should not.
    test "finds nothing in its mailbox that came with or after the answer" do
      test = self()

      server =
        spawn_link(fn ->
          receive do
            {Server.Call, :request, %{ref: ref}} ->
              send(ref, {ref, :event, "x", %{}})
              for n <- 1..2, do: send(ref, {ref, :answer, %{"ok" => n}})
              send(ref, {ref, :event, "x", %{}})
              send(ref, {ref, :error, :internal, "late"})
              send(test, :all_sent)
              assert_receive :over, @soon
              send(ref, {ref, :answer, %{"ok" => 3}})
              send(test, :sent_late)
          end
        end)

      wait = fn _name, _event -> assert_receive :all_sent, @soon end

      assert {:ok, %{"ok" => 1}} =
               Server.call(server, %{"op" => "head", "progress" => true}, on_event: wait)

      assert mailbox() == []
      send(server, :over)
      assert_receive :sent_late, @soon
      assert mailbox() == []
    end

    test "is refused past :max_pending, and what was given up counts until the worker lets go",
         context do
      {server, _binary} =
        scripted!(context, [hello() ++ [:read, event(), :read, event(), :hang]],
          max_pending: 2,
          grace: 20_000
        )

      {_first, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon

      assert {:error, %Error{reason: :timeout}} =
               Server.call(server, %{"op" => "head"}, timeout: 100)

      assert {:error, %Error{reason: :overloaded, retryable?: true} = error} =
               Server.call(server, %{"op" => "head"})

      assert error.message =~ ":max_pending"
    end

    test "is told where no server is" do
      dead = spawn(fn -> :ok end)
      monitor = Process.monitor(dead)
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}

      for server <- [
            :nobody_has_this_name,
            dead,
            {:nobody_has_this_name, node()},
            {:nobody_has_this_name, :nowhere@nohost},
            {:global, :nobody_has_this_name},
            {:via, Registry, {NoSuchRegistry, :name}},
            {:via, :global, :nobody_has_this_name}
          ] do
        assert {:error, %Error{reason: :worker_unavailable, retryable?: false}} =
                 Server.call(server, %{"op" => "head"}, timeout: 1_000)
      end
    end

    test "is told when the server stops meanwhile", context do
      {server, _binary} = scripted!(context, [hello() ++ [:read, event(), :hang]])
      {task, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon
      stop_supervised!(Git)
      assert {:error, %Error{reason: :worker_unavailable} = error} = Task.await(task)
      assert error.message =~ "stopped"
    end
  end

  describe "a request that cannot be sent" do
    test "because it is too large is refused, and the others go on", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      huge = %{"op" => "head", "path" => String.duplicate("x", 2_000_000)}
      assert {:error, %Error{reason: :invalid} = error} = Server.call(server, huge)
      assert error.message =~ "1048576 bytes"
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert %{pending: 0, attempts: 1} = Server.info(server)
    end
  end
end
