defmodule Alumiini.Git.Test.WorkersSeen do
  @moduledoc "Which workers a server starts and loses, as telemetry tells it, and how they fare."

  @doc """
  From now on the calling test gets `{:worker, :up | :down, server, metadata}` of every worker.
  Servers are told apart by their name, or their pid where they have none.
  """
  @spec attach!() :: :ok
  def attach! do
    id = {__MODULE__, make_ref()}
    events = [[:alumiini_git, :worker, :up], [:alumiini_git, :worker, :down]]
    :ok = :telemetry.attach_many(id, events, &__MODULE__.tell/4, self())
    ExUnit.Callbacks.on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc """
  Whether a worker does not read what is written to it: the port holds back a frame, or the writer
  waits for the port.
  """
  @spec stuck?(Alumiini.Git.Server.Worker.t()) :: boolean
  def stuck?(worker) do
    Port.info(worker.port, :queue_size) not in [nil, {:queue_size, 0}] or
      Process.info(worker.writer, :status) == {:status, :suspended}
  end

  @doc false
  def tell([:alumiini_git, :worker, event], _measurements, metadata, test) do
    send(test, {:worker, event, metadata.server, metadata})
  end

  @doc "The events of this kind that came so far, oldest first; they are taken out of the mailbox."
  @spec so_far(:up | :down, GenServer.server()) :: [map]
  def so_far(event, server) do
    receive do
      {:worker, ^event, ^server, metadata} -> [metadata | so_far(event, server)]
    after
      0 -> []
    end
  end
end
