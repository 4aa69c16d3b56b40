defmodule Alumiini.Git.Follower.Source do
  @moduledoc false

  # What polls, for all followers of one server that follow the same: equal in URL, ref, path and
  # options. The server starts it for the first of them (`Alumiini.Git.Server.Shared`); it ends with
  # the last, or with the server.
  #
  #     follower ─► {:join, pid, join}           follower ◄─ {Source, pid, {:moved, move}}
  #                 {:watch, pid, watched}                   {Source, pid, {:since, move}}
  #                 {:since, pid, commit}                    {Source, pid, {:error, error | nil}}
  #                 {:poke, commit}
  #
  # It waits for nothing: a poll, and a comparison of two commits (`Moves`), are each a process of
  # their own (`Request`), one of a kind at a time.

  use GenServer, restart: :temporary

  alias Alumiini.Git.{Error, Telemetry, Update}
  alias Alumiini.Git.Follower.{Moves, Paths, Pokes, Request, Schedule, Settings}

  # Whoever it was started for says so at once; a follower that died in between does not, ms.
  @unused 5_000
  # Of the commits that the branch was at.
  @seen 16

  @enforce_keys [:remote, :server, :server_monitor, :delay]
  defstruct [
    :remote,
    :server,
    :server_monitor,
    # Before the first poll.
    :delay,
    :error,
    :polled_at,
    # The request under way, and the timer of the next poll.
    :poll,
    :timer,
    # Until when nothing may be asked, in monotonic ms.
    :held_until,
    failures: 0,
    seen: [],
    pokes: %Pokes{},
    moves: %Moves{},
    followers: %{}
  ]

  @type join :: %{
          interval: pos_integer,
          backoff_max: pos_integer,
          paths: [Paths.path()],
          version: non_neg_integer
        }

  ## For followers

  @spec join(pid, join) :: :ok
  def join(source, join), do: GenServer.cast(source, {:join, self(), join})

  @doc "Says which paths are watched since, at which version, and which are not any more."
  @spec watch(pid, non_neg_integer, [Paths.path()], [Paths.path()]) :: :ok
  def watch(source, version, added, gone),
    do: GenServer.cast(source, {:watch, self(), {version, added, gone}})

  @doc "Asks what changed since a commit."
  @spec since(pid, String.t()) :: :ok
  def since(source, commit), do: GenServer.cast(source, {:since, self(), commit})

  @spec poke(pid, String.t() | nil) :: :ok
  def poke(source, commit), do: GenServer.cast(source, {:poke, commit})

  @doc """
  Pokes those of these that follow the ref with this full name, and returns how many followers they
  have.
  """
  @spec poke_all([pid], String.t(), String.t() | nil) :: non_neg_integer
  def poke_all(sources, ref, commit) do
    sources
    |> Enum.map(&call(&1, {:poke, ref, commit}))
    |> Enum.reduce(0, fn {:ok, count}, sum -> sum + count end)
  end

  @spec status(pid) :: {:ok, map} | :gone
  def status(source) do
    with {:ok, 0} <- call(source, :status), do: :gone
  end

  # One that has just ended has no followers.
  defp call(source, question) do
    {:ok, GenServer.call(source, question)}
  catch
    :exit, _gone -> {:ok, 0}
  end

  ## The process

  @doc "What the server spawns. It is no child of the server, and may be killed at any time."
  @spec start(Alumiini.Git.Server.Shared.given(), Settings.remote()) :: no_return
  def start(%{server: server, pid: pid, delay: delay}, remote) do
    # For the ends of its requests.
    Process.flag(:trap_exit, true)
    Process.send_after(self(), :unused?, @unused)

    :gen_server.enter_loop(__MODULE__, [], %__MODULE__{
      remote: remote,
      server: server,
      server_monitor: Process.monitor(pid),
      delay: delay
    })
  end

  @impl true
  def init(_started_by_start), do: :ignore

  @impl true
  def handle_cast({:join, pid, %{paths: paths} = join}, state) do
    follower = %{join | paths: MapSet.new(paths)} |> Map.put(:monitor, Process.monitor(pid))
    first? = newest(state) == nil and state.poll == nil and state.timer == nil
    state = %{state | followers: Map.put(state.followers, pid, follower)}
    Moves.tell_one(state.moves, pid)
    if state.error, do: send(pid, {__MODULE__, self(), {:error, state.error}})
    {:noreply, if(first?, do: first_poll(state), else: sooner(state))}
  end

  def handle_cast({:watch, pid, {version, added, gone}}, state) do
    case state.followers do
      %{^pid => follower} ->
        paths = Enum.reduce(gone, follower.paths, &MapSet.delete(&2, &1))
        paths = Enum.reduce(added, paths, &MapSet.put(&2, &1))
        follower = %{follower | paths: paths, version: version}
        {:noreply, %{state | followers: Map.put(state.followers, pid, follower)}}

      _gone ->
        {:noreply, state}
    end
  end

  def handle_cast({:since, pid, commit}, state),
    do: {:noreply, %{state | moves: Moves.since(state.moves, pid, commit, state)}}

  def handle_cast({:poke, commit}, state), do: {:noreply, poked(state, commit)}

  @impl true
  def handle_call({:poke, ref, commit}, _from, state) do
    case follows(state, ref) do
      # Of a tag, a push names the object, which may not be the commit.
      :exactly -> {:reply, map_size(state.followers), poked(state, branch(ref, commit))}
      :perhaps -> {:reply, map_size(state.followers), poked(state, nil)}
      :not -> {:reply, 0, state}
    end
  end

  def handle_call(:status, _from, state) do
    {:reply,
     %{
       sha: newest(state),
       error: state.error,
       polled_at: state.polled_at,
       next_poll_at: next_poll_at(state),
       polling?: state.poll != nil,
       followers: map_size(state.followers),
       pokes: Pokes.pending(state.pokes)
     }, state}
  end

  @impl true
  def handle_info({:timeout, timer, :poll}, %{timer: timer} = state),
    do: {:noreply, poll(%{state | timer: nil})}

  def handle_info({Request, pid, {:ok, %Update{} = update}}, %{poll: %{pid: pid}} = state),
    do: idle(state |> found(update) |> told_of_poll(state, :ok))

  def handle_info({Request, pid, {:error, %Error{} = error}}, %{poll: %{pid: pid}} = state),
    do: idle(state |> failed(error) |> told_of_poll(state, error.reason))

  def handle_info({Request, pid, changes}, %{moves: %{comparison: %{pid: pid}}} = state),
    do: idle(%{state | moves: Moves.compared(state.moves, changes, state)})

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, %{server_monitor: monitor} = state),
    do: {:stop, :normal, state}

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    case Map.delete(state.followers, pid) do
      none when none == %{} -> {:stop, :normal, %{state | followers: none}}
      followers -> {:noreply, %{state | followers: followers}}
    end
  end

  def handle_info(:unused?, %{followers: followers} = state) when followers == %{},
    do: {:stop, :normal, state}

  # One that said nothing before it ended: something killed it.
  def handle_info({:EXIT, pid, _reason}, %{poll: %{pid: pid}} = state) do
    error = Error.new(:internal, :update, "the process that polled was killed; it polls again")
    idle(state |> failed(error) |> told_of_poll(state, error.reason))
  end

  def handle_info({:EXIT, pid, _reason}, %{moves: %{comparison: %{pid: pid}}} = state),
    do: idle(%{state | moves: Moves.compared(state.moves, :all, state)})

  def handle_info(_late, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for %{pid: pid} <- [state.poll, state.moves.comparison], do: Request.stop(pid)
    :ok
  end

  # There is nothing to do for as long as the interval: what was needed for a poll goes.
  defp idle(%{poll: nil, moves: %{comparison: nil}} = state), do: {:noreply, state, :hibernate}
  defp idle(state), do: {:noreply, state}

  ## When to poll

  defp first_poll(state), do: poll_in(state, Schedule.first(state.delay, interval(state)))

  # One that has come may want to poll more often.
  defp sooner(%{timer: nil} = state), do: state

  defp sooner(state) do
    left = Process.read_timer(state.timer)
    longest = Schedule.interval(interval(state))

    if is_integer(left) and left > longest and state.error == nil,
      do: poll_in(state, longest),
      else: state
  end

  defp interval(state), do: shortest(state, :interval)

  # There may be no follower any more, and the source about to end.
  defp shortest(state, key) do
    Enum.reduce(state.followers, 2_147_483_647, fn {_pid, follower}, shortest ->
      min(shortest, Map.fetch!(follower, key))
    end)
  end

  defp poked(state, commit) do
    case Pokes.add(state.pokes, commit, newest(state)) do
      {:none, pokes} -> %{state | pokes: pokes}
      {:poll, pokes} -> poll_now(%{state | pokes: pokes})
    end
  end

  # Not beside another one: what came meanwhile has its turn when that is over. Nor before the time
  # that a server asked for.
  defp poll_now(%{poll: nil} = state) do
    case held(state) do
      0 -> poll(state)
      left -> poll_in(state, left)
    end
  end

  defp poll_now(state), do: state

  defp held(%{held_until: nil}), do: 0
  defp held(state), do: max(0, state.held_until - now())

  defp poll_in(state, pause) do
    state = cancel(state)
    %{state | timer: :erlang.start_timer(max(pause, held(state)), self(), :poll)}
  end

  defp cancel(%{timer: nil} = state), do: state

  defp cancel(state) do
    _ = :erlang.cancel_timer(state.timer)
    %{state | timer: nil}
  end

  defp poll(state) do
    state = cancel(state)
    poked? = Pokes.pending(state.pokes) > 0
    pokes = Pokes.take(state.pokes)
    pid = Request.update(state.remote, state.server, Pokes.hint(pokes))
    poll = %{pid: pid, began: System.monotonic_time(), poked?: poked?}
    %{state | poll: poll, pokes: pokes, held_until: nil}
  end

  ## What a poll found

  defp found(state, update) do
    seen = List.wrap(newest(state)) ++ state.seen
    {next, pokes} = Pokes.found(state.pokes, update.sha, seen)
    if state.error, do: to_all(state, {:error, nil})

    state = %{
      state
      | poll: nil,
        polled_at: DateTime.utc_now(),
        moves: Moves.found(state.moves, update, state),
        error: nil,
        failures: 0,
        pokes: pokes,
        seen: seen |> Enum.uniq() |> Enum.take(@seen)
    }

    next_poll(state, next, fn state -> Schedule.interval(interval(state)) end)
  end

  defp failed(state, error) do
    failures = state.failures + 1
    {next, pokes} = Pokes.failed(state.pokes)
    max = shortest(state, :backoff_max)
    {pause, hold} = Schedule.error(error, failures, interval(state), max)
    if not same?(state.error, error), do: to_all(state, {:error, error})

    state = %{
      state
      | poll: nil,
        polled_at: DateTime.utc_now(),
        error: error,
        failures: failures,
        pokes: pokes,
        held_until: if(hold > 0, do: now() + hold)
    }

    next_poll(state, next, fn _state -> pause end)
  end

  defp next_poll(state, :now, _pause), do: poll_now(state)
  defp next_poll(state, {:soon, pause}, _pause), do: poll_in(state, pause)
  defp next_poll(state, :rest, pause), do: poll_in(state, pause.(state))

  # Not the times and numbers that a message may have.
  defp same?(%Error{} = one, other), do: one.reason == other.reason
  defp same?(nil, _error), do: false

  defp told_of_poll(state, %{poll: poll} = before, result) do
    Telemetry.follower_poll(state.server, state.remote, %{
      began: poll.began,
      followers: map_size(state.followers),
      result: result,
      moved?: newest(state) != newest(before),
      poked?: poll.poked?
    })

    state
  end

  defp to_all(state, message) do
    Enum.each(state.followers, fn {pid, _follower} ->
      send(pid, {__MODULE__, self(), message})
    end)
  end

  ## What it follows

  defp follows(%{remote: %{name: name}}, name), do: :exactly
  defp follows(%{remote: %{name: :tags}}, "refs/tags/" <> _tag), do: :perhaps
  # Once it has been there, which branch that is is known; it may be another one since.
  defp follows(%{remote: %{name: :default}}, "refs/heads/" <> _branch), do: :perhaps
  defp follows(_state, _ref), do: :not

  defp branch("refs/heads/" <> _branch, commit), do: commit
  defp branch(_other, _object), do: nil

  defp newest(%{moves: %{newest: newest}}), do: newest && newest.sha

  defp next_poll_at(%{timer: nil}), do: nil

  defp next_poll_at(state) do
    case Process.read_timer(state.timer) do
      left when is_integer(left) -> DateTime.add(DateTime.utc_now(), left, :millisecond)
      false -> DateTime.utc_now()
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
