defmodule Alumiini.Git.ServerTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Error, ScriptedWorker, Server, Telemetry}

  import ScriptedWorker, only: [hello: 0]

  @moduletag :tmp_dir
  @moduletag timeout: 30_000

  # Fails where a message takes longer; nothing waits for this long otherwise.
  @soon 5_000

  defp start!(options) do
    watch_workers()
    options = Keyword.merge([name: nil, backoff_initial: 1, backoff_max: 20], options)
    server = start_supervised!({Alumiini.Git, options})
    {server, options[:binary]}
  end

  defp scripted!(%{tmp_dir: directory}, scripts, options \\ []) do
    start!([binary: ScriptedWorker.write!(directory, scripts)] ++ options)
  end

  # Sends {:up, metadata} and {:down, metadata} of every worker to the test. They are told apart by
  # their server.
  defp watch_workers do
    test = self()
    id = {__MODULE__, make_ref()}

    :telemetry.attach_many(
      id,
      [[:alumiini_git, :worker, :up], [:alumiini_git, :worker, :down]],
      &__MODULE__.tell/4,
      test
    )

    on_exit(fn -> :telemetry.detach(id) end)
  end

  def tell([:alumiini_git, :worker, event], _measurements, metadata, test) do
    send(test, {event, metadata.server, metadata})
  end

  # A request that tells the test when the worker has it (the script answers `"event"` with an
  # event).
  defp async(server, request, options \\ []) do
    test = self()
    ref = make_ref()

    options = Keyword.put(options, :on_event, fn name, _event -> send(test, {ref, name}) end)
    {Task.async(fn -> Server.call(server, Map.put(request, "progress", true), options) end), ref}
  end

  defp event(name \\ "taken"), do: {:reply, %{"id" => :last, "event" => name}}

  defp took(function) do
    {time, result} = :timer.tc(function)
    {div(time, 1000), result}
  end

  describe "a worker that works" do
    test "answers", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert Server.call(server, %{"op" => "head"}) == {:ok, %{"ok" => "served"}}

      assert_receive {:up, ^server,
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
      assert_receive {:up, ^server, %{os_pid: os_pid}}, @soon

      watcher =
        Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: ["-c", tail(os_pid)]])

      stop_supervised!(Alumiini.Git)
      assert_receive {:down, ^server, %{reason: :shutdown}}
      assert_receive {^watcher, {:exit_status, 0}}, @soon
    end

    test "goes when the server stops, even if it does not read", context do
      {server, _binary} = scripted!(context, [hello() ++ [:stop, :serve]])
      assert_receive {:up, ^server, %{os_pid: os_pid}}, @soon
      {task, _ref} = async(server, %{"op" => "head", "path" => String.duplicate("x", 500_000)})
      wait_until_stuck(server)

      watcher =
        Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: ["-c", tail(os_pid)]])

      stop_supervised!(Alumiini.Git)
      assert {:error, %Error{reason: :worker_unavailable}} = Task.await(task)
      assert_receive {^watcher, {:exit_status, 0}}, @soon
    end
  end

  # Ends when that process does.
  defp tail(os_pid), do: "while kill -0 #{os_pid} 2>/dev/null; do sleep 0.01; done"

  describe "a binary that is no worker" do
    test "because it is missing: calls are told at once, and the server lives on", %{
      tmp_dir: directory
    } do
      missing = Path.join(directory, "nothing")
      {server, _binary} = start!(binary: missing)
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}) end)

      assert {:error, %Error{reason: :worker_unavailable, retryable?: false, op: :head} = error} =
               result

      assert error.message =~ missing
      assert error.message =~ ":binary"
      assert ms < 1_000
      assert_receive {:down, ^server, %{reason: :enoent, os_pid: nil, attempt: 1}}
      assert_receive {:down, ^server, %{reason: :enoent, attempt: 3}}, @soon
      assert Process.alive?(server)
    end

    test "because it may not be executed", %{tmp_dir: directory} do
      file = Path.join(directory, "file")
      File.write!(file, "")
      {server, _binary} = start!(binary: file)

      assert {:error, %Error{reason: :worker_unavailable} = error} =
               Server.call(server, %{"op" => "head"})

      assert error.message =~ "permissions"
      refute error.retryable?
    end

    test "because it is none for this machine", %{tmp_dir: directory} do
      file = Path.join(directory, "foreign")
      File.write!(file, "\x7fELF and nothing that follows")
      File.chmod!(file, 0o755)
      {server, _binary} = start!(binary: file)
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}) end)
      assert {:error, %Error{reason: :worker_unavailable, retryable?: false} = error} = result
      assert error.message =~ file
      assert ms < 1_000
    end

    for {what, program} <- [
          "its loader is not here": "#!/not/here/ld-musl.so.1\n",
          "it says nothing": "#!/bin/sh\nexit 0\n",
          "it is another program": "#!/bin/sh\nexit 1\n"
        ] do
      @program program

      test "because #{what}, and the same call would fail again", %{tmp_dir: directory} do
        file = Path.join(directory, "other")
        File.write!(file, @program)
        File.chmod!(file, 0o755)
        {server, _binary} = start!(binary: file)
        result = Server.call(server, %{"op" => "head"})
        assert {:error, %Error{reason: :worker_unavailable, retryable?: false} = error} = result
        assert error.message =~ file
      end
    end

    test "because it ends at once: told after three starts, with the status", context do
      {server, binary} = scripted!(context, [[{:exit, 3}]], backoff_max: 10_000)

      assert {:error, %Error{reason: :worker_unavailable} = error} =
               Server.call(server, %{"op" => "head"})

      assert error.message =~ "exit status 3"
      # The next start may succeed.
      assert error.retryable?
      assert ScriptedWorker.starts(binary) >= 3
      assert Process.alive?(server)
    end

    test "no hot loop: the pauses grow", context do
      {server, binary} =
        scripted!(context, [[{:exit, 3}]], backoff_initial: 200, backoff_max: 60_000)

      assert_receive {:down, ^server, %{attempt: 1}}, @soon
      assert_receive {:down, ^server, %{attempt: 2}}, @soon
      started = System.monotonic_time(:millisecond)
      assert_receive {:down, ^server, %{attempt: 3}}, @soon
      # The second pause: 400 ms, of which up to half is left out.
      assert System.monotonic_time(:millisecond) - started >= 200
      assert ScriptedWorker.starts(binary) == 3
    end

    test "because it speaks another protocol version: both are named", context do
      hello = %{"protocol" => 7, "version" => "9.8.7"}
      {server, _binary} = scripted!(context, [[:read, {:answer, hello}, :hang]])
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}) end)
      assert {:error, %Error{reason: :protocol, retryable?: false} = error} = result
      assert error.message =~ "speaks protocol 1"
      assert error.message =~ "protocol 7 (version 9.8.7)"
      assert ms < 1_000
      assert_receive {:down, ^server, %{reason: :protocol}}, @soon
    end

    test "because it refuses the handshake itself", context do
      refusal = %{"id" => :last, "err" => "this worker speaks protocol 2", "kind" => "protocol"}
      {server, _binary} = scripted!(context, [[:read, {:reply, refusal}, :hang]])
      assert {:error, %Error{reason: :protocol} = error} = Server.call(server, %{"op" => "head"})
      assert error.message =~ "this worker speaks protocol 2"
    end

    test "because it knows no handshake", context do
      {server, _binary} =
        scripted!(context, [[:read, {:reply, %{"err" => "unknown op `hello`"}}, :hang]])

      assert {:error, %Error{reason: :protocol} = error} = Server.call(server, %{"op" => "head"})
      assert error.message =~ "unknown op"
    end

    test "because it talks nonsense", context do
      {server, _binary} = scripted!(context, [[{:raw, <<5::32, "hello">>}, :hang]])

      assert {:error, %Error{reason: :worker_unavailable} = error} =
               Server.call(server, %{"op" => "head"})

      assert error.message =~ "no frame"
      refute error.retryable?
    end

    test "because it never answers the handshake", context do
      {server, binary} = scripted!(context, [[:hang]], handshake_timeout: 100)

      assert {:error, %Error{reason: :worker_unavailable} = error} =
               Server.call(server, %{"op" => "head"})

      assert error.message =~ "within 100 ms"
      assert error.message =~ binary
    end

    test "and cannot be killed with itself: its port is closed", %{tmp_dir: directory} do
      path = Path.join(directory, "cat")
      File.write!(path, "#!/bin/sh\n[ $# = 0 ] || exit 64\nexec cat 3>&1 >/dev/null\n")
      File.chmod!(path, 0o755)
      {server, _binary} = start!(binary: path, handshake_timeout: 100)
      assert_receive {:down, ^server, %{reason: :handshake_timeout, os_pid: os_pid}}, @soon

      watcher =
        Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: ["-c", tail(os_pid)]])

      assert_receive {^watcher, {:exit_status, 0}}, @soon
    end

    test "is asked for again: as soon as one starts, calls are served", context do
      {server, binary} =
        scripted!(context, [
          [{:exit, 1}],
          [{:exit, 1}],
          [{:exit, 1}],
          [{:exit, 1}],
          hello() ++ [:serve]
        ])

      assert_receive {:down, ^server, %{attempt: 4}}, @soon
      assert_receive {:up, ^server, %{attempt: 5}}, @soon
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert ScriptedWorker.starts(binary) == 5
    end

    test "once or twice only: calls wait for the one that starts", context do
      {server, _binary} = scripted!(context, [[{:exit, 1}], [{:exit, 1}], hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
    end
  end

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

      assert_receive {:down, ^server, %{reason: :unresponsive}}, @soon
      assert {:ok, %{"ok" => "served"}} = Task.await(other)
      assert_receive {:up, ^server, %{attempt: 2}}
    end

    test "holds while the worker has stopped and the pipe is full, and others are served",
         context do
      {server, _binary} =
        scripted!(context, [hello() ++ [:stop, :serve], hello() ++ [:serve]], grace: 200)

      assert_receive {:up, ^server, _metadata}, @soon
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

      assert_receive {:down, ^server, %{reason: :unresponsive}}
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
      stop_supervised!(Alumiini.Git)
      assert {:error, %Error{reason: :worker_unavailable} = error} = Task.await(task)
      assert error.message =~ "stopped"
    end
  end

  describe "a server that is killed" do
    test "is told of with its worker, by the process that wrote to it", context do
      Process.flag(:trap_exit, true)
      watch_workers()
      binary = ScriptedWorker.write!(context.tmp_dir, [hello() ++ [:hang]])
      {:ok, server} = Alumiini.Git.start_link(name: nil, binary: binary)
      assert_receive {:up, ^server, %{os_pid: os_pid}}, @soon
      Process.exit(server, :kill)
      assert_receive {:down, ^server, %{reason: :server_down, os_pid: ^os_pid, attempt: 1}}, @soon
      refute_received {:down, ^server, _again}
    end

    test "its processes have names in Observer", context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert {:ok, _served} = Server.call(server, %{"op" => "head"})
      {:links, links} = Process.info(server, :links)
      names = for pid <- links, is_pid(pid), do: elem(Process.info(pid, :initial_call), 1)
      assert {Alumiini.Git.Server.Writer, :init, 3} in names
    end
  end

  describe "a worker that dies" do
    test "is replaced, and what was in flight is run again", context do
      first = hello() ++ [:read, event(), :read, event(), {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [first, hello() ++ [:serve]])
      {one, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon
      {two, ref} = async(server, %{"op" => "files"})
      assert_receive {^ref, "taken"}, @soon

      assert [{:ok, %{"ok" => "served"}}, {:ok, %{"ok" => "served"}}] = Task.await_many([one, two])
      assert_receive {:down, ^server, %{reason: {:exit_status, 137}, attempt: 1}}
      assert_receive {:up, ^server, %{attempt: 2}}
      refute_received {:up, ^server, %{attempt: 3}}
    end

    test "keeps the deadlines that its requests had", context do
      first = hello() ++ [:read, event(), {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [first, hello() ++ [:hang]])
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}, timeout: 500) end)
      assert {:error, %Error{reason: :timeout}} = result
      assert ms in 499..1_500
    end

    test "each time because of one request: that one gets :worker_exited, all others their answers",
         context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert_receive {:up, ^server, %{attempt: 1}}, @soon
      :sys.suspend(server)
      poison = Task.async(fn -> Server.call(server, %{"op" => "sync", "path" => "poison"}) end)

      others =
        for n <- 1..12,
            do:
              Task.async(fn ->
                Server.call(server, %{"op" => "head", "path" => "silent #{n}"}, timeout: 4_000)
              end)

      healthy = for _ <- 1..12, do: Task.async(fn -> Server.call(server, %{"op" => "head"}) end)
      wait_for_messages(server, 25)
      :sys.resume(server)

      assert {:error, %Error{reason: :worker_exited, op: :sync, retryable?: false}} =
               Task.await(poison)

      for result <- Task.await_many(healthy), do: assert({:ok, %{"ok" => "served"}} = result)
      # These were never answered, wherever they ran; nor were they taken for the culprit.
      for result <- Task.await_many(others, 10_000),
          do: assert({:error, %Error{reason: :timeout}} = result)

      assert_received {:down, ^server, %{isolated: true, reason: {:exit_status, 137}}}
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
    end

    test "when it was alone with a suspect that is sound: the suspect is answered", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert_receive {:up, ^server, %{isolated: true}}, @soon
      assert_receive {:down, ^server, %{isolated: true, reason: :done}}, @soon
      assert_receive {:up, ^server, %{isolated: false, attempt: attempt}} when attempt > 1, @soon
      assert %{workers: 1, pending: 0} = Server.info(server)
    end

    test "while suspects wait: no more than four run at a time", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:hang]])
      assert_receive {:up, ^server, %{attempt: 1}}, @soon
      :sys.suspend(server)
      for _ <- 1..8, do: spawn_link(fn -> Server.call(server, %{"op" => "head"}) end)
      wait_for_messages(server, 8)
      :sys.resume(server)

      for _ <- 1..4, do: assert_receive({:up, ^server, %{isolated: true}}, @soon)
      assert_receive {:up, ^server, %{isolated: false, attempt: attempt}} when attempt > 2, @soon
      assert %{workers: 5, pending: 8, in_flight: 4} = Server.info(server)
      refute_received {:up, ^server, %{isolated: true}}
    end

    test "and takes the answer to a suspect's deadline with it", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:hang]], grace: 100)

      assert {:error, %Error{reason: :timeout}} =
               Server.call(server, %{"op" => "head"}, timeout: 1_000)

      assert_receive {:down, ^server, %{isolated: true, reason: :unresponsive}}, @soon
      assert %{pending: 0} = Server.info(server)
    end
  end

  describe "what a worker says" do
    test "that is no frame costs it its life; requests are run again", context do
      first = hello() ++ [:read, {:raw, <<3::32, "abc">>}, :hang]
      {server, _binary} = scripted!(context, [first, hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert_receive {:down, ^server, %{reason: :garbage}}, @soon
    end

    test "about nobody's request is dropped", context do
      script =
        hello() ++
          [
            :read,
            {:reply, %{"id" => 99, "ok" => 1}},
            {:reply, %{"ok" => 1}},
            {:reply, %{"id" => 98, "event" => "x"}}
          ] ++
          [{:answer, "mine"}, :serve]

      {server, _binary} = scripted!(context, [script])

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          assert {:ok, %{"ok" => "mine"}} = Server.call(server, %{"op" => "head"})
        end)

      assert log =~ "id 99"
      assert %{attempts: 1} = Server.info(server)
    end

    test "in an error reply becomes an error", context do
      reply = %{
        "id" => :last,
        "err" => "no branch `mian`",
        "kind" => "ref_not_found",
        "retryable" => false,
        "detail" => %{"near" => ["main"], "ref" => "mian"}
      }

      {server, _binary} = scripted!(context, [hello() ++ [:read, {:reply, reply}, :serve]])

      assert Server.call(server, %{"op" => "sync"}) ==
               {:error,
                %Error{
                  reason: :ref_not_found,
                  op: :sync,
                  message: "no branch `mian`",
                  detail: %{near: ["main"], ref: "mian"},
                  retryable?: false
                }}
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

  describe "secrets" do
    test "are in no state, no status and no crash report", context do
      {server, _binary} = scripted!(context, [hello() ++ [:read, event(), :hang]])
      test = self()

      spawn(fn ->
        Alumiini.Git.sync("https://u:s3cr3t-in-url@h/x?t=s3cr3t-in-query", "main", "/x",
          server: server,
          auth: Alumiini.Git.Auth.token("s3cr3t-token"),
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

          Alumiini.Git.ls_remote("https://u:s3cr3t-in-url@h/x", "main",
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

  describe "the table of events" do
    test "is what happens", context do
      documented = documented_events()
      assert Enum.sort(Map.keys(documented)) == Enum.sort(Telemetry.events())

      test = self()
      id = {__MODULE__, make_ref()}

      :telemetry.attach_many(
        id,
        Telemetry.events(),
        fn event, measurements, metadata, _config ->
          send(test, {:event, event, measurements, metadata})
        end,
        nil
      )

      on_exit(fn -> :telemetry.detach(id) end)

      repaired =
        {:reply,
         %{"id" => :last, "event" => "repaired", "path" => "/x", "reason" => "an object is damaged"}}

      progress =
        {:reply,
         %{
           "id" => :last,
           "event" => "progress",
           "phase" => "index",
           "done" => 1,
           "total" => 2,
           "bytes" => 3
         }}

      synced = {:answer, ScriptedWorker.synced("abc")}

      {server, _binary} =
        scripted!(context, [
          hello() ++
            [:read, repaired, synced, :read, synced] ++
            List.duplicate(:read, 1) ++ [{:answer, ["a.yaml"]}, :read, {:answer, "content"}, :serve]
        ])

      options = [server: server]
      assert {:ok, "abc"} = Alumiini.Git.sync("https://u:p@h/x?q", "main", "/x", options)

      assert {:ok, %{sha: "abc"}} =
               Alumiini.Git.update("https://u:p@h/x?q", :default, "/x", options)

      assert {:ok, ["a.yaml"]} = Alumiini.Git.files("/x", nil, options)
      assert {:ok, "content"} = Alumiini.Git.read("/x", "a.yaml", options)
      assert {:error, %Error{reason: :internal}} = Alumiini.Git.head("/x", options)
      assert {:ok, "served"} = Alumiini.Git.checkout("/x", "main", options)
      assert {:ok, "served"} = Alumiini.Git.ls_remote("https://h/x", "main", options)
      assert {:error, %Error{reason: :internal}} = Alumiini.Git.refs("https://h/x", options)
      # Nothing keeps it any more.
      keeper = spawn(fn -> :ok end)
      lease = %Alumiini.Git.Lease{path: "/x", sha: "a", id: "1", server: server, keeper: keeper}

      for call <- [
            fn -> Alumiini.Git.snapshot("/x", options) end,
            fn -> Alumiini.Git.diff("/x", "a", "b", options) end,
            fn -> Alumiini.Git.log("/x", options) end,
            fn -> Alumiini.Git.export("/x", "/dest", options) end,
            fn -> Alumiini.Git.status("/x", options) end,
            fn -> Alumiini.Git.lease("/x", "a", options) end,
            fn -> Alumiini.Git.release(lease) end
          ],
          do: assert({:error, %Error{reason: :internal}} = call.())

      no_server = [server: :nobody_has_this_name]
      assert {:error, _unavailable} = Alumiini.Git.sync("https://h/x", "main", "/x", no_server)
      stop_supervised!(Alumiini.Git)

      # Each operation raises with a function of the caller's that does; those that take none
      # cannot.
      {raising, _binary} =
        scripted!(context, [
          hello() ++ [:read, progress, :read, :read, progress, :read, :read, progress, :hang]
        ])

      raise_it = [server: raising, progress: fn _progress -> raise "x" end]
      assert_raise RuntimeError, fn -> Alumiini.Git.sync("https://h/x", "main", "/x", raise_it) end

      assert_raise RuntimeError, fn ->
        Alumiini.Git.update("https://h/x", "main", "/x", raise_it)
      end

      assert_raise RuntimeError, fn -> Alumiini.Git.checkout("/x", "main", raise_it) end
      raise_it = [server: raising, auth: fn -> raise "x" end]
      assert_raise RuntimeError, fn -> Alumiini.Git.ls_remote("https://h/x", "main", raise_it) end
      assert_raise RuntimeError, fn -> Alumiini.Git.refs("https://h/x", raise_it) end
      stop_supervised!(Alumiini.Git)

      events =
        received_events(server) ++
          received_events(raising) ++ received_events(:nobody_has_this_name)

      seen = events |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

      cannot_raise =
        for op <- Alumiini.Git.Ops.all() -- [:sync, :update, :checkout, :ls_remote, :refs],
            do: [:alumiini_git, op, :exception]

      assert Enum.sort(seen ++ cannot_raise) == Enum.sort(Telemetry.events())

      for {event, measurements, metadata} <- events do
        assert {event, keys(measurements), keys(metadata)} ==
                 {event, documented[event].measurements, documented[event].metadata}

        assert Enum.all?(Map.values(measurements), &is_integer/1)
      end

      only = fn event -> Enum.find(events, &match?({^event, _, %{server: ^server}}, &1)) end

      assert {_, %{bytes: 70, duration: duration},
              %{result: :ok, op: :sync, url: "https://h/x", path: "/x", ref: "main"}} =
               only.([:alumiini_git, :sync, :stop])

      assert duration > 0

      assert {_, %{bytes: 7}, %{result: :ok, url: nil, path: "/x", ref: nil}} =
               only.([:alumiini_git, :read, :stop])

      assert {_, %{bytes: 0}, %{result: :internal}} = only.([:alumiini_git, :head, :stop])

      assert {_, _, %{path: "/x", reason: "an object is damaged"}} =
               only.([:alumiini_git, :repo, :repaired])

      assert Enum.count(events, &match?({[:alumiini_git, :repo, :repaired], _, _}, &1)) == 1
    end
  end

  defp keys(map), do: map |> Map.keys() |> Enum.sort()

  defp received_events(server) do
    receive do
      {:event, event, measurements, %{server: ^server} = metadata} ->
        [{event, measurements, metadata} | received_events(server)]
    after
      0 -> []
    end
  end

  defp documented_events do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Telemetry)

    rows =
      for line <- String.split(doc, "\n"), String.starts_with?(line, "| `[") do
        [event, measurements, metadata] =
          line |> String.split("|", trim: true) |> Enum.map(&names/1)

        {event, %{measurements: Enum.sort(measurements), metadata: Enum.sort(metadata)}}
      end

    for {event, columns} <- rows, event <- expand(event), into: %{}, do: {event, columns}
  end

  defp names(cell),
    do:
      for(
        [_all, name] <- Regex.scan(~r/[`:\s](\w+)(?=[`,\]])/, cell),
        do: String.to_existing_atom(name)
      )

  defp expand([:alumiini_git, :op, event]),
    do: for(op <- Alumiini.Git.Ops.all(), do: [:alumiini_git, op, event])

  defp expand(event), do: [event]

  defp format(format, term), do: to_string(:io_lib.format(format, [term]))

  # What is in the mailbox besides the news of workers.
  defp mailbox do
    {:messages, messages} = Process.info(self(), :messages)
    Enum.reject(messages, &match?({event, _server, _metadata} when event in [:up, :down], &1))
  end

  # The following ask again and again, without pausing, for what happens in another process and is
  # not told.

  defp wait_until_stuck(server) do
    state = :sys.get_state(server)
    wait_for(fn -> Alumiini.Git.Test.WorkersSeen.stuck?(state.workers[state.main]) end, & &1)
  end

  defp wait_for_messages(server, count) do
    wait_for(
      fn -> Process.info(server, :message_queue_len) end,
      &(&1 == {:message_queue_len, count})
    )
  end

  defp wait_for(ask, enough?, deadline \\ System.monotonic_time(:millisecond) + @soon) do
    answer = ask.()

    cond do
      enough?.(answer) ->
        answer

      System.monotonic_time(:millisecond) > deadline ->
        flunk("waited in vain; the last answer: #{inspect(answer)}")

      true ->
        wait_for(ask, enough?, deadline)
    end
  end
end
