defmodule Alumiini.Git.Bench.Result do
  @moduledoc """
  One line of the report: what we did, what it is compared with, and whether that is good enough.

  Four kinds. `:time` has the ratio of our median to the other one, which is to be at most the
  target. `:throughput` has the other median over ours, which is to be at least that. `:limit` has
  bytes, and no other; `:count` has things.
  """

  alias Alumiini.Git.Bench.Statistics

  @enforce_keys [:id, :name, :kind, :ours, :target, :ratio, :reached]
  defstruct [:id, :name, :kind, :ours, :target, :ratio, :reached, :beside, :other, others: []]

  @type t :: %__MODULE__{
          id: String.t(),
          name: String.t(),
          kind: :time | :throughput | :limit | :count,
          ours: Statistics.summary(),
          target: number,
          # To the other's median, or for a limit to the target.
          ratio: float,
          reached: boolean,
          beside: String.t() | nil,
          other: Statistics.summary() | nil,
          # More that was measured in the same rounds, to read the result by.
          others: [{String.t(), Statistics.summary()}]
        }

  @spec time(
          String.t(),
          String.t(),
          {String.t(), Statistics.summary()},
          Statistics.summary(),
          number,
          list
        ) ::
          t
  def time(id, name, {beside, other}, ours, target, others \\ []) do
    ratio = ours.median / other.median
    build(id, name, :time, ours, target, ratio, ratio <= target, beside, other, others)
  end

  @spec throughput(
          String.t(),
          String.t(),
          {String.t(), Statistics.summary()},
          Statistics.summary(),
          number,
          list
        ) :: t
  def throughput(id, name, {beside, other}, ours, target, others \\ []) do
    ratio = other.median / ours.median
    build(id, name, :throughput, ours, target, ratio, ratio >= target, beside, other, others)
  end

  @spec limit(String.t(), String.t(), Statistics.summary(), pos_integer) :: t
  def limit(id, name, ours, target) do
    # What must not be exceeded must not be exceeded at any time.
    build(id, name, :limit, ours, target, ours.max / target, ours.max <= target, nil, nil, [])
  end

  @spec count(String.t(), String.t(), Statistics.summary(), pos_integer) :: t
  def count(id, name, ours, target), do: %{limit(id, name, ours, target) | kind: :count}

  defp build(id, name, kind, ours, target, ratio, reached, beside, other, others) do
    %__MODULE__{
      id: id,
      name: name,
      kind: kind,
      ours: ours,
      target: target,
      ratio: ratio,
      reached: reached,
      beside: beside,
      other: other,
      others: others
    }
  end
end
