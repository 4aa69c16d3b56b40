defmodule Alumiini.Git.NoWorkerTest do
  # Binaries that are no worker, or do not become one: what callers are told, and when.
  use Alumiini.Git.Test.ScriptedServerCase, async: true

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
      assert_receive {:worker, :down, ^server, %{reason: :enoent, os_pid: nil, attempt: 1}}
      assert_receive {:worker, :down, ^server, %{reason: :enoent, attempt: 3}}, @soon
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

      assert_receive {:worker, :down, ^server, %{attempt: 1}}, @soon
      assert_receive {:worker, :down, ^server, %{attempt: 2}}, @soon
      started = System.monotonic_time(:millisecond)
      assert_receive {:worker, :down, ^server, %{attempt: 3}}, @soon
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
      assert_receive {:worker, :down, ^server, %{reason: :protocol}}, @soon
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
      assert_receive {:worker, :down, ^server, %{reason: :handshake_timeout, os_pid: os_pid}}, @soon

      watcher = watch(os_pid)

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

      assert_receive {:worker, :down, ^server, %{attempt: 4}}, @soon
      assert_receive {:worker, :up, ^server, %{attempt: 5}}, @soon
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
      assert ScriptedWorker.starts(binary) == 5
    end

    test "once or twice only: calls wait for the one that starts", context do
      {server, _binary} = scripted!(context, [[{:exit, 1}], [{:exit, 1}], hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
    end
  end
end
