defmodule Alumiini.Git.Follower.Subscribers do
  @moduledoc false

  # Who is told what: for each subscriber its paths, and the commit that it was last told of or did
  # not have to be told of. A move goes from one commit to another; it is told to those who are at
  # the first, and who is elsewhere is behind, and needs a comparison of its own. So nobody misses
  # anything, or is told twice, whatever comes in between. Pure.
  #
  # The source filters by all paths that are watched here. Each has the version at which it came to
  # be, so that a move that was filtered before is not taken for one without changes there.

  alias Alumiini.Git.Change
  alias Alumiini.Git.Follower.Paths

  defstruct by_pid: %{}, watched: %{}, version: 0

  @type subscriber :: %{
          pid: pid,
          monitor: reference,
          # What it subscribed to, as its messages name it.
          as: term,
          paths: [Paths.path(), ...],
          errors?: boolean,
          told: String.t() | nil,
          version: non_neg_integer
        }

  @type t :: %__MODULE__{
          by_pid: %{pid => subscriber},
          watched: %{Paths.path() => {pos_integer, version :: pos_integer}},
          version: non_neg_integer
        }

  @spec size(t) :: non_neg_integer
  def size(subscribers), do: map_size(subscribers.by_pid)

  @doc "All paths that somebody subscribed to."
  @spec watched(t) :: [Paths.path()]
  def watched(subscribers), do: Map.keys(subscribers.watched)

  @doc """
  Adds a subscriber, in place of what it was before. With it the paths that are watched since, and
  those that are not any more.
  """
  @spec put(t, map) :: {t, [Paths.path()], [Paths.path()]}
  def put(subscribers, %{pid: pid, paths: paths} = subscriber) do
    {subscribers, gone} = remove(subscribers, pid)
    new = Enum.reject(paths, &is_map_key(subscribers.watched, &1))
    version = if new == [], do: subscribers.version, else: subscribers.version + 1

    watched =
      Enum.reduce(paths, subscribers.watched, fn path, watched ->
        Map.update(watched, path, {1, version}, fn {count, since} -> {count + 1, since} end)
      end)

    since = paths |> Enum.map(&elem(watched[&1], 1)) |> Enum.max()
    by_pid = Map.put(subscribers.by_pid, pid, Map.put(subscriber, :version, since))
    {%__MODULE__{by_pid: by_pid, watched: watched, version: version}, new, gone -- new}
  end

  @doc "Removes one, if it is there. With it the paths that nobody watches any more."
  @spec remove(t, pid) :: {t, [Paths.path()]}
  def remove(subscribers, pid) do
    case Map.pop(subscribers.by_pid, pid) do
      {nil, _by_pid} ->
        {subscribers, []}

      {%{paths: paths}, by_pid} ->
        {watched, gone} =
          Enum.reduce(paths, {subscribers.watched, []}, fn path, {watched, gone} ->
            case watched do
              %{^path => {1, _since}} -> {Map.delete(watched, path), [path | gone]}
              %{^path => {count, since}} -> {Map.put(watched, path, {count - 1, since}), gone}
            end
          end)

        {%{subscribers | by_pid: by_pid, watched: watched}, gone}
    end
  end

  @spec fetch(t, pid) :: {:ok, subscriber} | :error
  def fetch(subscribers, pid), do: Map.fetch(subscribers.by_pid, pid)

  @doc """
  The branch moved from one commit (nil: from nowhere) to another, with these changes below all
  paths that were watched at `version`. Whom to tell, and what.
  """
  @spec moved(t, String.t() | nil, String.t(), [Change.t()] | :all, non_neg_integer) ::
          {[{subscriber, [Change.t()] | :all}], t}
  def moved(subscribers, from, to, changes, version) do
    index = if changes == :all, do: :all, else: Paths.index(changes)

    Enum.reduce(subscribers.by_pid, {[], subscribers}, fn {pid, subscriber}, {told, subscribers} ->
      if subscriber.told == from and from != to and
           (index == :all or subscriber.version <= version) do
        by_pid = Map.put(subscribers.by_pid, pid, %{subscriber | told: to})
        subscribers = %{subscribers | by_pid: by_pid}

        case below(index, subscriber.paths) do
          :nothing -> {told, subscribers}
          changes -> {[{subscriber, changes} | told], subscribers}
        end
      else
        {told, subscribers}
      end
    end)
  end

  # Who wants all is told of each move, also of one that changes no file.
  defp below(:all, _paths), do: :all

  defp below(index, paths) do
    case Paths.pick(index, paths) do
      [] -> if Paths.all?(paths), do: [], else: :nothing
      changes -> changes
    end
  end

  @doc "The commits of those who are not at this one."
  @spec behind(t, String.t()) :: [String.t() | nil]
  def behind(subscribers, sha) do
    for({_pid, %{told: told}} <- subscribers.by_pid, told != sha, do: told) |> Enum.uniq()
  end

  @doc "Those who want to be told of errors."
  @spec of_errors(t) :: [subscriber]
  def of_errors(subscribers),
    do: for({_pid, %{errors?: true} = subscriber} <- subscribers.by_pid, do: subscriber)
end
