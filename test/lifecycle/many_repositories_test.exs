defmodule Alumiini.Git.ManyRepositoriesTest do
  # A controller's whole fleet on one host: what it costs that host, and us.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{OsProcess, Relay, ScriptedTcp}

  @moduletag timeout: 300_000

  setup [:dir, :origin, :commit, :quiet_http, :relay]

  # There are thousands of requests: none has a shell of its own.
  defp quiet_http(context) do
    %{http: start_supervised!({HttpServer, root: context.dir, stderr: :inherit})}
  end

  defp relay(context) do
    %{relay: start_supervised!({Relay, to: HttpServer.port(context.http), log: false})}
  end

  # Each has a name of its own on the server, and a clone that is already there.
  defp fleet!(context, git, count) do
    seed = Path.join(context.dir, "seed")

    assert {:ok, _commit} =
             Git.sync(HttpServer.url(context.http, "origin.git"), "main", seed, server: git)

    for n <- 1..count do
      name = "app#{n}.git"
      File.ln_s!("origin.git", Path.join(context.dir, name))
      path = Path.join(context.dir, "work#{n}")
      File.cp_r!(seed, path)
      {"http://127.0.0.1:#{Relay.port(context.relay)}/#{name}", path}
    end
  end

  defp poll(fleet, git) do
    fleet
    |> Enum.map(fn {url, path} ->
      Task.async(fn -> Git.sync(url, "main", path, server: git) end)
    end)
    |> Task.await_many(250_000)
    |> Enum.frequencies()
  end

  for {count, tags} <- [{1_000, []}, {4_000, [:soak]}] do
    for tag <- tags, do: @tag(tag)

    test "#{count} repositories polled at once: no error, connections and memory within the limits",
         context do
      count = unquote(count)
      git = start_supervised!({Git, name: nil, max_requests_per_host: 16})
      fleet = fleet!(context, git, count)
      assert poll(fleet, git) == %{{:ok, context.commit} => count}
      assert %{peak: peak} = Relay.stats(context.relay)

      # Who finds no connection free opens one, and may get another one meanwhile: there is at most
      # one such for each request.
      assert peak <= 32

      # Once more, with what is known by now: a request for each, and no new connection but for
      # those that ended.
      HttpServer.reset(context.http)
      Relay.reset(context.relay)
      assert poll(fleet, git) == %{{:ok, context.commit} => count}
      assert %{requests: ^count} = HttpServer.stats(context.http)
      assert %{connections: connections, peak: peak} = Relay.stats(context.relay)
      assert connections <= 16 and peak <= 32

      assert %{attempts: 1, pending: 0, os_pid: os_pid} = Server.info(git)
      assert OsProcess.memory(os_pid, :peak) < 128 * 1024 * 1024
    end
  end

  test "the limit of requests holds for all hosts together", context do
    git = start_supervised!({Git, name: nil, max_requests: 4})
    {:ok, other} = ScriptedTcp.start_link([:hold])
    stuck = for n <- 1..3, do: Task.async(fn -> silent(other, n, git, 60_000) end)
    for _ <- stuck, do: assert_receive({ScriptedTcp, ^other, :accepted}, 10_000)

    # One is left for this host.
    fleet = fleet!(context, git, 20)
    assert poll(fleet, git) == %{{:ok, context.commit} => 20}
    assert %{connections: connections} = Relay.stats(context.relay)

    # They come one after the other; a connection may have been opened for one that then found
    # another free.
    assert %{peak: peak} = Relay.stats(context.relay)
    assert peak <= 2 and connections <= 3
    for task <- stuck, do: Task.shutdown(task, :brutal_kill)
  end

  test "a host that is down takes nothing from the others", context do
    git = start_supervised!({Git, name: nil, max_requests: 64, max_requests_per_host: 8})
    fleet = fleet!(context, git, 20)
    {:ok, silent} = ScriptedTcp.start_link([:hold])

    # Ten times what one host may have, and more than all hosts may. One that has not answered yet
    # gets a quarter.
    stuck = for n <- 1..80, do: Task.async(fn -> silent(silent, n, git, 60_000) end)
    for _ <- 1..2, do: assert_receive({ScriptedTcp, ^silent, :accepted}, 10_000)

    assert poll(fleet, git) == %{{:ok, context.commit} => 20}
    refute_received {ScriptedTcp, ^silent, :accepted}
    for task <- stuck, do: Task.shutdown(task, :brutal_kill)
    for n <- 1..2, do: assert_receive({ScriptedTcp, ^silent, {:closed, ^n}}, 10_000)
  end

  test "who waits for a turn waits no longer than its deadline", context do
    git = start_supervised!({Git, name: nil, max_requests_per_host: 1})
    {:ok, silent} = ScriptedTcp.start_link([:hold])
    first = Task.async(fn -> silent(silent, 1, git, 60_000) end)
    assert_receive {ScriptedTcp, ^silent, :accepted}, 10_000
    assert {:error, %Error{reason: :timeout}} = silent(silent, 2, git, 200)
    refute_received {ScriptedTcp, ^silent, :accepted}
    Task.shutdown(first, :brutal_kill)

    assert {:ok, _commit} =
             Git.ls_remote(HttpServer.url(context.http, "origin.git"), "main", server: git)
  end

  defp silent(peer, n, git, timeout) do
    url = String.replace(ScriptedTcp.url(peer), "repository", "repository#{n}")
    Git.ls_remote(url, "main", server: git, timeout: timeout)
  end
end
