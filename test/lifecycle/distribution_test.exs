defmodule Alumiini.Git.DistributionTest do
  # It makes this node a distributed one.
  use ExUnit.Case, async: false

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Error}
  alias Alumiini.Git.Test.{PeerNode, Repository, ScriptedWorker}

  import ScriptedWorker, only: [hello: 0]

  @moduletag :tmp_dir

  # Two nodes on the loopback interface: this one calls, the other one has the server.
  setup_all do
    PeerNode.distribute!("caller")

    peer = %{name: PeerNode.short("server"), host: ~c"127.0.0.1", args: PeerNode.args()}
    {:ok, peer, node} = :peer.start_link(peer)

    for application <- [:elixir, :logger, :telemetry],
        do: {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [application])

    on_exit(fn -> :net_kernel.stop() end)
    %{peer: peer, node: node}
  end

  defp start!(node, directory, script) do
    name = :"server_#{System.unique_integer([:positive])}"
    binary = ScriptedWorker.write!(directory, [hello() ++ script])
    options = Git.Options.Check.start!(name: name, binary: binary, grace: 100)
    # Not linked, for the process that does this there ends with it.
    {:ok, _pid} = :erpc.call(node, GenServer, :start, [Git.Server, options, [name: name]])
    {name, node}
  end

  test "a server on another node is called by {name, node}; progress and secrets get there " <>
         "and back",
       context do
    out = Path.join(context.tmp_dir, "frame")

    progress = %{
      "id" => :last,
      "event" => "progress",
      "phase" => "index",
      "done" => 1,
      "total" => 1,
      "bytes" => 0
    }

    script = [
      :read,
      {:shell, ~s(echo $frame > "#{out}")},
      {:reply, progress},
      {:answer, ScriptedWorker.synced("sha")},
      :serve
    ]

    server = start!(context.node, context.tmp_dir, script)
    told = self()

    assert {:ok, "sha"} =
             Git.sync("https://h/x", "main", "/x",
               server: server,
               auth: Auth.bearer("t"),
               progress: &send(told, {:progress, self(), &1})
             )

    assert_received {:progress, ^told, %{phase: :index}}
    frame = out |> File.read!() |> String.trim() |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
    assert frame["auth"] == %{"type" => "bearer", "token" => "t"}
  end

  test "a deadline holds, and what comes late reaches nobody", context do
    server = start!(context.node, context.tmp_dir, [:serve])
    assert {:error, %Error{reason: :timeout}} = Git.head("/silent", server: server, timeout: 100)
    assert {:ok, "served"} = Git.checkout("/x", "main", server: server)
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "large answers arrive whole", context do
    script = [
      :read,
      {:reply, %{"id" => :last, "ok" => Msgpax.Bin.new(String.duplicate("x", 30_000))}},
      :serve
    ]

    server = start!(context.node, context.tmp_dir, script)
    assert {:ok, content} = Git.read("/x", "f", server: server)
    assert byte_size(content) == 30_000
  end

  test "a node that is gone is told as such, at once", context do
    {:ok, peer, node} =
      :peer.start(%{name: PeerNode.short("gone"), host: ~c"127.0.0.1", args: PeerNode.args()})

    for application <- [:elixir, :logger, :telemetry],
        do: {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [application])

    server = start!(node, context.tmp_dir, [:hang])
    call = Task.async(fn -> Git.head("/x", server: server) end)
    # The request is pending there before the node goes.
    pending(server)
    :peer.stop(peer)
    assert {:error, %Error{reason: :worker_unavailable, message: message}} = Task.await(call)
    assert message =~ "cannot be reached"
    assert {:error, %Error{reason: :worker_unavailable}} = Git.head("/x", server: server)
  end

  defp pending(server) do
    if Git.Server.info(server).pending == 0, do: pending(server), else: :ok
  end

  test "a lease is kept on the server's node, and ends with its process on this one", context do
    out = Path.join(context.tmp_dir, "frames")
    take = [:read, {:shell, ~s(echo $frame >> "#{out}")}, {:answer, true}]
    server = start!(context.node, context.tmp_dir, take ++ take ++ [:serve])
    test = self()

    {:ok, owner} =
      Task.start(fn ->
        send(test, Git.lease("/x", String.duplicate("a", 40), server: server))
        receive do: (:end -> :ok)
      end)

    assert_receive {:ok, %Git.Lease{keeper: keeper, id: id}}, 5_000
    assert node(keeper) == context.node
    ref = Process.monitor(keeper)
    send(owner, :end)
    assert_receive {:DOWN, ^ref, :process, ^keeper, :normal}, 5_000

    assert [%{"op" => "lease", "lease" => ^id}, %{"op" => "release", "lease" => ^id}] =
             for(
               line <- out |> File.read!() |> String.split("\n", trim: true),
               do: line |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
             )
  end

  test "a follower here has its source there, and subscribers anywhere", context do
    origin = Repository.create!(context.tmp_dir)
    first = Repository.commit!(origin, %{"deploy/a.yaml" => "1"})
    name = :"server_#{System.unique_integer([:positive])}"
    options = Git.Options.Check.start!(name: name, schemes: [:file])
    {:ok, _pid} = :erpc.call(context.node, GenServer, :start, [Git.Server, options, [name: name]])
    server = {name, context.node}
    path = Path.join(context.tmp_dir, "clone")
    url = "file://" <> origin

    {:ok, follower} =
      Git.Follower.start_link(
        url: url,
        ref: "main",
        path: path,
        server: server,
        interval: 3_600_000
      )

    {:ok, nil} = Git.Follower.subscribe(follower, "deploy")
    assert_receive {:alumiini_git, ^follower, %Git.Update{sha: ^first, changes: :all}}, 20_000
    second = Repository.commit!(origin, %{"deploy/a.yaml" => "2", "b" => "1"})

    # As a webhook there would.
    push = %{urls: [url], ref: "refs/heads/main", after: second}
    assert :erpc.call(context.node, Git.Follower, :poke_all, [push, [server: name]]) == 1

    assert_receive {:alumiini_git, ^follower, %Git.Update{sha: ^second, changes: [change]}}, 20_000
    assert change.path == "deploy/a.yaml"
    assert %{sha: ^second, followers: 1, server: ^server} = Git.Follower.status(follower)

    [%{pid: source}] = Map.values(:sys.get_state(server).shared.entries)
    assert node(source) == context.node
    monitor = Process.monitor(source)
    GenServer.stop(follower)
    assert_receive {:DOWN, ^monitor, :process, _pid, :normal}, 5_000
    GenServer.stop(server)
  end
end
