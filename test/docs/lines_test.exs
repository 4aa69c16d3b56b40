defmodule Alumiini.Git.LinesTest do
  # Lines of code have at most 100 columns, lines of prose 120. The formatters do not see to that:
  # they leave comments, strings, sigils and the bodies of macros alone.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  @code ~w(*.exs {lib,test,bench,release,examples,native}/**/*.{ex,exs,rs})
  @prose ~w(*.md {guides,protocol,bench,examples,release,native}/**/*.md)
  # What is built, and what Mix puts beside an example.

  test "a line of code has at most 100 columns" do
    files = files(@code)
    assert length(files) > 600
    assert for(file <- files, line <- too_long(read(file), :code), do: {file, line}) == []
  end

  test "a line of prose has at most 120 columns" do
    files = files(@prose)
    assert length(files) > 10
    assert for(file <- files, line <- too_long(read(file), :prose), do: {file, line}) == []
  end

  test "a line that is too long is seen, whatever the bytes of its characters" do
    for {kind, limit} <- [code: 100, prose: 120] do
      assert too_long(String.duplicate("é", limit), kind) == []
      long = String.duplicate("é", limit + 1)
      assert too_long("short\n#{long}\n", kind) == ["2: #{long}"]
    end
  end

  test "what cannot be broken may be longer: a row of a table, a URL, and code in prose" do
    long = String.duplicate("x", 130)
    row = "  | `name` | #{long} |"
    url = "see https://example.com/#{long}"
    assert too_long(row <> "\n" <> url, :code) == []
    assert too_long(row <> "\n" <> url, :prose) == []
    assert too_long("```sh\n#{long}\n```\n", :prose) == []

    # But not what only looks like one of these.
    for line <- ["  | #{long}", "  #{long} |", "see https://example.com/ #{long}"],
        kind <- [:code, :prose],
        do: assert(too_long(line, kind) == ["1: " <> line])

    assert too_long("```\n```\n" <> long, :prose) == ["3: " <> long]
    assert too_long("```\n" <> long, :code) == ["2: " <> long]
  end

  defp files(patterns) do
    for pattern <- patterns,
        path <- Path.wildcard(Path.join(@root, pattern)),
        file = Path.relative_to(path, @root),
        not (file =~ ~r{(^|/)(_build|deps|target)/}),
        do: file
  end

  defp read(file), do: @root |> Path.join(file) |> File.read!()

  # Each with its number.
  defp too_long(text, kind) do
    {lines, _in_block?} =
      text
      |> String.split("\n")
      |> Enum.with_index(1)
      |> Enum.flat_map_reduce(false, fn {line, number}, in_block? ->
        fence? = kind == :prose and String.trim_leading(line) |> String.starts_with?("```")
        in_block? = if fence?, do: not in_block?, else: in_block?

        if in_block? or fits?(line, kind),
          do: {[], in_block?},
          else: {["#{number}: #{line}"], in_block?}
      end)

    lines
  end

  defp fits?(line, kind) do
    limit = if kind == :code, do: 100, else: 120

    String.length(line) <= limit or line =~ ~r/^\s*\| .* \|$/ or
      (String.length(String.replace(line, ~r{https?://\S+}, "")) <= limit and line =~ "://")
  end
end
