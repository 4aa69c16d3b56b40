defmodule Alumiini.Git.OneLineTest do
  # What others name (paths, refs, files, URLs) stays on the one line of an error or a log entry,
  # whatever is in it.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Error, OneLine}
  alias Alumiini.Git.Test.{GitCommand, Repository, TempDir}

  # Line breaks of every kind, and what a terminal or a reader would take for something else.
  @name "x\n\r\t\e[31m\u0085\u2028\u202ey"
  @shown ~S(x\n\r\t\u{1b}[31m\u{85}\u{2028}\u{202e}y)

  defp assert_on_one_line(result) do
    assert {:error, %Error{} = error} = result

    for text <- [Exception.message(error) | error.detail |> Map.values() |> List.flatten()],
        is_binary(text) do
      assert {text,
              Regex.match?(~r/[[:cntrl:]\x{80}-\x{9f}\x{2028}\x{2029}\x{202a}-\x{202e}]/u, text)} ==
               {text, false}
    end

    error
  end

  test "escapes what is unfit, and nothing else" do
    assert OneLine.escape(@name) == @shown
    for text <- ["", "äöü \\n – “a” 日本 🙂", <<255, 254>>], do: assert(OneLine.escape(text) == text)
    assert OneLine.escape(<<255, ?\n>>) == <<255, ?\\, ?n>>
  end

  test "errors about names", context do
    directory = TempDir.create!("one_line")
    origin = Repository.create!(directory, "app.git")
    Repository.commit!(origin, %{"a.yaml" => "a"})
    near = "feature-name\u202e"
    GitCommand.run!(["-C", origin, "branch", near, "main"])
    git = start_supervised!({Git, name: nil}, id: context.test)
    work = Path.join(directory, "work")
    assert {:ok, _commit} = Git.sync(origin, "main", work, server: git)

    path = Path.join(directory, @name)
    options = [server: git]

    for call <- [
          &Git.files(&1, nil, options),
          &Git.read(&1, "a.yaml", options),
          &Git.head(&1, options)
        ] do
      error = assert_on_one_line(call.(path))
      assert error.message =~ @shown
    end

    for call <- [
          &Git.files(work, &1, options),
          &Git.read(work, &1, options),
          &Git.checkout(work, &1, options)
        ] do
      assert_on_one_line(call.(@name))
    end

    File.mkdir_p!(path)
    File.write!(Path.join(path, @name), "somebody's")
    error = assert_on_one_line(Git.sync(origin, "main", path, options))
    assert error.detail.path =~ @shown

    for url <- [
          "https://h/" <> @name,
          "./" <> @name,
          "git@h:" <> @name,
          Path.join(directory, @name <> "2")
        ] do
      assert_on_one_line(Git.sync(url, "main", work, options))
      assert_on_one_line(Git.refs(url, options))
    end

    for ref <- [@name, "feature-nama", {:tag, @name}, {:ref, "refs/" <> @name}] do
      assert_on_one_line(Git.ls_remote(origin, ref, options))
    end

    assert {:error, %Error{detail: %{near: [shown]}}} =
             Git.ls_remote(origin, "feature-nama", options)

    assert shown == ~S(feature-name\u{202e})

    # What the directory of a repository holds, and what is in the way of its files.
    own = Path.join(directory, "own")
    GitCommand.run!(["clone", "-q", origin, own])
    File.write!(Path.join(own, @name), "mine")
    GitCommand.run!(["-C", own, "add", "."])
    error = assert_on_one_line(Git.sync(origin, "main", own, options))
    assert error.reason == :dirty
  end
end
