defmodule Alumiini.Git.Bench.Terminal do
  @moduledoc "What is written for people: what is being done just now, and the table at the end."

  alias Alumiini.Git.Bench.{Format, Result}

  @doc """
  One line that the next one takes the place of; one after the other where it is not a terminal.
  """
  @spec progress(String.t()) :: :ok
  def progress(text) do
    if IO.ANSI.enabled?(),
      do: IO.write(:stderr, ["\r", IO.ANSI.clear_line(), IO.ANSI.faint(), text, reset()]),
      else: IO.puts(:stderr, text)

    :ok
  end

  @spec clear() :: :ok
  def clear do
    if IO.ANSI.enabled?(), do: IO.write(:stderr, ["\r", IO.ANSI.clear_line()])
    :ok
  end

  @heads ["", "ours", "beside it", "ratio", "target", ""]

  @spec table([Result.t()], map) :: :ok
  def table(results, machine) do
    rows = Enum.map(results, &row/1)
    cells = [@heads | Enum.map(rows, &Enum.map(&1, fn {text, _style} -> text end))]

    widths =
      for column <- Enum.zip(cells),
          do: column |> Tuple.to_list() |> Enum.map(&String.length/1) |> Enum.max()

    print([line(Enum.map(@heads, &{&1, :faint}), widths)])

    for {result, row} <- Enum.zip(results, rows) do
      print([line(row, widths)])
      for note <- notes(result), do: print(["  ", style(note, :faint)])
    end

    print(["\n", style(Format.machine(machine), :faint)])
  end

  defp row(result) do
    {mark, colour} = if result.reached, do: {"✓", :green}, else: {"✗", :red}

    [
      {result.name, :bright},
      {Format.value(result, result.ours), :normal},
      {if(result.other, do: Format.value(result, result.other), else: ""), :normal},
      {Format.ratio(result), colour},
      {Format.target(result), :normal},
      {mark, colour}
    ]
  end

  defp notes(result) do
    beside = if result.beside, do: ["beside it: #{result.beside}"], else: []
    others = for {name, summary} <- result.others, do: "#{name}: #{Format.value(result, summary)}"
    beside ++ others ++ spread(result)
  end

  defp spread(%{ours: %{samples: 1}}), do: []

  defp spread(result) do
    sides = [{"ours", result.ours} | if(result.other, do: [{"beside it", result.other}], else: [])]

    [
      Enum.map_join(sides, "; ", fn {name, summary} ->
        [low, q1, q3] = for n <- [summary.min, summary.q1, summary.q3], do: Format.number(result, n)
        "#{name}: least #{low}, middle half #{q1} to #{q3}, of #{summary.samples}"
      end)
    ]
  end

  defp line([name | rest], [width | widths]) do
    numbers =
      for {{text, style}, width} <- Enum.zip(rest, widths),
          do: ["  ", style(pad(text, width, :left), style)]

    {text, style} = name
    [style(pad(text, width, :right), style) | numbers]
  end

  defp pad(text, width, :left), do: String.pad_leading(text, width)
  defp pad(text, width, :right), do: String.pad_trailing(text, width)

  defp style(text, :normal), do: text
  defp style(text, style), do: IO.ANSI.format([style, text])

  defp reset, do: IO.ANSI.reset()
  defp print(line), do: IO.puts(line)
end
