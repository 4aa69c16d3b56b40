defmodule Alumiini.Git.Test.DocumentTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Test.Document

  @moduletag :tmp_dir

  defp write!(directory, text) do
    path = Path.join(directory, "page.md")
    File.write!(path, text)
    path
  end

  test "blocks have the names of the headings above them", %{tmp_dir: directory} do
    page =
      write!(directory, """
      # Page
      ```sh
      # no heading
      one
      ```
      ## First
      ```elixir
      ```
      ### Below
      ```text
      two

      ```
      ## Second
      ```sh
      three
      ```
      ```sh
      four
      ```
      """)

    assert for(
             block <- Document.blocks(page),
             do: {block.name, block.language, block.line, block.code}
           ) == [
             {page, "sh", 2, "# no heading\none\n"},
             {"#{page}: First", "elixir", 7, ""},
             {"#{page}: First: Below", "text", 10, "two\n\n"},
             {"#{page}: Second", "sh", 15, "three\n"},
             {"#{page}: Second (2)", "sh", 18, "four\n"}
           ]

    assert Document.block!("#{page}: Second (2)").code == "four\n"
    assert_raise RuntimeError, ~r/has no block/, fn -> Document.block!("#{page}: Third") end
  end

  test "a fence that would go unseen, or has no end, raises", %{tmp_dir: directory} do
    for text <- ["* a list\n\n  ```sh\n  one\n  ```\n", "~~~\none\n~~~\n"],
        do:
          assert_raise(RuntimeError, ~r/line \d: a fence/, fn ->
            Document.blocks(write!(directory, text))
          end)

    assert_raise MatchError, fn -> Document.blocks(write!(directory, "```sh\none\n")) end
  end

  test "what is shown must be printed, in order, but for numbers, units and what is left out" do
    printed = "start 1\n  took 20 ms, of 1,000 B\nat 0123456789ab: because of this\nend\n"
    missing = &Document.missing_line(&1, printed)
    assert missing.("start 17\n⋮\ntook 3.5 s, of 12 KiB\n  at fedcba987654: because …\nend") == nil
    assert missing.("start one\nend") == "start one"
    assert missing.("end\nstart 1") == "start 1"
    assert missing.("at 0123456789ab: because") == "at 0123456789ab: because"
    assert missing.("at 0123456789ab: for …") == "at 0123456789ab: for …"
  end
end
