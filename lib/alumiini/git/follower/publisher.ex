defmodule Alumiini.Git.Follower.Publisher do
  @moduledoc false

  # The process that a follower is: it holds the subscriptions and sends the messages. What it tells
  # comes from a source, which it shares with other followers (`Source` has the messages between the
  # two), and which it asks the server for. It outlives both: subscriptions, and what each
  # subscriber was told, are here alone. So a source that is new only has to say where the branch
  # is.

  use GenServer

  alias Alumiini.Git.{Error, Update}
  alias Alumiini.Git.Follower.{Settings, Source, Status, Subscribers}
  alias Alumiini.Git.Server.{Backoff, Shared}

  # Before the second attempt to reach a server, and the longest pause, ms.
  @first_pause 50
  @longest_pause 5_000
  # Of what was poked while there is no source.
  @most_pokes 16

  @spec start_link(Settings.t()) :: GenServer.on_start()
  def start_link(settings) do
    registration = if settings.name, do: [name: settings.name], else: []
    GenServer.start_link(__MODULE__, settings, registration)
  end

  @impl true
  def init(settings) do
    state = %{
      settings: settings,
      # The source and its monitor, while there is one.
      source: nil,
      monitor: nil,
      # The last state that the source told, and the error that it is in.
      head: nil,
      error: nil,
      subscribers: %Subscribers{},
      # The commits that the source was asked for the changes since.
      asked: MapSet.new(),
      backoff: Backoff.new(@first_pause, @longest_pause),
      # Pokes that came while there was no source.
      pokes: []
    }

    case join(state) do
      %{source: nil, error: %Error{reason: :occupied} = error} -> {:stop, error}
      state -> {:ok, state}
    end
  end

  @impl true
  def handle_call({:subscribe, subscription}, _from, state) do
    {:reply, {:ok, state.head}, subscribe_one(state, subscription)}
  end

  def handle_call({:unsubscribe, pid}, _from, state), do: {:reply, :ok, forget(state, pid)}

  def handle_call(:status, _from, state) do
    %{settings: %{remote: remote}} = state

    status = %Status{
      url: remote.url,
      ref: remote.ref,
      path: remote.path,
      server: state.settings.server,
      sha: state.head && state.head.sha,
      error: state.error,
      pokes: length(state.pokes),
      subscribers: Subscribers.size(state.subscribers)
    }

    {:reply, {status, state.source}, state}
  end

  @impl true
  # It polls as soon as there is a source. What the newest of them want is enough to know.
  def handle_cast({:poke, commit}, %{source: nil} = state),
    do: {:noreply, %{state | pokes: Enum.take([commit | state.pokes], @most_pokes)}}

  def handle_cast({:poke, commit}, state) do
    Source.poke(state.source, commit)
    {:noreply, state}
  end

  @impl true
  def handle_info({Source, source, message}, %{source: source} = state),
    do: {:noreply, told(state, message), :hibernate}

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, %{monitor: monitor} = state),
    do: {:noreply, join_later(%{state | source: nil, monitor: nil, asked: MapSet.new()})}

  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    case Subscribers.fetch(state.subscribers, pid) do
      {:ok, %{monitor: ^monitor}} -> {:noreply, forget(state, pid)}
      _of_an_earlier_subscription -> {:noreply, state}
    end
  end

  def handle_info(:join, %{source: nil} = state), do: {:noreply, join(state)}
  def handle_info(_late, state), do: {:noreply, state}

  ## The source

  defp join(%{settings: settings} = state) do
    request = Map.put(settings.request, :start, {Source, :start, settings.remote})

    case find_source(settings.server, request) do
      {:ok, source} ->
        state = %{state | source: source, monitor: Process.monitor(source)}

        Source.join(source, %{
          interval: settings.interval,
          backoff_max: settings.backoff_max,
          paths: Subscribers.watched(state.subscribers),
          version: state.subscribers.version
        })

        for commit <- Enum.reverse(state.pokes), do: Source.poke(source, commit)
        %{state | pokes: []}

      # A server that is restarted is back in a moment. That is no error yet.
      {:error, :unreachable} when state.backoff.failures == 1 ->
        join_later(state)

      {:error, why} ->
        state |> failed(unreachable(why, settings)) |> join_later()
    end
  end

  # One whose last follower has just ended, to make way for this one, is about to end.
  defp find_source(server, request, attempts \\ 20) do
    with {:error, {:taken, source, _others}} = taken <- Shared.ask(server, {:join, request}) do
      if attempts > 1 and ends?(source),
        do: find_source(server, request, attempts - 1),
        else: taken
    end
  end

  defp ends?(source) do
    case Source.status(source) do
      {:ok, %{followers: followers}} -> followers == 0
      :gone -> true
    end
  end

  # The first time at once: a source that has just ended, or a server that was restarted.
  defp join_later(state) do
    {pause, backoff} = Backoff.died(state.backoff)
    Process.send_after(self(), :join, pause)
    %{state | backoff: backoff}
  end

  defp unreachable({:taken, _source, others}, %{remote: remote}) do
    others = Enum.map_join(others, ", ", &inspect/1)

    Error.new(
      :occupied,
      :update,
      "#{remote.shown} is followed already, and not with the same #{others}; give each URL, ref " <>
        "and set of options a path of its own",
      %{path: remote.shown, url: remote.url}
    )
  end

  defp unreachable(:unreachable, %{server: server}) do
    Error.new(
      :worker_unavailable,
      :update,
      "no server is running as #{inspect(server)}; the follower goes on when there is one"
    )
  end

  defp unreachable(:unknown, %{server: server}) do
    Error.new(
      :protocol,
      :update,
      "the server #{inspect(server)} runs another version of this library, without followers"
    )
  end

  ## What it tells

  defp told(state, {:moved, move}) do
    backoff = Backoff.proven(state.backoff)
    catch_up(moved(%{state | head: move.update, error: nil, backoff: backoff}, move))
  end

  defp told(state, {:since, move}),
    do: catch_up(moved(%{state | asked: MapSet.delete(state.asked, move.from)}, move))

  defp told(state, {:error, nil}), do: %{state | error: nil}
  defp told(state, {:error, error}), do: failed(state, error)

  defp moved(state, %{from: from, update: update, changes: changes, version: version}) do
    {tell, subscribers} = Subscribers.moved(state.subscribers, from, update.sha, changes, version)

    for {subscriber, changes} <- tell, do: tell(subscriber, update, changes)
    %{state | subscribers: subscribers}
  end

  defp tell(%{pid: pid, as: as, told: told}, update, changes) do
    update = %{update | previous: told, changed?: true, changes: changes}
    send(pid, {:alumiini_git, as, update})
  end

  # Who is not where the branch is: there is a comparison to ask for, or nothing to compare with.
  defp catch_up(%{head: %Update{} = head, source: source} = state) when is_pid(source) do
    Enum.reduce(Subscribers.behind(state.subscribers, head.sha), state, fn
      nil, state ->
        moved(state, %{from: nil, update: head, changes: :all, version: 0})

      commit, state ->
        if not MapSet.member?(state.asked, commit), do: Source.since(source, commit)
        %{state | asked: MapSet.put(state.asked, commit)}
    end)
  end

  defp catch_up(state), do: state

  defp failed(%{error: %Error{reason: reason}} = state, %Error{reason: reason} = error),
    do: %{state | error: error}

  defp failed(state, error) do
    for %{pid: pid, as: as} <- Subscribers.of_errors(state.subscribers),
        do: send(pid, {:alumiini_git, as, {:error, error}})

    %{state | error: error}
  end

  ## Who is told

  defp subscribe_one(state, %{pid: pid, since: since} = subscription) do
    state = forget_monitor(state, pid)

    told =
      case since do
        {:commit, commit} -> commit
        :current -> state.head && state.head.sha
      end

    subscriber =
      subscription
      |> Map.take([:pid, :as, :paths, :errors?])
      |> Map.merge(%{monitor: Process.monitor(pid), told: told})

    {subscribers, added, gone} = Subscribers.put(state.subscribers, subscriber)
    state = watch(%{state | subscribers: subscribers}, added, gone)

    if subscriber.errors? and state.error != nil,
      do: send(pid, {:alumiini_git, subscriber.as, {:error, state.error}})

    catch_up(state)
  end

  defp forget(state, pid) do
    state = forget_monitor(state, pid)
    {subscribers, gone} = Subscribers.remove(state.subscribers, pid)
    watch(%{state | subscribers: subscribers}, [], gone)
  end

  defp forget_monitor(state, pid) do
    with {:ok, %{monitor: monitor}} <- Subscribers.fetch(state.subscribers, pid),
         do: Process.demonitor(monitor, [:flush])

    state
  end

  defp watch(%{source: nil} = state, _added, _gone), do: state
  defp watch(state, [], []), do: state

  defp watch(state, added, gone) do
    Source.watch(state.source, state.subscribers.version, added, gone)
    state
  end
end
