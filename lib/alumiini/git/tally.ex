defmodule Alumiini.Git.Tally do
  @moduledoc false

  # What the requests of a call came to: how long they waited for their turns at hosts, how often
  # remotes were asked, and how often again. A call may make several requests, some of which fail,
  # so what each reply tells is added up in the process that calls.

  @key __MODULE__
  @none %{queue_time: 0, requests: 0, retries: 0}

  @type t :: %{
          queue_time: non_neg_integer,
          requests: non_neg_integer,
          retries: non_neg_integer
        }

  @typedoc "What the call around this one has come to, if there is one."
  @type outer :: t | nil

  @spec begin() :: outer
  def begin, do: Process.put(@key, @none)

  @doc "Adds what a reply of the worker tells, if a call is under way."
  @spec add(map) :: :ok
  def add(reply) do
    add(:queue_time, System.convert_time_unit(told(reply, "waited"), :microsecond, :native))
    add(:requests, told(reply, "requests"))
    add(:retries, told(reply, "retries"))
  end

  @doc "Adds a request that is made again by the call itself."
  @spec again() :: :ok
  def again, do: add(:retries, 1)

  # A reply without them tells of none.
  defp told(reply, key) do
    case reply do
      %{^key => number} when is_integer(number) and number > 0 -> number
      _told_nothing -> 0
    end
  end

  defp add(_key, 0), do: :ok

  defp add(key, number) do
    case Process.get(@key) do
      nil -> :ok
      tally -> _ = Process.put(@key, Map.update!(tally, key, &(&1 + number)))
    end

    :ok
  end

  @doc "Ends what `begin/0` began. Times are in native units."
  @spec finish(outer) :: t
  def finish(outer) do
    tally = Process.get(@key, @none)
    _ = if outer, do: Process.put(@key, outer), else: Process.delete(@key)
    tally
  end
end
