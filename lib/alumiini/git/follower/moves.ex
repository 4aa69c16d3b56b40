defmodule Alumiini.Git.Follower.Moves do
  @moduledoc false

  # How the followers of a source get from one commit to the next: the part of `Source` that
  # compares commits and says what changed.
  #
  # `newest` is what the last poll found, `told` is where followers are. A comparison leads from the
  # one to the other, one at a time, so however many moves come while it is made, the next is one.
  # Beside that, a follower may want to know the changes since another commit: a subscriber of its
  # is there. It is told what is below the paths that it watched when the comparison began, with the
  # version of these, so that what is sent grows with what is told.

  alias Alumiini.Git.{Change, Telemetry, Update}
  alias Alumiini.Git.Follower.{Paths, Request, Settings, Source}

  # `wanted` are the commits that followers want to know the changes since, with who does.
  defstruct [:newest, :told, :comparison, wanted: %{}]

  @type t :: %__MODULE__{
          newest: Update.t() | nil,
          told: Update.t() | nil,
          comparison: map | nil,
          wanted: %{String.t() => [pid]}
        }

  @typedoc "What a follower is told. From nil: that the branch is there, whatever was before."
  @type move :: %{
          from: String.t() | nil,
          update: Update.t(),
          changes: [Change.t()] | :all,
          version: non_neg_integer
        }

  @typedoc "What of a source's state is needed here."
  @type source :: %{
          :remote => Settings.remote(),
          :server => GenServer.server(),
          :followers => %{pid => map},
          optional(atom) => term
        }

  @doc "A poll found the branch there."
  @spec found(t, Update.t(), source) :: t
  def found(moves, update, source), do: next(%{moves | newest: update}, source)

  @doc "Tells a follower that has just come where the others are."
  @spec tell_one(t, pid) :: :ok
  def tell_one(%{told: nil}, _follower), do: :ok
  def tell_one(%{told: told}, follower), do: send_to(follower, :moved, nil, told, :all, 0)

  @doc "A follower wants to know what changed since a commit."
  @spec since(t, pid, String.t(), source) :: t
  def since(moves, follower, commit, source) do
    wanted = Map.update(moves.wanted, commit, [follower], &[follower | &1])
    next(%{moves | wanted: wanted}, source)
  end

  @doc "A comparison came to this."
  @spec compared(t, [Change.t()] | :all, source) :: t
  def compared(
        %{comparison: %{kind: kind, from: from, to: to} = comparison} = moves,
        changes,
        source
      ) do
    tell(comparison.followers, kind, from, to, changes)
    moves = %{moves | comparison: nil}

    case kind do
      :moved ->
        # Followers that came meanwhile hear where the branch is. What changed since they were last
        # told of something, they ask for.
        later = Map.drop(source.followers, Map.keys(comparison.followers))
        tell(later, :moved, nil, to, :all)
        Telemetry.follower_move(source.server, source.remote, from, to.sha, changes)
        next(%{moves | told: to}, source)

      :since ->
        next(moves, source)
    end
  end

  # Where followers are comes first; then what some want to know beside.
  defp next(%{comparison: nil, told: nil, newest: %Update{} = newest} = moves, source) do
    tell(source.followers, :moved, nil, newest, :all)
    next(%{moves | told: newest}, source)
  end

  defp next(%{comparison: nil, told: %{sha: told}, newest: %{sha: sha} = newest} = moves, source)
       when told != sha,
       do: compare(moves, :moved, told, newest, source.followers, source)

  defp next(%{comparison: nil, told: %Update{} = told, wanted: wanted} = moves, source)
       when wanted != %{} do
    [{from, pids}] = Enum.take(wanted, 1)
    moves = %{moves | wanted: Map.delete(wanted, from)}
    compare(moves, :since, from, told, Map.take(source.followers, pids), source)
  end

  defp next(moves, _source), do: moves

  defp compare(moves, kind, from, to, followers, source) do
    comparison = %{kind: kind, from: from, to: to, followers: followers, pid: nil}

    case paths(followers) do
      # Nobody watches anything.
      [] ->
        compared(%{moves | comparison: comparison}, [], source)

      paths ->
        pid = Request.changes(source.remote, source.server, {from, to.sha}, paths)
        %{moves | comparison: %{comparison | pid: pid}}
    end
  end

  defp paths(followers) do
    followers
    |> Enum.reduce(MapSet.new(), fn {_pid, %{paths: paths}}, all -> MapSet.union(all, paths) end)
    |> MapSet.to_list()
  end

  defp tell(followers, kind, from, update, :all) do
    Enum.each(followers, fn {pid, %{version: version}} ->
      send_to(pid, kind, from, update, :all, version)
    end)
  end

  defp tell(followers, kind, from, update, changes) do
    index = Paths.index(changes)

    Enum.each(followers, fn {pid, %{paths: paths, version: version}} ->
      below = if Paths.all?(paths), do: changes, else: Paths.pick(index, paths)
      send_to(pid, kind, from, update, below, version)
    end)
  end

  defp send_to(follower, kind, from, update, changes, version) do
    move = %{from: from, update: update, changes: changes, version: version}
    send(follower, {Source, self(), {kind, move}})
    :ok
  end
end
