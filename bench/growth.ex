defmodule Alumiini.Git.Bench.Growth do
  @moduledoc "Results at several sizes: what they are of, and whether a ratio rises with size."

  alias Alumiini.Git.Bench.{Format, Result}

  # By how much a ratio may rise from the smallest size to any other.
  @rise 1.5

  @typedoc """
  What was done, with a working tree or without, how many files there are, and how many in a
  directory.
  """
  @type parts :: {what :: String.t(), :tree | :bare, pos_integer, pos_integer}

  @spec id(parts) :: String.t()
  def id({what, way, size, each}), do: "growth-#{what}-#{way}-#{size}-#{each}"

  @doc "What a result is of; nil where it is of no growth."
  @spec parts(Result.t()) :: parts | nil
  def parts(result) do
    case String.split(result.id, "-") do
      ["growth", what, way, size, each] ->
        {what, String.to_existing_atom(way), String.to_integer(size), String.to_integer(each)}

      _of_another_scenario ->
        nil
    end
  end

  @doc """
  A sentence for each result whose ratio is more than half as high again as that of the smallest
  size of the same, and not as good as asked.
  """
  @spec rising([Result.t()]) :: [String.t()]
  def rising(results) do
    results
    |> Enum.group_by(fn result -> result |> parts() |> Tuple.delete_at(3) |> Tuple.delete_at(2) end)
    |> Enum.flat_map(fn {_what, [first | rest]} ->
      for row <- rest, row.ratio > @rise * first.ratio, not row.reached do
        "#{row.name}: #{Format.ratio(row)}, and #{Format.ratio(first)} for #{first.name}: the " <>
          "ratio rises with size"
      end
    end)
  end
end
