defmodule Alumiini.Git.Server.Shared do
  @moduledoc false

  # The processes that users of a server share: one for each name, whoever asks for it first. What
  # follows a repository for all of its followers is one (`Alumiini.Git.Follower.Source`).
  #
  # The server owns this map because all of them come to it anyway: there is no Application and no
  # registry, and a process that is shared is of no use without its server. Each monitors the other:
  # such a process ends with its server, and the server forgets it when it ends. Neither is linked,
  # so that neither takes the other down.
  #
  # Starting one is a spawn. Nothing here waits for anything.

  # Between the first steps of two that are started together, ms: 200 in a second.
  @apart 5
  # The server never waits, so one that does not answer within this is stopped or cut off, ms.
  @patience 5_000

  @enforce_keys [:free_at]
  defstruct [:free_at, entries: %{}, names: %{}, labels: %{}]

  @typedoc """
  `key` is what has to be equal to share; what is secret in it is sealed. By its `label` a process
  is found, with others. `start` names a function that gets what `t:given/0` has, and `argument`.
  """
  @type request :: %{
          name: term,
          key: %{atom => term},
          label: term,
          start: {module, atom, argument :: term}
        }

  @typedoc """
  The server, by its name and its process; and how many milliseconds to wait before the first step,
  so that many that are started together are not at work together.
  """
  @type given :: %{server: term, pid: pid, delay: non_neg_integer}

  @type t :: %__MODULE__{
          free_at: integer,
          entries: %{term => %{key: map, label: term, pid: pid}},
          names: %{reference => term},
          labels: %{term => [pid]}
        }

  @spec new() :: t
  def new, do: %__MODULE__{free_at: now()}

  ## In the server

  @doc "Answers what `ask/2` asked of the server of this name."
  @spec answer(t, term, term) :: {term, t}
  def answer(shared, {:join, %{name: _, key: %{}, label: _, start: {_, _, _}} = request}, server),
    do: join(shared, request, server)

  def answer(shared, {:find, labels}, _server) when is_list(labels),
    do: {{:ok, Enum.flat_map(Enum.uniq(labels), &Map.get(shared.labels, &1, []))}, shared}

  def answer(shared, _of_another_version, _server), do: {{:error, :unknown}, shared}

  defp join(shared, %{name: name, key: key} = request, server) do
    case shared.entries do
      %{^name => %{key: ^key, pid: pid}} ->
        {{:ok, pid}, shared}

      %{^name => entry} ->
        others = for {field, value} <- key, entry.key[field] != value, do: field
        {{:error, {:taken, entry.pid, others}}, shared}

      _none ->
        start(shared, request, server)
    end
  end

  defp start(
         shared,
         %{name: name, label: label, start: {module, function, argument}} = request,
         server
       ) do
    now = now()
    at = max(now, shared.free_at)
    given = %{server: server, pid: self(), delay: at - now}
    pid = :proc_lib.spawn(module, function, [given, argument])
    entry = %{key: request.key, label: label, pid: pid}

    {{:ok, pid},
     %{
       shared
       | free_at: at + @apart,
         entries: Map.put(shared.entries, name, entry),
         names: Map.put(shared.names, Process.monitor(pid), name),
         labels: Map.update(shared.labels, label, [pid], &[pid | &1])
     }}
  end

  @doc "Forgets the process with this monitor, if it is one of these."
  @spec down(t, reference) :: t
  def down(%__MODULE__{} = shared, monitor) do
    case Map.pop(shared.names, monitor) do
      {nil, _names} ->
        shared

      {name, names} ->
        {%{label: label, pid: pid}, entries} = Map.pop!(shared.entries, name)

        labels =
          case List.delete(shared.labels[label], pid) do
            [] -> Map.delete(shared.labels, label)
            others -> Map.put(shared.labels, label, others)
          end

        %{shared | names: names, entries: entries, labels: labels}
    end
  end

  @spec size(t) :: non_neg_integer
  def size(shared), do: map_size(shared.entries)

  ## In who asks

  @doc """
  Asks a server: `{:join, request}` for the process of that name, which is started where there is
  none; `{:find, labels}` for all processes that have one of these. A name that is taken by a
  process with another key is refused, with that process and the fields that differ.
  """
  @spec ask(GenServer.server(), {:join, request} | {:find, [term]}) ::
          {:ok, pid | [pid]} | {:error, {:taken, pid, [atom]} | :unknown | :unreachable}
  def ask(server, question) do
    case GenServer.call(server, {__MODULE__, question}, @patience) do
      {:error, :unknown_call} -> {:error, :unknown}
      answer -> answer
    end
  catch
    :exit, _not_there -> {:error, :unreachable}
    # The registry of a `{:via, module, name}` is not running.
    :error, _no_registry -> {:error, :unreachable}
  end

  defp now, do: System.monotonic_time(:millisecond)
end
