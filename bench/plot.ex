defmodule Alumiini.Git.Bench.Plot do
  @moduledoc """
  The results as an SVG: how long we take where `git` takes 1, and how much of each limit we use.

  How things grow has a plot of its own, `GrowthPlot`.
  """

  import Alumiini.Git.Bench.Svg, only: [text: 4, text: 5, rect: 5, line: 5]

  alias Alumiini.Git.Bench.{Format, Growth, Result, Svg}

  # How far the scale goes, and what figures take.
  @scale 340
  @figures 150
  @row 34
  @bar 14

  @style """
  .figure { font-weight: 600 } .axis { stroke: #818b98; stroke-width: 1 } .track { fill: #818b9822 }
  .reached { fill: #1a7f37 } .missed { fill: #bc4c00 } .target { stroke: #1f2328; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
  .reached { fill: #3fb950 } .missed { fill: #f0883e } .target { stroke: #f0f6fc } }
  """

  @spec svg([Result.t()], map) :: iodata
  def svg(results, machine) do
    results = Enum.reject(results, &Growth.parts/1)

    {limits, times} =
      Enum.split_with(results, &(&1.kind in [:limit, :count] or not beside_git?(&1)))

    left = results |> Enum.map(&String.length(&1.name)) |> Enum.max(fn -> 0 end) |> left()

    {beside_git, y} =
      panel(times, "Time, where the git command takes 1", &share/1, {1.0, "git"}, {left, 30})

    {of_limits, y} =
      panel(limits, "Share of what is allowed", &used/1, {1.0, "allowed"}, {left, y + 26})

    {foot, bottom} = Svg.foot(Format.machine(machine), y + 16)
    width = left + @scale + @figures
    Svg.document(width, bottom, "Benchmark results", @style, [beside_git, of_limits, foot])
  end

  # Where bars begin: names stand before them, and no font is so wide.
  defp left(longest), do: 20 + round(longest * 6.8)

  defp beside_git?(result), do: result.beside != nil and String.starts_with?(result.beside, "git")

  # The part of the git command's time that we take, and the one that we may take.
  defp share(%{kind: :throughput} = result), do: {1 / result.ratio, 1 / result.target}
  defp share(result), do: {result.ratio, result.target}

  defp used(%{kind: kind} = result) when kind in [:limit, :count], do: {result.ratio, 1.0}
  defp used(result), do: {result.ratio / result.target, 1.0}

  defp panel([], _title, _position, _one, {_left, y}), do: {[], y}

  defp panel(results, title, position, {one, label}, {left, y}) do
    values = Enum.map(results, position)
    # The line at 1 is always in sight.
    most = values |> Enum.flat_map(&Tuple.to_list/1) |> Enum.max() |> max(one) |> Kernel.*(1.05)
    x = fn value -> left + value / most * @scale end
    top = y + 26
    bottom = top + length(results) * @row

    rows =
      for {{result, {value, target}}, n} <- Enum.zip(results, values) |> Enum.with_index() do
        row(result, x.(value), x.(target), {left, top + n * @row})
      end

    {[
       text(10, y, "head", title),
       line("axis", x.(one), top - 8, x.(one), bottom - 4),
       text(x.(one), top - 12, "quiet", label, "middle"),
       rows
     ], bottom}
  end

  defp row(result, to, target, {left, y}) do
    middle = y + @row / 2 - 3
    class = if result.reached, do: "reached", else: "missed"
    {figure, allowed} = figures(result)

    [
      text(left - 10, middle + 4, nil, result.name, "end"),
      rect("track", left, middle - @bar / 2, @scale, @bar),
      rect(class, left, middle - @bar / 2, max(to - left, 1), @bar),
      line("target", target, middle - @bar / 2 - 3, target, middle + @bar / 2 + 3),
      text(left + @scale + 12, middle + 1, "figure", figure),
      text(left + @scale + 12, middle + 13, "quiet", allowed)
    ]
  end

  defp figures(%{kind: kind} = result) when kind in [:limit, :count],
    do: {Format.value(result, result.ours), "#{Format.target(result)}#{verdict(result)}"}

  defp figures(result), do: {Format.ratio(result), "#{Format.target(result)}#{verdict(result)}"}

  defp verdict(%{reached: true}), do: " ✓"
  defp verdict(_result), do: " ✗"
end
