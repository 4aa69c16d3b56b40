defmodule Alumiini.Git.Server.Pending do
  @moduledoc false

  # The requests that have no answer yet: where each one is, and what becomes of it when a worker
  # dies. Pure.
  #
  #     :waiting ──────► {:worker, w} ── w dies, first time ──► :waiting (replayed with the others)
  #                                   └─ w dies, second time ─► :suspect
  #     :suspect ─► {:starting, w} ─► {:worker, w} ── w dies, third time ─► exited (it was alone)
  #
  # A request counts as in flight from the moment it is handed to a worker's writer.

  @typedoc "A worker: its port, but any term will do here."
  @type worker :: term

  @type place :: :waiting | :suspect | {:starting, worker} | {:worker, worker}

  @type entry :: %{
          required(:id) => pos_integer,
          required(:ref) => reference,
          required(:monitor) => reference,
          required(:deaths) => non_neg_integer,
          required(:place) => place,
          optional(atom) => term
        }

  # No set is a default: to dialyzer, what is made while a module is compiled is no value of an
  # opaque type.
  @enforce_keys [:waiting, :suspects]
  defstruct [:waiting, :suspects, entries: %{}, refs: %{}, monitors: %{}]

  @type t :: %__MODULE__{
          entries: %{pos_integer => entry},
          refs: %{reference => pos_integer},
          monitors: %{reference => pos_integer},
          waiting: :gb_sets.set(pos_integer),
          suspects: :gb_sets.set(pos_integer)
        }

  @spec new() :: t
  def new, do: %__MODULE__{waiting: :gb_sets.new(), suspects: :gb_sets.new()}

  @spec size(t) :: non_neg_integer
  def size(pending), do: map_size(pending.entries)

  @spec in_flight(t) :: non_neg_integer
  def in_flight(pending),
    do: Enum.count(pending.entries, &match?({_id, %{place: {:worker, _}}}, &1))

  @doc "Adds a request that has not been sent to any worker."
  @spec add(t, map) :: t
  def add(pending, entry) do
    entry = Map.merge(entry, %{deaths: 0, place: :waiting})

    %{
      pending
      | entries: Map.put(pending.entries, entry.id, entry),
        refs: Map.put(pending.refs, entry.ref, entry.id),
        monitors: Map.put(pending.monitors, entry.monitor, entry.id),
        waiting: :gb_sets.add(entry.id, pending.waiting)
    }
  end

  @spec fetch(t, pos_integer) :: {:ok, entry} | :error
  def fetch(pending, id), do: Map.fetch(pending.entries, id)

  @doc "The request that the caller knows by this reference, or whose caller is monitored with it."
  @spec id(t, reference) :: {:ok, pos_integer} | :error
  def id(pending, ref) do
    with :error <- Map.fetch(pending.refs, ref), do: Map.fetch(pending.monitors, ref)
  end

  @spec take(t, pos_integer) :: {entry, t} | :error
  def take(pending, id) do
    case Map.pop(pending.entries, id) do
      {nil, _entries} ->
        :error

      {entry, entries} ->
        {entry,
         %{
           pending
           | entries: entries,
             refs: Map.delete(pending.refs, entry.ref),
             monitors: Map.delete(pending.monitors, entry.monitor),
             waiting: :gb_sets.del_element(id, pending.waiting),
             suspects: :gb_sets.del_element(id, pending.suspects)
         }}
    end
  end

  @doc "Puts a request somewhere else."
  @spec place(t, pos_integer, place) :: t
  def place(pending, id, place) do
    entries = Map.update!(pending.entries, id, &%{&1 | place: place})
    waiting = :gb_sets.del_element(id, pending.waiting)
    suspects = :gb_sets.del_element(id, pending.suspects)

    case place do
      :waiting ->
        %{pending | entries: entries, waiting: :gb_sets.add(id, waiting), suspects: suspects}

      :suspect ->
        %{pending | entries: entries, waiting: waiting, suspects: :gb_sets.add(id, suspects)}

      _at_a_worker ->
        %{pending | entries: entries, waiting: waiting, suspects: suspects}
    end
  end

  @doc "The requests that wait for a worker, in the order they came."
  @spec waiting(t) :: [entry]
  def waiting(pending),
    do: for(id <- :gb_sets.to_list(pending.waiting), do: Map.fetch!(pending.entries, id))

  @doc "All that have not been sent to a worker: they wait for one, or for one of their own."
  @spec unsent(t) :: [entry]
  def unsent(pending), do: waiting(pending) ++ suspects(pending)

  @doc "The requests that wait for a worker of their own, in the order they came."
  @spec suspects(t) :: [entry]
  def suspects(pending),
    do: for(id <- :gb_sets.to_list(pending.suspects), do: Map.fetch!(pending.entries, id))

  @spec next_suspect(t) :: {:ok, entry} | :none
  def next_suspect(pending) do
    if :gb_sets.is_empty(pending.suspects),
      do: :none,
      else: {:ok, Map.fetch!(pending.entries, :gb_sets.smallest(pending.suspects))}
  end

  @doc """
  A worker died. Its requests wait again, or become suspects, or, having been alone there, are taken
  out and returned: they ended it.
  """
  @spec worker_died(t, worker) :: {exited :: [entry], replayed :: non_neg_integer, t}
  def worker_died(pending, worker) do
    there =
      for {id, %{place: place}} <- pending.entries,
          place in [{:worker, worker}, {:starting, worker}],
          do: id

    Enum.reduce(Enum.sort(there), {[], 0, pending}, fn id, {exited, replayed, pending} ->
      case died(Map.fetch!(pending.entries, id)) do
        :exited ->
          {entry, pending} = take(pending, id)
          {exited ++ [entry], replayed, pending}

        {deaths, place} ->
          pending = put_in(pending.entries[id].deaths, deaths)
          {exited, replayed + 1, place(pending, id, place)}
      end
    end)
  end

  # It had been promised a worker, but that one died before it was sent there.
  defp died(%{place: {:starting, _worker}, deaths: deaths}), do: {deaths, :suspect}
  defp died(%{deaths: 0}), do: {1, :waiting}
  defp died(%{deaths: 1}), do: {2, :suspect}
  defp died(_alone), do: :exited

  @doc """
  Whether this `repaired` event tells something new. Requests that share a sync each get one; after
  the first, the others at the same path that are in flight in the same worker are marked.
  """
  @spec repaired(t, entry) :: {boolean, t}
  def repaired(pending, %{repaired?: true} = entry) do
    {false, put_in(pending.entries[entry.id][:repaired?], false)}
  end

  def repaired(pending, entry) do
    path = entry.request["path"]

    entries =
      Map.new(pending.entries, fn
        {id, %{place: place, request: %{"path" => ^path}} = other}
        when id != entry.id and place == entry.place ->
          {id, Map.put(other, :repaired?, true)}

        unchanged ->
          unchanged
      end)

    {true, %{pending | entries: entries}}
  end
end
