defmodule Alumiini.Git.Test.Demo.Workers do
  @moduledoc "Follows the workers of a server through telemetry, as an application would."

  alias Alumiini.Git.Test.OsProcess

  @events [[:alumiini_git, :worker, :up], [:alumiini_git, :worker, :down]]

  @doc "From now on the calling process gets a message for each worker that comes or goes."
  @spec follow() :: :ok
  def follow, do: :telemetry.attach_many(__MODULE__, @events, &__MODULE__.handle/4, self())

  @doc false
  def handle([_, :worker, event], measurements, metadata, pid),
    do: send(pid, {__MODULE__, event, measurements, metadata})

  @doc """
  Waits for the next worker that is up: its process id, version, and how long it took in
  microseconds.
  """
  @spec await_up(timeout) :: %{os_pid: pos_integer, version: String.t(), microseconds: integer}
  def await_up(timeout \\ 60_000) do
    receive do
      {__MODULE__, :up, %{duration: duration}, %{os_pid: os_pid, version: version}} ->
        microseconds = System.convert_time_unit(duration, :native, :microsecond)
        %{os_pid: os_pid, version: version, microseconds: microseconds}
    after
      timeout -> raise "no worker came up in #{timeout} ms"
    end
  end

  @doc "Why the next worker went down."
  @spec await_down(timeout) :: term
  def await_down(timeout \\ 60_000) do
    receive do
      {__MODULE__, :down, _measurements, %{reason: reason}} -> reason
    after
      timeout -> raise "no worker went down in #{timeout} ms"
    end
  end

  @spec kill(pos_integer) :: :ok | {:error, String.t()}
  def kill(os_pid), do: OsProcess.kill(os_pid, :KILL)
end
