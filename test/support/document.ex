defmodule Alumiini.Git.Test.Document do
  @moduledoc """
  The fenced blocks of our documents, so that tests can run what people copy.

  A block's name is that of the document and the headings above it, with its number from the second
  one there on: `README.md: Use`, `README.md: See it at work (2)`.
  """

  @root Path.expand("../..", __DIR__)

  @enforce_keys [:name, :line, :language, :code]
  defstruct [:name, :line, :language, :code]

  @type t :: %__MODULE__{
          name: String.t(),
          line: pos_integer,
          language: String.t(),
          code: String.t()
        }

  @doc "The documents whose blocks are run: README.md, usage-rules.md and the guides."
  @spec all() :: [String.t()]
  def all,
    do: ["README.md", "usage-rules.md" | for(path <- guides(), do: relative(path))]

  defp guides, do: Path.wildcard(Path.join(@root, "guides/*.{md,cheatmd,livemd}"))

  defp relative(path), do: Path.relative_to(path, @root)

  @spec read!(String.t()) :: String.t()
  def read!(document), do: document |> Path.expand(@root) |> File.read!()

  @doc "The blocks of a document, in their order."
  @spec blocks(String.t()) :: [t]
  def blocks(document) do
    state = %{headings: [], block: nil, blocks: []}
    lines = document |> read!() |> String.split("\n") |> Enum.with_index(1)
    %{block: nil, blocks: blocks} = Enum.reduce(lines, state, &line(&1, &2, document))
    blocks |> Enum.reverse() |> numbered()
  end

  @doc "The block of that name."
  @spec block!(String.t()) :: t
  def block!(name) do
    [document] = Regex.run(~r/^[^:]*\.(?:md|cheatmd|livemd)/, name)
    block = document |> blocks() |> Enum.find(&(&1.name == name))
    block || raise "#{document} has no block #{inspect(name)}"
  end

  defp line({"```" <> language, number}, %{block: nil} = state, document) do
    name = Enum.join([document | state.headings], ": ")
    %{state | block: %__MODULE__{name: name, line: number, language: language, code: []}}
  end

  defp line({"```", _number}, %{block: block} = state, _document) do
    code = block.code |> Enum.reverse() |> Enum.map_join(&(&1 <> "\n"))
    %{state | block: nil, blocks: [%{block | code: code} | state.blocks]}
  end

  defp line({line, _number}, %{block: %{code: code} = block} = state, _document),
    do: %{state | block: %{block | code: [line | code]}}

  defp line({"## " <> heading, _number}, state, _document), do: %{state | headings: [heading]}

  defp line({"### " <> heading, _number}, state, _document),
    do: %{state | headings: [hd(state.headings), heading]}

  # One that is indented, or of another kind, would go unseen.
  defp line({line, number}, state, document) do
    if line =~ ~r/^\s*(```|~~~)/,
      do: raise("#{document}, line #{number}: a fence must begin the line, with ```")

    state
  end

  defp numbered(blocks) do
    {blocks, _seen} =
      Enum.map_reduce(blocks, %{}, fn block, seen ->
        number = Map.get(seen, block.name, 0) + 1
        name = if number == 1, do: block.name, else: "#{block.name} (#{number})"
        {%{block | name: name}, Map.put(seen, block.name, number)}
      end)

    blocks
  end

  @doc """
  The first line of a block that is not among those that a program printed, in that order; nil if
  all are. Numbers, ids and units may differ, `⋮` stands for lines that are left out, and `…` at the
  end of a line for the rest of it.
  """
  @spec missing_line(String.t(), String.t()) :: String.t() | nil
  def missing_line(shown, printed) do
    shown = for line <- lines(shown), line != "⋮", do: line
    find(shown, lines(printed))
  end

  defp find([], _printed), do: nil
  defp find([line | _shown], []), do: line

  defp find([line | shown], [candidate | printed]),
    do: if(alike?(line, candidate), do: find(shown, printed), else: find([line | shown], printed))

  defp alike?(line, candidate) do
    if String.ends_with?(line, "…") do
      String.starts_with?(shape(candidate), line |> String.trim_trailing("…") |> shape())
    else
      shape(candidate) == shape(line)
    end
  end

  defp lines(text),
    do: text |> String.split("\n") |> Enum.map(&String.trim/1) |> Enum.reject(&(&1 == ""))

  defp shape(line) do
    line
    |> String.replace(~r/\b[0-9a-f]{12,40}\b/, "ID")
    |> String.replace(~r/\d[\d.,]*/, "N")
    |> String.replace(~r/N (ms|s|B|KiB|MiB)\b/, "N UNIT")
    |> String.replace(~r/ +/, " ")
  end
end
