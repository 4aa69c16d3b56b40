defmodule Alumiini.Git.Test.FleetReporter do
  @moduledoc """
  The worker of `examples/fleet` in its tests: tells a process, on this node or another one, what it
  is told; and when each repository begins and ends to be its node's, in nanoseconds of a clock that
  all BEAMs of a machine share. It is the application that has the fleet there, too, so that a node
  stops it as it does users' own.
  """

  use Application
  use GenServer

  alias Alumiini.Git.Follower

  @events [[:fleet, :repository, :start], [:fleet, :repository, :stop]]

  @doc "From now on, on this node, `pid` is told."
  @spec report(pid) :: :ok
  def report(pid) do
    :persistent_term.put(__MODULE__, pid)
    :telemetry.attach_many(__MODULE__, @events, &__MODULE__.tell/4, nil)
  end

  @doc "Starts the fleet as an application of this node."
  @spec run(keyword) :: :ok | {:error, term}
  def run(options) do
    needed = [:kernel, :stdlib, :elixir, :logger, :telemetry, :syn, :alumiini_git]
    spec = [vsn: ~c"1", modules: [], registered: [], applications: needed]
    :ok = :application.load({:application, :fleet_of_tests, [mod: {__MODULE__, options}] ++ spec})
    with {:ok, _started} <- :application.ensure_all_started(:fleet_of_tests), do: :ok
  end

  @impl Application
  def start(_type, options) do
    # Of an example, which is compiled by its test.
    Supervisor.start_link([{Fleet, options}], strategy: :one_for_one)
  end

  @doc "The clock."
  @spec now() :: integer
  def now, do: :os.perf_counter(:nanosecond)

  @doc "Which node follows each of `urls`, as far as this one knows."
  @spec known([String.t()]) :: %{String.t() => node | nil}
  def known(urls) do
    # Of an example, which is compiled by its test.
    fleet = Fleet
    Map.new(urls, &{&1, fleet.node_of(&1)})
  end

  @doc false
  def tell([:fleet, :repository, what], _measurements, %{url: url}, nil),
    do: send(:persistent_term.get(__MODULE__), {:tenure, what, node(), url, now()})

  @spec start_link(map) :: GenServer.on_start()
  def start_link(repository), do: GenServer.start_link(__MODULE__, repository)

  @impl GenServer
  def init(repository) do
    {:ok, _current} = Follower.subscribe(repository.follower, :all, since: nil)
    {:ok, repository}
  end

  @impl GenServer
  def handle_info({:alumiini_git, follower, update}, repository) do
    true = follower == repository.follower
    send(:persistent_term.get(__MODULE__), {:told, node(), repository.url, update.sha})
    {:noreply, repository}
  end
end
