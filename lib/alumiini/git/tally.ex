defmodule Alumiini.Git.QueueTime do
  @moduledoc false

  # How long the requests of a call waited for their turns at hosts. A call may make several, some
  # of which fail, so what each reply tells is added up in the process that calls.

  @key __MODULE__

  @typedoc "What the call around this one has come to, if there is one."
  @type outer :: integer | nil

  @spec begin() :: outer
  def begin, do: Process.put(@key, 0)

  @doc "Adds what a reply of the worker tells, if a call is under way."
  @spec add(map) :: :ok
  def add(%{"waited" => waited}) when is_integer(waited) do
    case Process.get(@key) do
      nil -> :ok
      sum -> _ = Process.put(@key, sum + System.convert_time_unit(waited, :microsecond, :native))
    end

    :ok
  end

  def add(_told_nothing), do: :ok

  @doc "Ends what `begin/0` began: the sum, in native units."
  @spec finish(outer) :: integer
  def finish(outer) do
    sum = Process.get(@key, 0)
    _ = if outer, do: Process.put(@key, outer), else: Process.delete(@key)
    sum
  end
end
