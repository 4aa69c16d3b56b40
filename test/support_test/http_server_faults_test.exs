defmodule Alumiini.Git.Test.HttpServerFaultsTest do
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :large_commit, :http]

  defp large_commit(context) do
    files = %{"app.yaml" => "kind: A\n", "large.bin" => large()}
    %{commit: Repository.commit!(context.origin, files)}
  end

  # Does not compress, so that a pack of it has a known order of size.
  defp large, do: :rand.bytes_s(300_000, :rand.seed_s(:exsss, 1)) |> elem(0)

  defp clone(context), do: GitCommand.run(["clone", context.url, context.path])

  # A bare client, to look at bytes and at the connection's end.
  defp connect(context) do
    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, HttpServer.port(context.http), [:binary, active: false])

    socket
  end

  defp ask(socket, path \\ "/origin.git/info/refs?service=git-upload-pack") do
    :ok = :gen_tcp.send(socket, "GET #{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
  end

  defp receive_all(socket, got \\ "") do
    case :gen_tcp.recv(socket, 0, 5_000) do
      {:ok, data} -> receive_all(socket, got <> data)
      {:error, reason} -> {got, reason}
    end
  end

  # To the end of one answer in chunks, on a connection that stays.
  defp receive_answer(socket, got \\ "") do
    if String.ends_with?(got, "\r\n0\r\n\r\n") do
      got
    else
      {:ok, data} = :gen_tcp.recv(socket, 0, 5_000)
      receive_answer(socket, got <> data)
    end
  end

  describe "answers in place of Git's" do
    test "any status, for the first requests only", context do
      HttpServer.rule(context.http, {:status, 503, [{"retry-after", "1"}], "Busy\n"}, first: 2)
      socket = connect(context)
      for _ <- 1..2, do: assert({^socket, "HTTP/1.1 503" <> _} = {socket, ask_and_read(socket)})
      ask(socket)
      assert receive_answer(socket) =~ "200 OK"
    end

    defp ask_and_read(socket) do
      ask(socket)
      {:ok, answer} = :gen_tcp.recv(socket, 0, 5_000)
      answer
    end

    test "some requests later, of one kind", context do
      HttpServer.rule(context.http, {:status, 403}, on: :upload_pack, skip: 1)
      assert {output, 128} = clone(context)
      assert output =~ "403"

      assert [:info_refs, :upload_pack, :upload_pack] =
               for(r <- HttpServer.log(context.http), do: r.service)
    end

    test "a web page", context do
      HttpServer.rule(context.http, :html)
      assert {output, 128} = clone(context)
      assert output =~ "not valid" or output =~ "invalid"
    end

    test "redirects, to another repository or another host", context do
      Repository.create!(context.dir, "moved.git")
      HttpServer.rule(context.http, {:redirect, 301, context.url}, path: "moved.git")

      assert GitCommand.run!(["ls-remote", HttpServer.url(context.http, "moved.git")]) =~
               context.commit

      other = start_supervised!({HttpServer, root: context.dir})
      HttpServer.rule(other, {:redirect, 307, context.url})
      assert GitCommand.run!(["ls-remote", HttpServer.url(other, "origin.git")]) =~ context.commit
      assert [%{service: :info_refs}] = HttpServer.log(other)
    end

    test "nothing: cut off or reset", context do
      rule = HttpServer.rule(context.http, {:cut, :close})
      socket = connect(context)
      ask(socket)
      assert receive_all(socket) == {"", :closed}
      HttpServer.remove(context.http, rule)

      HttpServer.rule(context.http, {:cut, :reset})
      socket = connect(context)
      ask(socket)
      assert {"", reason} = receive_all(socket)
      assert reason in [:econnreset, :closed]
    end

    test "a rule that makes no sense is an error", context do
      assert_raise FunctionClauseError, fn -> HttpServer.rule(context.http, {:stauts, 500}) end
      assert_raise ArgumentError, fn -> HttpServer.rule(context.http, :silent, fist: 1) end
      assert GitCommand.run!(["ls-remote", context.url]) =~ context.commit
    end
  end

  describe "waiting" do
    test "a gate lets through when it is told to, those who wait and those who come", context do
      gate = HttpServer.rule(context.http, :hold)
      waiting = Task.async(fn -> GitCommand.run!(["ls-remote", context.url]) end)
      HttpServer.await(context.http, {:parked, gate, 1})
      assert Task.yield(waiting, 0) == nil
      HttpServer.release(context.http, gate)
      assert Task.await(waiting) =~ context.commit
      assert GitCommand.run!(["ls-remote", context.url]) =~ context.commit
    end

    test "a silent server notices that its client leaves", context do
      HttpServer.rule(context.http, :silent)
      left = HttpServer.notify(context.http, {:open, 0})
      # Holds at once, since nobody is there yet.
      assert_receive {^left, :reached}
      socket = connect(context)
      ask(socket)
      HttpServer.await(context.http, {:parked, 1})
      left = HttpServer.notify(context.http, {:open, 0})
      refute_received {^left, :reached}
      :gen_tcp.close(socket)
      assert_receive {^left, :reached}, 5_000
      assert %{parked: 0, requests: 1} = HttpServer.stats(context.http)
    end

    test "what does not come true says what did", context do
      assert_raise RuntimeError, ~r/requests: 0/, fn ->
        HttpServer.await(context.http, {:requests, 1}, 10)
      end

      assert_raise FunctionClauseError, fn -> HttpServer.await(context.http, {:request, 1}) end
    end

    test "requests of one kind are counted", context do
      seen = HttpServer.notify(context.http, {:requests, 2, on: :upload_pack, path: "origin.git"})
      GitCommand.run!(["ls-remote", context.url])
      refute_received {^seen, :reached}
      GitCommand.run!(["ls-remote", context.url])
      assert_receive {^seen, :reached}
    end
  end

  describe "in the middle of the pack" do
    test "it stalls, and goes on", context do
      gate = HttpServer.rule(context.http, {:stop, {:pack, 100_000}, :hold})
      sent = HttpServer.notify(context.http, {:pack_bytes, 100_000})
      clone = Task.async(fn -> clone(context) end)
      HttpServer.await(context.http, {:parked, gate, 1})
      assert_received {^sent, :reached}
      assert HttpServer.stats(context.http).pack_bytes == 100_000
      HttpServer.release(context.http, gate)
      assert {_, 0} = Task.await(clone)
      Oracle.assert_synced(context.path, context.origin, context.commit)
    end

    for how <- [:close, :reset, :finish] do
      test "it ends: #{how}", context do
        HttpServer.rule(context.http, {:stop, {:pack, 5_000}, unquote(how)})
        assert {output, 128} = clone(context)
        assert output =~ ~r/early EOF|unexpected|hung up|RPC failed|index-pack/
        assert HttpServer.stats(context.http).pack_bytes == 5_000
        refute File.exists?(context.path)
      end
    end

    test "it ends with the answer's length announced", context do
      HttpServer.rule(context.http, {:framing, :content_length})
      assert {_, 0} = clone(context)
      HttpServer.rule(context.http, {:stop, {:body, 1_000}, :close}, on: :upload_pack, skip: 1)
      assert {_, 128} = GitCommand.run(["clone", context.url, context.path <> "2"])
    end

    test "a bit is wrong", context do
      HttpServer.rule(context.http, {:corrupt, 150_000})
      assert {output, 128} = clone(context)
      assert output =~ ~r/inflate|SHA1|corrupt|invalid index-pack/
    end
  end

  describe "slowly" do
    test "in small chunks, which changes nothing", context do
      HttpServer.rule(context.http, {:chunks, 700})
      assert {_, 0} = clone(context)
      Oracle.assert_synced(context.path, context.origin, context.commit)
    end

    test "byte by byte, from the head on", context do
      HttpServer.rule(context.http, {:trickle, :head, 1, 1})
      socket = connect(context)
      ask(socket)
      assert {:ok, <<first, _::binary>>} = :gen_tcp.recv(socket, 0, 5_000)
      assert first == ?H
      # Every byte came in a chunk of its own.
      assert socket |> receive_answer() |> String.replace("\r\n1\r\n", "") =~ context.commit
    end

    test "so slowly that the client goes, which ends it", context do
      HttpServer.rule(context.http, {:trickle, :body, 1, 3_600_000})
      socket = connect(context)
      ask(socket)
      HttpServer.await(context.http, {:requests, 1})
      assert {:ok, "HTTP/1.1 200" <> _} = :gen_tcp.recv(socket, 0, 5_000)
      :gen_tcp.close(socket)
      HttpServer.await(context.http, {:open, 0})
    end
  end

  describe "connections" do
    test "end after each answer", context do
      HttpServer.rule(context.http, :close_after)
      assert {_, 0} = clone(context)
      assert HttpServer.stats(context.http).connections == 3
    end

    test "end when the next request has been read", context do
      HttpServer.rule(context.http, {:drop_next, :close}, first: 1)
      socket = connect(context)
      ask(socket)
      receive_answer(socket)
      ask(socket)
      assert receive_all(socket) == {"", :closed}
      # The request that was dropped is not one of those that were seen.
      assert %{requests: 1, connections: 1} = HttpServer.stats(context.http)
      assert {_, 0} = clone(context)
    end
  end

  test "reset forgets rules and counts", context do
    HttpServer.rule(context.http, {:status, 500})
    assert {_, 128} = clone(context)
    HttpServer.reset(context.http)
    assert %{requests: 0, connections: 0, bytes_in: 0} = HttpServer.stats(context.http)
    assert {_, 0} = clone(context)
  end
end
