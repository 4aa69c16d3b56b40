defmodule Alumiini.Git.Bench.Svg do
  @moduledoc """
  The pieces of the plots. Drawn without fonts of their own, in colours that are readable on light
  and dark pages alike.
  """

  @style """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
  .head { font-weight: 600; font-size: 14px } .quiet { fill: #59636e; font-size: 11px }
  @media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .quiet { fill: #9198a1 } }
  """

  @spec document(number, number, String.t(), iodata, iodata) :: iodata
  def document(width, height, label, style, content) do
    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{width} #{height}" ),
      ~s(width="#{width}" height="#{height}" role="img" aria-label="#{label}">\n<style>\n),
      @style,
      style,
      "</style>\n",
      content,
      "</svg>\n"
    ]
  end

  # SVG breaks no lines of its own.
  @line 120

  @doc "A sentence in small letters from `y` on, and where it ends."
  @spec foot(String.t(), number) :: {iodata, number}
  def foot(sentence, y) do
    lines =
      sentence
      |> String.split(" ")
      |> Enum.reduce([], fn
        word, [line | rest] when byte_size(line) + byte_size(word) < @line ->
          [line <> " " <> word | rest]

        word, lines ->
          [word | lines]
      end)
      |> Enum.reverse()

    texts = for {line, n} <- Enum.with_index(lines), do: text(10, y + 14 * n, "quiet", line)
    {texts, y + 14 * length(lines)}
  end

  @spec text(number, number, String.t() | nil, String.t(), String.t()) :: iodata
  def text(x, y, class, text, anchor \\ "start") do
    attributes = if class, do: ~s( class="#{class}"), else: ""

    [
      ~s(<text x="#{at(x)}" y="#{at(y)}" text-anchor="#{anchor}"#{attributes}>),
      escape(text),
      "</text>\n"
    ]
  end

  @spec rect(String.t(), number, number, number, number) :: iodata
  def rect(class, x, y, width, height) do
    ~s(<rect class="#{class}" x="#{at(x)}" y="#{at(y)}" ) <>
      ~s(width="#{at(width)}" height="#{at(height)}" rx="2"/>\n)
  end

  @spec line(String.t(), number, number, number, number) :: iodata
  def line(class, x1, y1, x2, y2) do
    ~s(<line class="#{class}" x1="#{at(x1)}" y1="#{at(y1)}" x2="#{at(x2)}" y2="#{at(y2)}"/>\n)
  end

  @spec path(String.t(), [{number, number}]) :: iodata
  def path(_class, []), do: []

  def path(class, points) do
    steps = Enum.map_join(points, " L", fn {x, y} -> "#{at(x)} #{at(y)}" end)
    ~s(<path class="#{class}" d="M#{steps}"/>\n)
  end

  @spec circle(String.t(), number, number, number) :: iodata
  def circle(class, x, y, radius) do
    ~s(<circle class="#{class}" cx="#{at(x)}" cy="#{at(y)}" r="#{radius}"/>\n)
  end

  defp at(number), do: :erlang.float_to_binary(number / 1, decimals: 1)

  defp escape(text) do
    text
    |> String.replace("&", "&amp;")
    |> String.replace("<", "&lt;")
    |> String.replace(">", "&gt;")
  end
end
