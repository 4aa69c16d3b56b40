defmodule FleetTest do
  # One node, and no network: what it follows is stubs. Not async: a node has one fleet.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Test, as: Stubs
  alias Alumiini.Git.Update

  @urls for n <- 1..3, do: "https://git.example.com/#{n}.git"
  @first String.duplicate("a", 40)
  @waited 60_000

  # Takes the place of the server that the fleet starts.
  defp update(repository) do
    Stubs.stub(Alumiini.Git, update: {:ok, %Update{sha: @first, ref: "refs/heads/main"}})
    repository
  end

  # Tells the test what it was started with.
  defmodule Worker do
    use GenServer

    def start_link(repository), do: GenServer.start_link(__MODULE__, repository)

    @impl true
    def init(repository) do
      send(FleetTest, {:started, repository, self()})
      {:ok, repository}
    end
  end

  setup do
    Process.register(self(), FleetTest)
    :ok
  end

  defp started!(url) do
    assert_receive {:started, %{url: ^url} = repository, pid}, @waited
    {repository, pid}
  end

  test "follows what the list says, and looks at it again" do
    list = start_supervised!({Agent, fn -> Enum.take(@urls, 2) end})
    options = [worker: Worker, refresh: 3_600_000, directory: "/srv/fleet"]
    start_supervised!({Fleet, [repositories: fn -> Agent.get(list, & &1) end] ++ options})
    [one, two, three] = @urls
    {%{path: path, follower: follower}, worker} = started!(one)
    started!(two)
    assert "/srv/fleet/" <> _digest = path
    assert Fleet.node_of(one) == node()
    assert Alumiini.Git.Follower.status(follower).path == path
    assert Enum.sort(Fleet.local()) == [one, two]

    Agent.update(list, fn _ -> [two, three, three] end)
    monitor = Process.monitor(worker)
    send(Fleet.Placement, :refresh)
    {_repository, _pid} = started!(three)
    assert_receive {:DOWN, ^monitor, :process, _pid, :shutdown}, @waited
    assert Enum.sort(Fleet.local()) == [two, three]
    assert Fleet.node_of(one) == nil

    # What cannot be read changes nothing.
    Agent.update(list, fn _ -> :none end)

    assert capture_log(fn ->
             send(Fleet.Placement, :refresh)
             assert Enum.sort(Fleet.local()) == [two, three]
           end) =~ "the list of repositories cannot be read"
  end

  test "starts what gave up again" do
    options = [worker: Worker, directory: "/srv/fleet", repositories: [hd(@urls)]]
    start_supervised!({Fleet, options})
    {_repository, worker} = started!(hd(@urls))
    repository = hd(DynamicSupervisor.which_children(Fleet.Repositories)) |> elem(1)
    capture_log(fn -> Process.exit(repository, :kill) end)
    {_repository, again} = started!(hd(@urls))
    assert again != worker
    assert Fleet.local() == [hd(@urls)]
  end

  test "follows nothing without a quorum" do
    options = [worker: Worker, directory: "/srv/fleet", repositories: @urls, quorum: 2]
    start_supervised!({Fleet, options})
    send(Fleet.Placement, :refresh)
    assert Fleet.local() == []
  end

  test "the worker of the example logs what it is told" do
    level = Logger.level()
    Logger.configure(level: :info)
    on_exit(fn -> Logger.configure(level: level) end)
    start_supervised!({Stubs, name: Alumiini.Git})
    follower = {:via, Registry, {FleetTest.Names, "one"}}
    start_supervised!({Registry, keys: :unique, name: FleetTest.Names})
    url = "https://user:s3cr3t@git.example.com/1.git"
    repository = %{url: url, path: "/srv/1", follower: follower}
    update(repository)

    log =
      capture_log(fn ->
        start_supervised!(
          {Alumiini.Git.Follower, name: follower, url: url, ref: "main", path: "/srv/1"}
        )

        worker = start_supervised!({Fleet.Worker, repository})
        assert %{sha: @first} = polled!(follower)
        :sys.get_state(worker)
      end)

    assert log =~ "//git.example.com/1.git is at #{@first}, with all of its files to look at"
    refute log =~ "s3cr3t"
  end

  defp polled!(follower) do
    case Alumiini.Git.Follower.status(follower) do
      %{sha: nil} -> polled!(follower)
      status -> status
    end
  end

  test "says which option is wrong" do
    assert_raise ArgumentError, ~r/needs the option :directory/, fn ->
      Fleet.start_link(repositories: [])
    end

    assert_raise ArgumentError, ~r/unknown keys \[:repository\]/, fn ->
      Fleet.start_link(directory: "/srv", repositories: [], repository: "u")
    end
  end
end
