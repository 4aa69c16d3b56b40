defmodule Alumiini.Git.Test.PeersTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Test.{GitCommand, OsProcess, ScriptedTcp, TempDir}

  defp connect(port), do: :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])

  test "a silent peer accepts, and tells when its client has gone" do
    peer = start_supervised!({ScriptedTcp, [:hold]})
    {:ok, socket} = connect(ScriptedTcp.port(peer))
    :ok = :gen_tcp.send(socket, "GET / HTTP/1.1\r\n\r\n")
    assert {:error, :timeout} = :gen_tcp.recv(socket, 0, 20)
    :gen_tcp.close(socket)
  end

  test "events go to the process that started it" do
    {:ok, peer} =
      ScriptedTcp.start_link([{:receive_until, "\r\n\r\n"}, {:send, "HTTP/1.1 200 OK\r\n"}, :reset])

    assert ScriptedTcp.url(peer) =~ ~r"^http://127.0.0.1:\d+/"
    {:ok, socket} = connect(ScriptedTcp.port(peer))
    assert_receive {ScriptedTcp, ^peer, :accepted}
    refute_received {ScriptedTcp, ^peer, {:done, 1}}
    :ok = :gen_tcp.send(socket, "GET / HTTP/1.1\r\n\r\n")
    assert_receive {ScriptedTcp, ^peer, {:done, 1}}

    {:ok, holding} = ScriptedTcp.start_link()
    {:ok, socket} = connect(ScriptedTcp.port(holding))
    assert_receive {ScriptedTcp, ^holding, {:done, 1}}
    :gen_tcp.close(socket)
    assert_receive {ScriptedTcp, ^holding, {:closed, 1}}
  end

  test "a trickle ends with its client" do
    {:ok, peer} = ScriptedTcp.start_link([{:trickle, "HTTP/1.1 200 OK\r\n", 3_600_000}])
    {:ok, socket} = connect(ScriptedTcp.port(peer))
    assert {:ok, "H"} = :gen_tcp.recv(socket, 0, 5_000)
    :gen_tcp.close(socket)
    assert_receive {ScriptedTcp, ^peer, {:closed, 1}}
  end

  test "a port that refuses" do
    {port, socket} = ScriptedTcp.refusing()
    assert {:error, :econnrefused} = connect(port)
    assert {output, 128} = GitCommand.run(["ls-remote", "http://127.0.0.1:#{port}/x.git"])
    assert output =~ "Failed to connect" or output =~ "refused"
    :socket.close(socket)
  end

  test "a port that cannot be reached" do
    {port, [_ | _] = sockets} = ScriptedTcp.unreachable()
    assert {:error, :timeout} = :gen_tcp.connect({127, 0, 0, 1}, port, [], 100)
    Enum.each(sockets, &:gen_tcp.close/1)
  end

  describe "processes of the system" do
    setup do
      port =
        Port.open({:spawn_executable, System.find_executable("sleep")}, [
          :binary,
          :exit_status,
          args: ["600"]
        ])

      {:os_pid, pid} = Port.info(port, :os_pid)
      on_exit(fn -> OsProcess.kill(pid, :KILL) end)
      %{port: port, pid: pid}
    end

    test "are found, stopped and killed", %{port: port, pid: pid} do
      assert OsProcess.alive?(pid)
      assert pid in OsProcess.descendants()
      # The name is that of the forker until the program has been loaded.
      assert OsProcess.await(fn -> pid in OsProcess.named("sleep") end, 5_000) == :ok
      assert OsProcess.memory(pid) > 0
      assert OsProcess.memory(pid, :peak) >= OsProcess.memory(pid)
      assert OsProcess.threads(pid) == 1
      assert OsProcess.visible_strings(pid) =~ "600"

      assert OsProcess.kill(pid, :STOP) == :ok
      assert OsProcess.await_state(pid, ["T"]) == :ok
      assert OsProcess.kill(pid, :KILL) == :ok
      assert OsProcess.await_exit(pid) == :ok
      assert_receive {^port, {:exit_status, 137}}, 5_000
      assert {:error, _} = OsProcess.kill(pid, :KILL)
    end

    test "show their connections" do
      {:ok, peer} = ScriptedTcp.start_link()
      {:ok, socket} = connect(ScriptedTcp.port(peer))
      assert ScriptedTcp.port(peer) in OsProcess.connections(OsProcess.own())
      :gen_tcp.close(socket)
      refute ScriptedTcp.port(peer) in OsProcess.connections(OsProcess.own())
    end

    test "waiting for what does not come ends", %{pid: pid} do
      assert OsProcess.await_exit(pid, 20) == :timeout
    end
  end

  test "temporary directories go away, whatever is in them" do
    dir =
      TempDir.with_dir("gone", fn dir ->
        File.mkdir_p!(Path.join(dir, "closed"))
        File.write!(Path.join(dir, "closed/name-\xff"), "")
        File.chmod!(Path.join(dir, "closed"), 0o500)
        dir
      end)

    refute File.exists?(dir)
  end
end
