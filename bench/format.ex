defmodule Alumiini.Git.Bench.Format do
  @moduledoc "Numbers as people read them."

  alias Alumiini.Git.Bench.{Result, Statistics}

  @spec value(Result.t(), Statistics.summary()) :: String.t()
  # A limit holds for the worst that was seen.
  def value(%{kind: kind} = result, summary) when kind in [:limit, :count],
    do: number(result, summary.max)

  def value(result, summary), do: number(result, summary.median)

  @spec number(Result.t(), number) :: String.t()
  def number(%{kind: :limit}, bytes), do: bytes(bytes)
  def number(%{kind: :count}, count), do: count(round(count))
  def number(_result, nanoseconds), do: time(nanoseconds)

  @spec time(number) :: String.t()
  def time(ns) when ns < 1_000_000, do: "#{digits(ns / 1_000)} µs"
  def time(ns) when ns < 1_000_000_000, do: "#{digits(ns / 1_000_000)} ms"
  def time(ns), do: "#{digits(ns / 1_000_000_000)} s"

  @spec bytes(number) :: String.t()
  def bytes(bytes) when bytes < 10_000, do: "#{round(bytes)} bytes"
  def bytes(bytes) when bytes < 1_048_576, do: "#{digits(bytes / 1_024)} KiB"
  def bytes(bytes), do: "#{digits(bytes / 1_048_576)} MiB"

  @spec ratio(Result.t()) :: String.t()
  def ratio(%{kind: :time, ratio: ratio}), do: "#{digits(ratio)} ×"
  def ratio(%{kind: :throughput, ratio: ratio}), do: "#{digits(ratio)} × faster"

  def ratio(%{kind: kind, ratio: ratio}) when kind in [:limit, :count],
    do: "#{round(ratio * 100)} %"

  @spec target(Result.t()) :: String.t()
  def target(%{kind: :time, target: target}), do: "≤ #{digits(target)} ×"
  def target(%{kind: :throughput, target: target}), do: "≥ #{digits(target)} ×"
  def target(%{kind: :limit, target: target}) when target < 1_048_576, do: "≤ #{bytes(target)}"
  def target(%{kind: :limit, target: target}), do: "≤ #{round(target / 1_048_576)} MiB"

  def target(%{kind: :count, target: target}), do: "≤ #{count(target)}"

  @doc "20000 as 20,000."
  @spec count(non_neg_integer) :: String.t()
  def count(n) when n < 1_000, do: Integer.to_string(n)

  def count(n) do
    last = n |> rem(1_000) |> Integer.to_string() |> String.pad_leading(3, "0")
    count(div(n, 1_000)) <> "," <> last
  end

  @spec machine(map) :: String.t()
  def machine(machine) do
    "#{machine.date}, #{machine.cores} cores (#{machine.processor}), #{machine.memory}, " <>
      "#{machine.kernel}, " <>
      "#{machine.git}, Elixir #{machine.elixir} on OTP #{machine.otp}, #{machine.worker} " <>
      "build of the worker"
  end

  # Three digits that count.
  defp digits(x) when x >= 100, do: Integer.to_string(round(x))
  defp digits(x) when x >= 10, do: :erlang.float_to_binary(x / 1, decimals: 1)
  defp digits(x) when x >= 1, do: :erlang.float_to_binary(x / 1, decimals: 2)
  defp digits(x), do: :erlang.float_to_binary(x / 1, decimals: 3)
end
