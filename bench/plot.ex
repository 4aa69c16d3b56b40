defmodule Alumiini.Git.Bench.Plot do
  @moduledoc """
  The results as an SVG: how long we take where `git` takes 1, and how much of each limit we use.

  Drawn without fonts or colours of its own choosing beyond a few that are readable on light and dark pages alike.
  """

  alias Alumiini.Git.Bench.{Format, Result}

  @width 860
  # Where bars begin, how far the scale goes, and where figures stand.
  @left 330
  @scale 380
  @row 34
  @bar 14

  @style """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .head { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 11px }
  .figure { font-weight: 600 } .axis { stroke: #818b98; stroke-width: 1 } .track { fill: #818b9822 }
  .reached { fill: #1a7f37 } .missed { fill: #bc4c00 } .target { stroke: #1f2328; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .reached { fill: #3fb950 } .missed { fill: #f0883e }
  .target { stroke: #f0f6fc } }
  """

  @spec svg([Result.t()], map) :: iodata
  def svg(results, machine) do
    {limits, times} = Enum.split_with(results, &(&1.kind == :limit or not beside_git?(&1)))

    {beside_git, y} = panel(times, "Time, where the git command takes 1", &share/1, 1.0, "git", 30)
    {of_limits, y} = panel(limits, "Share of what is allowed", &used/1, 1.0, "allowed", y + 26)

    foot =
      for {line, n} <- Enum.with_index(lines(Format.machine(machine))),
          do: text(10, y + 16 + 14 * n, "quiet", line)

    height = y + 16 + 14 * length(foot)

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{@width} #{height}" width="#{@width}" ),
      ~s(height="#{height}" role="img" aria-label="Benchmark results">\n<style>\n),
      @style,
      "</style>\n",
      beside_git,
      of_limits,
      foot,
      "</svg>\n"
    ]
  end

  # SVG breaks no lines of its own.
  @line 120
  defp lines(text) do
    text
    |> String.split(" ")
    |> Enum.reduce([], fn
      word, [line | rest] when byte_size(line) + byte_size(word) < @line -> [line <> " " <> word | rest]
      word, lines -> [word | lines]
    end)
    |> Enum.reverse()
  end

  defp beside_git?(result), do: result.beside != nil and String.starts_with?(result.beside, "git")

  # The part of the git command's time that we take, and the one that we may take.
  defp share(%{kind: :throughput} = result), do: {1 / result.ratio, 1 / result.target}
  defp share(result), do: {result.ratio, result.target}

  defp used(%{kind: :limit} = result), do: {result.ratio, 1.0}
  defp used(result), do: {result.ratio / result.target, 1.0}

  defp panel([], _title, _position, _one, _label, y), do: {[], y}

  defp panel(results, title, position, one, label, y) do
    values = Enum.map(results, position)
    # The line at 1 is always in sight.
    most = values |> Enum.flat_map(&Tuple.to_list/1) |> Enum.max() |> max(one) |> Kernel.*(1.05)
    x = fn value -> @left + value / most * @scale end
    top = y + 26
    bottom = top + length(results) * @row

    rows =
      for {{result, {value, target}}, n} <- Enum.zip(results, values) |> Enum.with_index() do
        row(result, x.(value), x.(target), top + n * @row)
      end

    {[
       text(10, y, "head", title),
       line("axis", x.(one), top - 8, x.(one), bottom - 4),
       text(x.(one), top - 12, "quiet", label, "middle"),
       rows
     ], bottom}
  end

  defp row(result, to, target, y) do
    middle = y + @row / 2 - 3
    class = if result.reached, do: "reached", else: "missed"
    {figure, allowed} = figures(result)

    [
      text(@left - 10, middle + 4, nil, result.name, "end"),
      rect("track", @left, middle - @bar / 2, @scale, @bar),
      rect(class, @left, middle - @bar / 2, max(to - @left, 1), @bar),
      line("target", target, middle - @bar / 2 - 3, target, middle + @bar / 2 + 3),
      text(@left + @scale + 12, middle + 1, "figure", figure),
      text(@left + @scale + 12, middle + 13, "quiet", allowed)
    ]
  end

  defp figures(%{kind: :limit} = result),
    do: {Format.value(result, result.ours), "#{Format.target(result)}#{verdict(result)}"}

  defp figures(result), do: {Format.ratio(result), "#{Format.target(result)}#{verdict(result)}"}

  defp verdict(%{reached: true}), do: " ✓"
  defp verdict(_result), do: " ✗"

  defp text(x, y, class, text, anchor \\ "start") do
    attributes = if class, do: ~s( class="#{class}"), else: ""
    ~s(<text x="#{at(x)}" y="#{at(y)}" text-anchor="#{anchor}"#{attributes}>#{escape(text)}</text>\n)
  end

  defp rect(class, x, y, width, height) do
    ~s(<rect class="#{class}" x="#{at(x)}" y="#{at(y)}" width="#{at(width)}" height="#{at(height)}" rx="2"/>\n)
  end

  defp line(class, x1, y1, x2, y2) do
    ~s(<line class="#{class}" x1="#{at(x1)}" y1="#{at(y1)}" x2="#{at(x2)}" y2="#{at(y2)}"/>\n)
  end

  defp at(number), do: :erlang.float_to_binary(number / 1, decimals: 1)

  defp escape(text) do
    text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;") |> String.replace(">", "&gt;")
  end
end
