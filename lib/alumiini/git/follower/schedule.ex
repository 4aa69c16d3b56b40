defmodule Alumiini.Git.Follower.Schedule do
  @moduledoc false

  # How long to wait before the next poll. Pure: `random` is a number from 0 to 1.

  alias Alumiini.Git.Error

  # Polls that began together drift apart by up to so much of their interval, to either side.
  @jitter 0.1
  # The first pause after an error that may go away by itself, where the interval is longer, ms.
  @soon 1_000
  # What a server asks for is believed up to a day, ms.
  @longest_hold 86_400_000
  # After a poke whose commit the remote does not have yet: a replica behind the one that sent it.
  @lag [200, 400, 800, 1_600, 3_200]

  @doc "After a poll that succeeded."
  @spec interval(pos_integer, float) :: non_neg_integer
  def interval(interval, random \\ random()),
    do: round(interval * (1 - @jitter + 2 * @jitter * random))

  @doc "Before the first poll, `delay` after others that were started with it."
  @spec first(non_neg_integer, pos_integer, float) :: non_neg_integer
  def first(delay, interval, random \\ random())
  def first(delay, interval, _random) when delay <= interval, do: delay
  # More than there is room for within an interval.
  def first(_delay, interval, random), do: round(interval * random)

  @doc """
  After the poll that was the `failures`-th in a row to fail: how long to wait, and for how long
  nothing may be asked at all, whoever wants it.

  An error that may go away by itself is looked at again soon, and then less and less often, down to
  once in `max`. One that somebody has to put right, or a server that asks for fewer requests, waits
  for twice the interval at least.
  """
  @spec error(Error.t(), pos_integer, pos_integer, pos_integer, float) ::
          {non_neg_integer, non_neg_integer}
  def error(error, failures, interval, max, random \\ random())

  def error(%Error{detail: %{retry_after: seconds}} = error, failures, interval, max, random)
      when is_integer(seconds) and seconds >= 0 do
    asked = min(seconds * 1_000, @longest_hold)
    {pause, 0} = error(%{error | detail: %{}}, failures, interval, max, random)
    {max(pause, asked + round(asked * @jitter * random)), asked}
  end

  def error(%Error{retryable?: true, reason: reason}, failures, interval, max, random)
      when reason != :rate_limited do
    {pause(min(interval, @soon), failures - 1, max, random), 0}
  end

  def error(%Error{}, failures, interval, max, random) do
    # Half of it is left to chance.
    {max(pause(2 * interval, failures, max(2 * interval, max), random), interval), 0}
  end

  defp pause(first, doublings, max, random) do
    full = min(max, first * Integer.pow(2, min(doublings, 30)))
    round(full * (0.5 + random / 2))
  end

  # Not `:rand`, whose state would be half a kilobyte in each of thousands of processes.
  defp random, do: :erlang.phash2(make_ref(), 65_536) / 65_535

  @doc "Before looking again for a commit that was poked; nil after the last attempt."
  @spec lag(non_neg_integer) :: pos_integer | nil
  def lag(attempts), do: Enum.at(@lag, attempts)
end
