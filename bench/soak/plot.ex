defmodule Alumiini.Git.Bench.Soak.Plot do
  @moduledoc """
  What was held over the time, as an SVG: memory in one panel, open files in the other. What leaks
  is a slope.
  """

  alias Alumiini.Git.Bench.{Format, Svg}

  @width 860
  @panel {760, 180}
  @lines [
    {:polled, "polled", "the worker that polls"},
    {:fed, "fed", "the worker that is sent damaged packs"},
    {:beam, "beam", "the BEAM"}
  ]
  @style """
  .polled { stroke: #1a7f37; fill: #1a7f37 } .fed { stroke: #0969da; fill: #0969da }
  .beam { stroke: #818b98; fill: #818b98 }
  path { fill: none !important; stroke-width: 1.5 } .grid { stroke: #818b9844; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    .polled { stroke: #3fb950; fill: #3fb950 } .fed { stroke: #4493f8; fill: #4493f8 }
  }
  """

  @spec svg([map], [map], map) :: iodata
  def svg(parts, samples, machine) do
    {_width, height} = @panel

    panels = [
      panel("resident memory, MiB", samples, "memory", 1_048_576, 70),
      panel("open files", samples, "files", 1, 70 + height + 60)
    ]

    legend =
      for {{_key, class, name}, n} <- Enum.with_index(@lines), x = 60 + n * 250 do
        [Svg.line(class, x, 20, x + 24, 20), Svg.text(x + 30, 24, nil, name)]
      end

    [kills, polls, packs] = for part <- parts, do: part.figures

    said =
      "#{Format.count(kills[:kills])} kills under #{Format.count(kills[:calls])} calls, " <>
        "#{Format.count(polls[:polls])} polls, #{Format.count(packs[:packs])} damaged packs; " <>
        "#{Enum.sum(for part <- parts, do: length(part.wrong))} things that were not as they " <>
        "should be. #{Format.machine(machine)}"

    {foot, bottom} = Svg.foot(said, 70 + 2 * (height + 60))
    label = "What the workers hold over the time of the soak: memory and open files"
    Svg.document(@width, bottom + 10, label, @style, [legend, panels, foot])
  end

  defp panel(title, samples, what, unit, top) do
    {width, height} = @panel
    last = samples |> List.last() |> Map.fetch!(:seconds) |> max(1)

    series =
      for {key, class, _name} <- @lines,
          field = field(key, what),
          points = for(%{^field => value} = sample <- samples, do: {sample.seconds, value / unit}),
          points != [],
          do: {class, points}

    most =
      for({_class, points} <- series, {_at, value} <- points, do: value) |> Enum.max() |> step()

    x = fn seconds -> 60 + seconds / last * width end
    y = fn value -> top + height - value / most * height end

    grid =
      for part <- [0, 0.25, 0.5, 0.75, 1.0], value = most * part do
        [
          Svg.line("grid", 60, y.(value), 60 + width, y.(value)),
          Svg.text(54, y.(value) + 4, "quiet", label(value), "end")
        ]
      end

    times =
      for part <- [0, 0.25, 0.5, 0.75, 1.0] do
        text = "#{Float.round(part * last / 60, 1)} min"
        Svg.text(x.(part * last), top + height + 16, "quiet", text, "middle")
      end

    lines = for {class, points} <- series, do: path(class, points, x, y)
    [Svg.text(60, top - 12, "head", title), grid, times, lines]
  end

  defp field(:beam, "memory"), do: :beam_memory
  defp field(:beam, _files), do: :none
  defp field(key, what), do: :"#{key}_#{what}"

  defp path(class, points, x, y) do
    d =
      points
      |> Enum.map_join(" L", fn {at, value} ->
        "#{Float.round(x.(at) / 1, 1)} #{Float.round(y.(value) / 1, 1)}"
      end)

    ~s(<path class="#{class}" d="M#{d}"/>\n)
  end

  defp label(value), do: if(value < 10, do: "#{Float.round(value / 1, 1)}", else: "#{round(value)}")

  # The next of 1, 2, 5, 10, …
  defp step(value) do
    power = :math.pow(10, Float.floor(:math.log10(max(value, 1))))
    Enum.find([1, 2, 4, 6, 8, 10], &(&1 * power >= value)) * power
  end
end
