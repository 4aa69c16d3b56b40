defmodule Alumiini.Git.Bench.GrowthPlot do
  @moduledoc """
  How time grows with the number of files, as an SVG: a panel for each thing that is done, both axes
  logarithmic, so that what grows with the repository is a slope, and a ratio to `git` is a
  distance.
  """

  alias Alumiini.Git.Bench.{Format, Growth, Result, Svg}

  @width 860
  @panel {390, 230}
  @panels [
    {"clone", "clone at depth 1"},
    {"update", "update of ten files"},
    {"settled", "nothing new"},
    {"early", "nothing new right after a change"}
  ]
  @lines [
    {:git, "git", "git"},
    {:tree, "ours", "this library"},
    {:bare, "bare", "this library, no working tree"}
  ]

  @style """
  .git { stroke: #818b98; fill: #818b98 }
  .ours { stroke: #1a7f37; fill: #1a7f37 }
  .bare { stroke: #0969da; fill: #0969da }
  path { fill: none !important; stroke-width: 2 } .grid { stroke: #818b9844; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
  .ours { stroke: #3fb950; fill: #3fb950 }
  .bare { stroke: #4493f8; fill: #4493f8 }
  }
  """

  @doc "None where no growth was measured."
  @spec svg([Result.t()], map) :: iodata | nil
  def svg(results, machine) do
    points =
      for result <- results,
          {what, way, size, 30} <- [Growth.parts(result)],
          do: {what, way, size, result}

    if points != [], do: draw(points, machine)
  end

  defp draw(points, machine) do
    times =
      for {_, _, _, result} <- points, time <- [result.ours.median, result.other.median], do: time

    sizes = points |> Enum.map(&elem(&1, 2)) |> Enum.uniq() |> Enum.sort()
    range = {decade(Enum.min(times), &Float.floor/1), decade(Enum.max(times), &Float.ceil/1)}
    {width, height} = @panel

    panels =
      for {{what, title}, n} <- Enum.with_index(@panels) do
        at = {60 + rem(n, 2) * (width + 20), 60 + div(n, 2) * (height + 60)}
        panel(title, Enum.filter(points, &(elem(&1, 0) == what)), at, sizes, range)
      end

    legend =
      for {{_way, class, name}, n} <- Enum.with_index(@lines), x = 60 + n * 160 do
        [Svg.line(class, x, 20, x + 24, 20), Svg.text(x + 30, 24, nil, name)]
      end

    axes = Svg.text(@width - 10, 24, "quiet", "across: number of files; up: time", "end")
    {foot, bottom} = Svg.foot(Format.machine(machine), 60 + 2 * (height + 60) - 40)

    content = [legend, axes, panels, foot]
    Svg.document(@width, bottom, "Time by the number of files", @style, content)
  end

  defp decade(time, round), do: time |> :math.log10() |> round.()

  defp panel(title, points, {left, top}, sizes, {low, high}) do
    {width, height} = {elem(@panel, 0) - 50, elem(@panel, 1) - 30}
    [least, most] = for size <- [hd(sizes), List.last(sizes)], do: :math.log10(size)

    x = fn size ->
      left + 10 + (:math.log10(size) - least) / max(most - least, 0.1) * (width - 20)
    end

    y = fn time -> top + height - (:math.log10(time) - low) / (high - low) * height end

    grid =
      for power <- round(low)..round(high), time = :math.pow(10, power) do
        [
          Svg.line("grid", left, y.(time), left + width, y.(time)),
          Svg.text(left - 6, y.(time) + 4, "quiet", short(time), "end")
        ]
      end

    ticks =
      for size <- sizes,
          do: Svg.text(x.(size), top + height + 16, "quiet", Format.count(size), "middle")

    lines =
      for {way, class, _name} <- @lines do
        of_way = if way == :git, do: Enum.filter(points, &(elem(&1, 1) == :tree)), else: points
        summary = if way == :git, do: & &1.other, else: & &1.ours
        of_way = if way == :git, do: of_way, else: Enum.filter(of_way, &(elem(&1, 1) == way))

        at =
          for {_, _, size, result} <- Enum.sort_by(of_way, &elem(&1, 2)),
              do: {x.(size), y.(summary.(result).median)}

        [Svg.path(class, at), for({x, y} <- at, do: Svg.circle(class, x, y, 3))]
      end

    [Svg.text(left, top - 10, "head", title), grid, ticks, lines]
  end

  defp short(time) when time < 1.0e6, do: "#{round(time / 1.0e3)} µs"
  defp short(time) when time < 1.0e9, do: "#{round(time / 1.0e6)} ms"
  defp short(time), do: "#{round(time / 1.0e9)} s"
end
