defmodule Alumiini.Git.GitopsGuideTest do
  # Runs the controller of guides/gitops.md against a Git server. Not async: it starts the server of
  # the default name.
  use Alumiini.Git.Test.GuideCase, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Follower

  @guide "guides/gitops.md"
  # However busy the machine is.
  @soon 20_000

  # What a reader has a module of their own for. It tells the test, and refuses what that says.
  defmodule Elixir.Shop.Cluster do
    use Agent

    def start_link(test),
      do: Agent.start_link(fn -> %{test: test, applied: %{}, refused: []} end, name: __MODULE__)

    def refuse(paths), do: Agent.update(__MODULE__, &%{&1 | refused: paths})
    def paths, do: Agent.get(__MODULE__, &Map.keys(&1.applied))
    def apply(path, yaml), do: tell({:apply, path, yaml}, &Map.put(&1, path, yaml))
    def delete(path), do: tell({:delete, path}, &Map.delete(&1, path))

    defp tell(what, change) do
      Agent.get_and_update(__MODULE__, fn state ->
        send(state.test, what)

        if elem(what, 1) in state.refused,
          do: {{:error, {:refused, elem(what, 1)}}, state},
          else: {:ok, %{state | applied: change.(state.applied)}}
      end)
    end
  end

  defmodule Elixir.Shop.Log do
    def handle(event, measurements, metadata, _config),
      do: send(:gitops_guide, {event, measurements, metadata})
  end

  setup context do
    Process.register(self(), :gitops_guide)
    start_supervised!({Shop.Cluster, self()})
    [controller, start, attach] = blocks!(@guide, context)
    [module] = compile!(controller)
    on_exit(fn -> :telemetry.detach("shop-controller") end)
    run([attach])
    {_values, bindings} = run([start])
    on_exit(fn -> stop(bindings[:supervisor]) end)
    %{controller: controller, module: module}
  end

  defp stop(supervisor) do
    monitor = Process.monitor(supervisor)
    Process.exit(supervisor, :shutdown)
    receive do: ({:DOWN, ^monitor, :process, _pid, _reason} -> :ok)
  end

  # What was done for a commit, once the controller tells that it is through with it.
  defp done!(sha, failed \\ 0) do
    assert_receive {[:shop, :reconcile, :stop], %{duration: _, failed: ^failed}, %{sha: ^sha}},
                   @soon

    Enum.sort(said())
  end

  defp said do
    receive do
      {:apply, _path, _yaml} = said -> [said | said()]
      {:delete, _path} = said -> [said | said()]
    after
      0 -> []
    end
  end

  test "it has 80 lines", %{controller: controller} do
    lines = controller |> String.trim() |> String.split("\n")
    assert length(lines) <= 80
  end

  test "it applies what is there, then what changes, and deletes what is gone", context do
    %{origin: origin, sha: sha} = context

    assert [{:apply, "deploy/app.yaml", "kind: Deployment\nreplicas: 2\n"}, {:apply, _, _}] =
             done!(sha)

    assert_receive {[:alumiini_git, :follower, :poll], %{followers: 1}, %{result: :ok}}, @soon

    second =
      Repository.commit!(origin, %{
        "deploy/service.yaml" => :delete,
        "deploy/new.yaml" => "kind: Job\n",
        "README.md" => "No business of the cluster\n"
      })

    Follower.poke(Shop.Main, second)

    assert done!(second) == [
             {:delete, "deploy/service.yaml"},
             {:apply, "deploy/new.yaml", "kind: Job
"}
           ]

    assert_receive {[:alumiini_git, :follower, :move], %{changes: 2}, %{to: ^second}}, @soon
    assert Shop.Cluster.paths() == ["deploy/app.yaml", "deploy/new.yaml"]
  end

  test "what fails is done again, from the commit that was applied last", context do
    %{origin: origin, sha: sha, module: module} = context
    done!(sha)
    Shop.Cluster.refuse(["deploy/bad.yaml"])
    files = %{"deploy/bad.yaml" => "kind: Nonsense\n", "deploy/good.yaml" => "kind: Job\n"}

    log =
      capture_log(fn ->
        bad = Repository.commit!(origin, files)
        Follower.poke(Shop.Main, bad)
        assert [{:apply, "deploy/bad.yaml", _}, {:apply, "deploy/good.yaml", _}] = done!(bad, 1)
        assert %{applied: ^sha, timer: timer} = :sys.get_state(module)
        assert Process.read_timer(timer) > 0
      end)

    assert log =~ ~s({:refused, "deploy/bad.yaml"})

    Shop.Cluster.refuse([])
    wanted = Repository.rev_parse!(origin)
    send(module, :retry)
    assert [{:apply, "deploy/bad.yaml", _}, {:apply, "deploy/good.yaml", _}] = done!(wanted)
    assert %{applied: ^wanted} = :sys.get_state(module)
  end

  test "one that was started again deletes what went meanwhile", context do
    done!(context.sha)
    Shop.Cluster.apply("deploy/gone.yaml", "kind: Job\n")
    monitor = Process.monitor(context.module)
    GenServer.stop(Shop.Main)
    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, @soon
    assert {:delete, "deploy/gone.yaml"} in done!(context.sha)
  end

  test "errors of the remote are logged, and end nothing", context do
    done!(context.sha)
    pid = Process.whereis(context.module)

    log =
      capture_log(fn ->
        HttpServer.rule(context.http, {:status, 404})
        Follower.poke(Shop.Main)
        assert_receive {[:alumiini_git, :follower, :poll], _, %{result: :repo_not_found}}, @soon
        # What the follower sent before this is handled.
        _ = :sys.get_state(Shop.Main)
        _ = :sys.get_state(pid)
      end)

    assert log =~ "404" or log =~ "no repository"
    assert Process.whereis(context.module) == pid
  end
end
