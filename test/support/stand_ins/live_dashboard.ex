defmodule Phoenix.LiveDashboard.PageBuilder do
  @moduledoc """
  A stand-in for Phoenix LiveDashboard 0.8, as far as a guide's page needs it. Of a template it
  makes the list of its tags, each with its attributes; those in braces are Elixir, and compiled.
  """

  @callback menu_link(map, map) :: {:ok, String.t()}
  @callback render(map) :: term

  defmacro __using__(_options) do
    quote do
      @behaviour Phoenix.LiveDashboard.PageBuilder
      import Phoenix.LiveDashboard.PageBuilder, only: [sigil_H: 2]
    end
  end

  defmacro sigil_H({:<<>>, _meta, [template]}, []) do
    for [_all, tag, attributes] <-
          Regex.scan(~r/<([.:]\w+)((?:\s+\w+=(?:"[^"]*"|\{[^}]*\}))*)\s*\/?>/, template) do
      pairs =
        for [_all, name, value] <- Regex.scan(~r/(\w+)=("[^"]*"|\{[^}]*\})/, attributes),
            do: {String.to_atom(name), value(value)}

      {tag, pairs}
    end
  end

  defp value("{" <> code),
    do: code |> String.trim_trailing("}") |> Code.string_to_quoted!() |> assigns()

  defp value(text), do: String.trim(text, "\"")

  # `@page` is one of the variable `assigns`.
  defp assigns(code) do
    Macro.prewalk(code, fn
      {:@, _, [{name, _, context}]} when is_atom(context) ->
        quote(do: Map.fetch!(var!(assigns), unquote(name)))

      other ->
        other
    end)
  end
end
