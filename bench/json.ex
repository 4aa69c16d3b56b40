defmodule Alumiini.Git.Bench.Json do
  @moduledoc """
  Results as JSON. Written here, since no release of OTP that we support has it, and a benchmark is
  no reason for a dependency.
  """

  alias Alumiini.Git.Bench.Result

  @spec encode([Result.t()], map) :: iodata
  def encode(results, machine) do
    # One order, so that two versions of the file can be compared.
    document = [
      machine: Enum.sort(machine),
      unit: [
        time: "nanoseconds",
        throughput: "nanoseconds for all of it",
        limit: "bytes",
        count: "pieces"
      ],
      results: Enum.map(results, &result/1)
    ]

    document(document)
  end

  @doc "A document of keyword lists, lists and plain values."
  @spec document(keyword) :: iodata
  def document(document), do: [value(document, 0), "\n"]

  defp result(result) do
    [
      id: result.id,
      name: result.name,
      kind: result.kind,
      ratio: Float.round(result.ratio, 4),
      target: result.target,
      reached: result.reached,
      ours: summary(result.ours)
    ] ++
      if(result.other, do: [beside: result.beside, other: summary(result.other)], else: []) ++
      others(result.others)
  end

  defp others([]), do: []

  defp others(others),
    do: [others: for({name, summary} <- others, do: [name: name] ++ summary(summary))]

  defp summary(summary) do
    for key <- [:samples, :min, :q1, :median, :q3, :max], do: {key, round(summary[key])}
  end

  defp value([{key, _} | _] = object, depth) when is_atom(key) do
    members =
      for {key, member} <- object, do: [string(Atom.to_string(key)), ": ", value(member, depth + 1)]

    brackets("{", members, "}", depth)
  end

  defp value([], _depth), do: "[]"
  defp value(nil, _depth), do: "null"

  defp value(list, depth) when is_list(list),
    do: brackets("[", Enum.map(list, &value(&1, depth + 1)), "]", depth)

  defp value(boolean, _depth) when is_boolean(boolean), do: Atom.to_string(boolean)
  defp value(atom, _depth) when is_atom(atom), do: string(Atom.to_string(atom))
  defp value(text, _depth) when is_binary(text), do: string(text)
  defp value(number, _depth) when is_integer(number), do: Integer.to_string(number)
  defp value(number, _depth) when is_float(number), do: Float.to_string(number)

  defp brackets(open, items, close, depth) do
    indent = String.duplicate("  ", depth)
    [open, "\n", Enum.intersperse(Enum.map(items, &[indent, "  ", &1]), ",\n"), "\n", indent, close]
  end

  defp string(text) do
    escaped = for <<character::utf8 <- text>>, into: "", do: escape(character)
    [?", escaped, ?"]
  end

  defp escape(?"), do: ~S(\")
  defp escape(?\\), do: ~S(\\)

  defp escape(character) when character < 0x20,
    do: "\\u" <> (character |> Integer.to_string(16) |> String.pad_leading(4, "0"))

  defp escape(character), do: <<character::utf8>>
end
