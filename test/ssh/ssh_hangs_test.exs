defmodule Alumiini.Git.SshHangsTest do
  # A server that falls silent, at each step up to the pack: the deadline holds, and nothing of it
  # stays.
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{OsProcess, Relay, ScriptedTcp}

  @moduletag timeout: 180_000

  @deadline 400

  setup [:dir, :origin, :large_commit, :key, :sshd, :relay]

  defp large_commit(context) do
    {bytes, _} = :rand.bytes_s(100_000, :rand.seed_s(:exsss, 1))
    %{commit: Repository.commit!(context.origin, %{"large" => bytes})}
  end

  defp relay(%{sshd: sshd} = context) do
    relay = start_supervised!({Relay, to: SshServer.port(sshd)})
    known_hosts = SshServer.known_hosts(sshd, port: Relay.port(relay))

    %{
      relay: relay,
      url: SshServer.url(sshd, context.origin, port: Relay.port(relay)),
      auth: auth(sshd, context.key, known_hosts: known_hosts)
    }
  end

  defp sync(context, git, path, timeout) do
    Git.sync(context.url, "main", path, server: git, auth: context.auth, timeout: timeout)
  end

  # How many bytes the server has said when it begins each of its turns: its greeting, its side of
  # the key exchange, what it takes as proof, the channel, the command, Git's answers. Measured in a
  # run in which nothing hangs.
  defp turns(context) do
    git = start_supervised!({Git, name: nil}, id: :measure)
    assert {:ok, _commit} = sync(context, git, Path.join(context.dir, "measure"), 20_000)
    turns = Relay.turns(context.relay)
    %{down: all} = Relay.stats(context.relay)
    stop_supervised!(:measure)
    Relay.await(context.relay, {:open, 0})
    {turns, all}
  end

  # The greeting, the key exchange in two turns, the service, and the proof in two.
  @until_login 6

  test "the deadline holds at each step up to the login, and the connection is gone after it",
       context do
    {turns, _all} = turns(context)

    # At the start of each turn, and within it.
    turns
    |> Enum.take(@until_login + 1)
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.flat_map(fn [from, to] -> [from, from + 1, from + div(to - from, 2), to - 1] end)
    |> assert_given_up(context)
  end

  test "the deadline holds at each step after the login, and the connection is gone after it",
       context do
    {turns, all} = turns(context)
    # The channel, the command, the refs, and the pack.
    assert length(turns) >= @until_login + 4

    # And in the middle of the pack, which is most of it, on whichever connection. What is said
    # after it is waited for by nobody.
    assert all > 90_000
    before_pack = turns |> Enum.drop(@until_login) |> Enum.take_while(&(&1 < 45_000))
    assert_given_up(before_pack ++ [45_000], context)
  end

  defp assert_given_up(steps, context) do
    for bytes <- steps do
      git = start_supervised!({Git, name: nil}, id: {:step, bytes})
      path = Path.join(context.dir, "work-#{bytes}")
      Relay.stall_after(context.relay, bytes)
      time_out_at(bytes, context, git, path, @deadline)
      %{pending: 0, os_pid: os_pid} = Server.info(git)
      # On that connection nothing will ever be heard again.
      assert {bytes, OsProcess.await(fn -> OsProcess.connections(os_pid) == [] end, 20_000)} ==
               {bytes, :ok}

      Relay.await(context.relay, {:open, 0})
      assert {bytes, SshServer.await_open(context.sshd, 0)} == {bytes, :ok}

      # The server is well again, and so are we.
      Relay.stall_after(context.relay, :never)
      assert {bytes, sync(context, git, path, 20_000)} == {bytes, {:ok, context.commit}}
      Oracle.assert_synced(path, context.origin, context.commit)
      stop_supervised!({:step, bytes})
      Relay.await(context.relay, {:open, 0})
    end
  end

  # On a machine that is busy the deadline may come before the silence. Then the connection is well,
  # and kept, and the step is still to come.
  defp time_out_at(bytes, context, git, path, deadline) do
    %{stalls: before} = Relay.stats(context.relay)
    {us, result} = :timer.tc(fn -> sync(context, git, path, deadline) end)
    assert {^bytes, {:error, %Error{reason: :timeout, retryable?: true}}} = {bytes, result}
    # Of the deadline's last millisecond only a part may be over.
    assert {bytes, div(us, 1000) in (deadline - 1)..(deadline + 3_000), us} == {bytes, true, us}
    assert %{pending: 0, attempts: 1} = Server.info(git)

    if Relay.stats(context.relay).stalls == before,
      do: time_out_at(bytes, context, git, path, 2 * deadline)
  end

  test "a warm connection that falls silent fails one poll by its deadline, and no other",
       context do
    git = start_supervised!({Git, name: nil})
    path = Path.join(context.dir, "work")
    for _ <- 1..2, do: assert(sync(context, git, path, 20_000) == {:ok, context.commit})
    # As a firewall that forgot it: neither side hears from the other.
    Relay.silence(context.relay)
    assert {:error, %Error{reason: :timeout}} = sync(context, git, path, @deadline)
    assert sync(context, git, path, 20_000) == {:ok, context.commit}
    # Connections that it had are given up.
    Relay.await(context.relay, {:stalled, 0})
  end

  test "a caller that leaves takes the connection attempt with it, wherever that hangs", context do
    for script <- [
          [:hold],
          [{:send, "SSH-2.0-OpenSSH_9.2\r\n"}, :hold],
          [{:send, "Welcome, stranger\r\n"}, :hold],
          [{:trickle, String.duplicate("no banner at all ", 100), 50}]
        ] do
      {:ok, peer} = ScriptedTcp.start_link(script)
      git = start_supervised!({Git, name: nil}, id: make_ref())
      url = "ssh://git@127.0.0.1:#{ScriptedTcp.port(peer)}/origin.git"
      options = [server: git, auth: context.auth]
      {caller, monitor} = spawn_monitor(fn -> Git.ls_remote(url, "main", options) end)
      assert_receive {ScriptedTcp, ^peer, :accepted}, 5_000
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
      assert_receive {ScriptedTcp, ^peer, {:closed, 1}}, 5_000
    end
  end

  test "what is no SSH server is an error, not a wait", context do
    git = start_supervised!({Git, name: nil})

    for script <- [
          [{:send, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"}, :close],
          [{:send, "220 mail.example.com ESMTP\r\n"}, :close],
          [{:send, String.duplicate("x", 100_000)}, :close],
          [{:send, "SSH-1.5-old\r\n"}, :close],
          [{:send, "SSH-2.0-x\r\n" <> :binary.copy(<<255>>, 1_000)}, :hold],
          [{:send, "SSH-2.0-x\r\n"}, :close],
          [:close],
          [:reset]
        ] do
      {:ok, peer} = ScriptedTcp.start_link(script)
      url = "ssh://git@127.0.0.1:#{ScriptedTcp.port(peer)}/origin.git"
      answer = Git.ls_remote(url, "main", server: git, auth: context.auth, timeout: 10_000)
      assert {^script, {:error, %Error{reason: reason}}} = {script, answer}
      assert {script, reason in [:protocol, :network], reason} == {script, true, reason}
    end
  end

  test "many connections that hang are given up together", context do
    git = start_supervised!({Git, name: nil})
    Relay.stall_after(context.relay, 100)

    answers =
      for(
        n <- 1..20,
        do: Task.async(fn -> sync(context, git, Path.join(context.dir, "work#{n}"), @deadline) end)
      )
      |> Task.await_many(20_000)

    assert Enum.all?(answers, &match?({:error, %Error{reason: :timeout}}, &1))
    Relay.await(context.relay, {:open, 0})
    assert SshServer.await_open(context.sshd, 0) == :ok
    assert %{pending: 0} = Server.info(git)
  end
end
