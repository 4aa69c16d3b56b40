defmodule Alumiini.Git.Bench.Measure do
  @moduledoc """
  Takes samples side by side, so that whatever else the machine does falls on all contenders alike.
  """

  alias Alumiini.Git.Bench.{Statistics, Terminal}

  @typedoc """
  Does its work once and says how many nanoseconds of that count. It is given the round's number.
  """
  @type contender :: (integer -> non_neg_integer | [non_neg_integer])

  @doc """
  Runs the contenders in turn, `rounds` times (A B C A B C …), and sums up what each took. Round 0
  warms up and counts for nothing. `ROUNDS` in the environment takes precedence over `rounds`.
  """
  @spec interleave(String.t(), pos_integer, [{atom, contender}]) :: %{atom => Statistics.summary()}
  def interleave(title, rounds, contenders) do
    rounds = wanted(rounds)

    samples =
      for round <- 0..rounds, {name, contender} <- contenders, reduce: %{} do
        samples ->
          Terminal.progress("#{title}: #{name}, round #{round} of #{rounds}")
          taken = List.wrap(contender.(round))
          if round == 0, do: samples, else: Map.update(samples, name, taken, &(taken ++ &1))
      end

    Map.new(samples, fn {name, taken} -> {name, Statistics.summary(taken)} end)
  end

  defp wanted(rounds) do
    case Integer.parse(System.get_env("ROUNDS", "")) do
      {n, ""} when n > 0 -> n
      _ -> rounds
    end
  end

  @doc "How many nanoseconds `fun` takes."
  @spec time((() -> any)) :: non_neg_integer
  def time(fun) do
    started = System.monotonic_time(:nanosecond)
    fun.()
    System.monotonic_time(:nanosecond) - started
  end
end
