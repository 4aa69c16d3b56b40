defmodule Alumiini.Git.Release.SourceStripper do
  @moduledoc false

  # What the package leaves out of the sources, since nothing that is built needs it: comments (not
  # documentation), and of the worker its unit tests and what only those depend on. Each line keeps
  # its number, and each character of code its column, so that the worker which is built from the
  # package is the release's to the byte, and a panic or a stack trace names a line of the
  # repository. Pure, and for the maintainers.

  @doc "A Rust file without its comments, and without the module of tests that it ends with."
  @spec rust(String.t()) :: String.t()
  def rust(source), do: source |> code("", []) |> IO.iodata_to_binary() |> without_tests()

  # `line` is what there is of the line so far, `done` the lines before it. What is in a string is
  # no comment.
  defp code(<<"//", rest::binary>>, line, done) do
    [_comment | rest] = String.split(rest, "\n", parts: 2)
    line = String.trim_trailing(line)
    if rest == [], do: [done, line], else: code(hd(rest), "", [done, line, "\n"])
  end

  defp code(<<"/*", rest::binary>>, line, done), do: block(rest, 1, line <> "/*", done)

  # A quote that is a character, and no string.
  defp code(<<"'\\", escaped::utf8, rest::binary>>, line, done),
    do: code(rest, line <> "'\\" <> <<escaped::utf8>>, done)

  defp code(<<"'", character::utf8, "'", rest::binary>>, line, done),
    do: code(rest, line <> "'" <> <<character::utf8>> <> "'", done)

  defp code(<<"\"", rest::binary>>, line, done) do
    case Regex.run(~r/(?<![A-Za-z0-9_])[bc]?r(#*)\z/, line) do
      [_all, hashes] -> until("\"" <> hashes, rest, line, done)
      nil -> string(rest, line <> "\"", done)
    end
  end

  defp code(<<"\n", rest::binary>>, line, done), do: code(rest, "", [done, line, "\n"])

  defp code(<<character::utf8, rest::binary>>, line, done),
    do: code(rest, line <> <<character::utf8>>, done)

  defp code("", line, done), do: [done, line]

  defp string(<<"\\", escaped::utf8, rest::binary>>, line, done),
    do: string(rest, line <> "\\" <> <<escaped::utf8>>, done)

  defp string(<<"\"", rest::binary>>, line, done), do: code(rest, line <> "\"", done)

  defp string(<<character::utf8, rest::binary>>, line, done),
    do: string(rest, line <> <<character::utf8>>, done)

  # A raw string ends where its quote and as many hashes are.
  defp until(ending, rest, line, done) do
    [raw, rest] = String.split(rest, ending, parts: 2)
    code(rest, line <> "\"" <> raw <> ending, done)
  end

  # They nest, are few, and stay.
  defp block(rest, 0, line, done), do: code(rest, line, done)

  defp block(<<"/*", rest::binary>>, depth, line, done),
    do: block(rest, depth + 1, line <> "/*", done)

  defp block(<<"*/", rest::binary>>, depth, line, done),
    do: block(rest, depth - 1, line <> "*/", done)

  defp block(<<character::utf8, rest::binary>>, depth, line, done),
    do: block(rest, depth, line <> <<character::utf8>>, done)

  # Only where nothing comes after it, for the numbers of lines.
  defp without_tests(source) do
    attributes = ~S"\n+#\[cfg\(test\)\]\n(#\[path[^\n]*\n)?"
    module = ~S"(pub\(crate\) )?mod tests(;\n*| \{\n([ ][^\n]*\n|\n)*\}\n*)"
    String.replace(source, ~r/#{attributes}#{module}\z/, "\n")
  end

  @doc "An Elixir file without its comments."
  @spec elixir(String.t()) :: String.t()
  def elixir(source) do
    {_quoted, comments} = Code.string_to_quoted_with_comments!(source)
    columns = Map.new(comments, &{&1.line, &1.column})

    source
    |> String.split("\n")
    |> Enum.with_index(1)
    |> Enum.map_join("\n", fn {line, number} -> before(line, columns[number]) end)
  end

  defp before(line, nil), do: line

  # Elixir 1.14 miscounts columns behind some escapes. There, the comment stays.
  defp before(line, column) do
    case line |> String.codepoints() |> Enum.split(column - 1) do
      {code, ["#" | _comment]} -> code |> Enum.join() |> String.trim_trailing()
      _not_there -> line
    end
  end

  @left_out "# Comments, tests and what only those depend on are in the repository, where " <>
              "each line has the same number.\n\n"

  @doc "A Cargo.toml without what only tests depend on, which says so."
  @spec manifest(String.t()) :: String.t()
  def manifest(toml),
    do: String.replace(toml, ~r/^\[dev-dependencies\]\n(?:(?!\[).*\n?)*/m, @left_out)
end
