defmodule Alumiini.Git.Test.RelayTest do
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{Relay, ScriptedTcp}

  @moduletag files: %{"a.yaml" => "a: 1\n", "b" => String.duplicate("noise", 40_000)}

  setup [:dir, :origin, :commit, :http]

  defp relay!(context, options \\ []) do
    relay = start_supervised!({Relay, [to: HttpServer.port(context.http)] ++ options})
    {relay, "http://127.0.0.1:#{Relay.port(relay)}/origin.git"}
  end

  defp connect!(relay) do
    options = [:binary, active: false, nodelay: true, show_econnreset: true]
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Relay.port(relay), options)
    socket
  end

  test "passes everything on, and counts it", context do
    {relay, url} = relay!(context)
    path = Path.join(context.dir, "work")
    assert {"", 0} = GitCommand.run(["clone", "-q", url, path])
    assert Repository.rev_parse(path) == context.commit
    Relay.await(relay, {:open, 0})
    http = HttpServer.stats(context.http)
    assert %{connections: 1, stalled: 0, up: up, down: down} = Relay.stats(relay)
    assert {up, down} == {http.bytes_in, http.bytes_out}
    # The refs' advertisement, the refs, the pack.
    assert [0, second, third] = Relay.turns(relay)
    assert second in 100..5_000 and third in second..5_000
    Relay.reset(relay)
    assert %{connections: 0, up: 0, down: 0} = Relay.stats(relay)
  end

  test "stalls after so many bytes of the server's, until the client leaves", context do
    {relay, _url} = relay!(context)

    for bytes <- [0, 1, 100] do
      Relay.stall_after(relay, bytes)
      socket = connect!(relay)

      :ok =
        :gen_tcp.send(
          socket,
          "GET /origin.git/info/refs?service=git-upload-pack HTTP/1.1\r\nhost: x\r\n\r\n"
        )

      if bytes > 0, do: assert({:ok, <<"H", _::binary>>} = :gen_tcp.recv(socket, bytes, 5_000))
      Relay.await(relay, {:stalled, 1})
      assert {:error, :timeout} = :gen_tcp.recv(socket, 0, 20)
      :gen_tcp.close(socket)
      Relay.await(relay, {:open, 0})
      HttpServer.await(context.http, {:open, 0})
    end

    Relay.stall_after(relay, :never)
    socket = connect!(relay)
    :ok = :gen_tcp.send(socket, "GET /origin.git/HEAD HTTP/1.1\r\nhost: x\r\n\r\n")
    assert {:ok, "HTTP/1.1" <> _} = :gen_tcp.recv(socket, 0, 5_000)
  end

  test "cuts what is open", context do
    {relay, _url} = relay!(context)

    for how <- [:close, :reset] do
      socket = connect!(relay)
      HttpServer.await(context.http, {:open, 1})
      Relay.cut(relay, how)
      reason = %{close: :closed, reset: :econnreset}[how]
      assert {:error, ^reason} = :gen_tcp.recv(socket, 0, 5_000)
      HttpServer.await(context.http, {:open, 0})
    end
  end

  test "delays bytes, not the number of bytes in a time", context do
    {:ok, peer} =
      ScriptedTcp.start_link([{:receive_until, "go"}, {:send, String.duplicate("x", 5_000_000)}])

    relay = start_supervised!({Relay, to: ScriptedTcp.port(peer), delay: 50})
    socket = connect!(relay)

    {first, rest} =
      {:gen_tcp.send(socket, "go"), fn size -> :gen_tcp.recv(socket, size, 10_000) end}

    assert first == :ok
    {took, {:ok, _}} = :timer.tc(fn -> rest.(1) end)
    # Each way once. Not longer by far: only a busy machine makes it longer, so the bound is wide.
    assert took >= 99_000 and took < 1_000_000
    # 80 reads of 64 KB would take 4 s if each waited for the one before.
    {took, {:ok, _}} = :timer.tc(fn -> rest.(4_999_999) end)
    assert took < 2_000_000

    {relay, url} = relay!(context, delay: 20)
    assert {_refs, 0} = GitCommand.run(["ls-remote", url])
    assert Relay.stats(relay).connections == 1
  end

  test "passes on that there is no server" do
    {port, _socket} = ScriptedTcp.refusing()
    relay = start_supervised!({Relay, to: port})
    options = [:binary, active: false, show_econnreset: true]

    # The end may come before the connection is seen to be made.
    result =
      with {:ok, socket} <- :gen_tcp.connect({127, 0, 0, 1}, Relay.port(relay), options),
           do: :gen_tcp.recv(socket, 0, 5_000)

    assert {:error, reason} = result
    assert reason in [:closed, :econnreset]
  end
end
