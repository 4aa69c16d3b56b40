defmodule Alumiini.Git.Server.State do
  @moduledoc false

  # What the server knows, and the steps on it that both of its halves take: `Server`, which deals
  # with requests, and `Workers`, which deals with workers.

  alias Alumiini.Git.{Log, Options, Remote}
  alias Alumiini.Git.Server.{Backoff, Pending, Shared, Worker, Writer}

  @enforce_keys [:name, :options, :starts, :isolated_starts, :pending, :shared]
  defstruct [
    :name,
    :options,
    # The backoff of the main worker's starts, and that of isolated ones.
    :starts,
    :isolated_starts,
    :pending,
    :shared,
    # The port of the main worker, also while it is starting.
    :main,
    # Why callers do not wait for a worker: the cause of the last start that failed.
    :unavailable,
    # A pause between two starts of isolated workers is under way.
    isolated_paused?: false,
    workers: %{},
    last_id: 0,
    attempts: 0
  ]

  @type t :: %__MODULE__{
          name: term,
          options: Options.Check.start(),
          starts: Backoff.t(),
          isolated_starts: Backoff.t(),
          main: port | nil,
          unavailable: Worker.cause() | nil,
          isolated_paused?: boolean,
          pending: Pending.t(),
          shared: Shared.t(),
          workers: %{port => Worker.t()},
          last_id: non_neg_integer,
          attempts: non_neg_integer
        }

  @spec new(Options.Check.start()) :: t
  def new(options) do
    %__MODULE__{
      name: options.name || self(),
      options: options,
      starts: Backoff.new(options.backoff_initial, options.backoff_max),
      isolated_starts: Backoff.new(options.backoff_initial, options.backoff_max),
      pending: Pending.new(),
      shared: Shared.new()
    }
  end

  @doc "Hands a pending request to a worker that is up."
  @spec send_to(t, Worker.t(), pos_integer) :: t
  def send_to(state, worker, id) do
    {:ok, entry} = Pending.fetch(state.pending, id)
    added = %{"id" => id, "timeout" => max(1, entry.deadline - now())}
    request = entry.request |> Remote.with_defaults(state.options.remote) |> Map.merge(added)
    Writer.request(worker.writer, worker.port, id, request)
    %{state | pending: Pending.place(state.pending, id, {:worker, worker.port})}
  end

  @doc "Takes a pending request out, with all that watches it."
  @spec take(t, pos_integer) :: {Pending.entry(), t} | :error
  def take(state, id) do
    with {entry, pending} <- Pending.take(state.pending, id) do
      unwatch(entry)
      {entry, %{state | pending: pending}}
    end
  end

  @doc "Ends what watches a request: its caller's monitor and its timer."
  @spec unwatch(Pending.entry()) :: :ok
  def unwatch(entry) do
    Process.demonitor(entry.monitor, [:flush])
    _ = Process.cancel_timer(entry.timer)
    :ok
  end

  @spec put_worker(t, Worker.t()) :: t
  def put_worker(state, worker), do: %{state | workers: Map.put(state.workers, worker.port, worker)}

  @doc "The time that deadlines are in."
  @spec now() :: integer
  def now, do: System.monotonic_time(:millisecond)

  @spec log(t, Logger.level(), String.t()) :: :ok
  def log(state, level, message) do
    line = "Alumiini.Git #{inspect(state.name)}: #{message}"
    Log.line(level, {__MODULE__, :log, 3}, line)
  end
end
