defmodule Alumiini.Git.Doctor.Json do
  @moduledoc false

  # Writes JSON, on one line. Not all releases of OTP and Elixir that are supported have that, and
  # this is little. Keys are sorted, so that the same is the same text.

  @spec encode(term) :: String.t()
  def encode(term), do: term |> value() |> IO.iodata_to_binary()

  defp value(nil), do: "null"
  defp value(boolean) when is_boolean(boolean), do: Atom.to_string(boolean)
  defp value(integer) when is_integer(integer), do: Integer.to_string(integer)
  defp value(atom) when is_atom(atom), do: atom |> Atom.to_string() |> string()
  defp value(text) when is_binary(text), do: string(text)
  defp value(list) when is_list(list), do: ["[", list |> Enum.map(&value/1) |> separated(), "]"]

  defp value(map) when is_map(map) do
    members =
      map
      |> Enum.map(fn {key, value} -> {to_string(key), value} end)
      |> Enum.sort_by(&elem(&1, 0))
      |> Enum.map(fn {key, value} -> [string(key), ":", value(value)] end)

    ["{", separated(members), "}"]
  end

  defp separated(items), do: Enum.intersperse(items, ",")

  defp string(text), do: [?", escaped(text, []), ?"]

  defp escaped(<<character::utf8, rest::binary>>, done),
    do: escaped(rest, [escape(character) | done])

  defp escaped(<<_no_utf8, rest::binary>>, done), do: escaped(rest, ["\uFFFD" | done])
  defp escaped(<<>>, done), do: Enum.reverse(done)

  defp escape(?"), do: ~S(\")
  defp escape(?\\), do: ~S(\\)

  # The ends of lines of JavaScript, too, so that the text may stand in a page.
  defp escape(character) when character < 0x20 or character in [0x7F, 0x2028, 0x2029],
    do: "\\u" <> (character |> Integer.to_string(16) |> String.pad_leading(4, "0"))

  defp escape(character), do: <<character::utf8>>
end
