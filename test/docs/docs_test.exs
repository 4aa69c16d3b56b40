defmodule Alumiini.Git.DocsTest do
  # What HexDocs shows, as far as that can be held without ExDoc; hosted CI runs
  # `mix docs --warnings-as-errors`.
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)
  @pages for extra <- Mix.Project.config()[:docs][:extras],
             do: to_string(if is_tuple(extra), do: elem(extra, 0), else: extra)
  # It is for those who change the library, and names modules that are hidden.
  @of_the_inside "ARCHITECTURE.md"

  test "each link of a page, and of a module's documentation, leads somewhere" do
    assert "README.md" in @pages

    for {where, text} <- texts(), link <- links(text) do
      assert {where, link, :found} == {where, link, lead(where, link)}
    end
  end

  test "a link that leads nowhere is seen" do
    assert lead("README.md", "ARCHITECTURE.md") == :found
    assert lead("README.md", "bench/results/results.svg") == :found
    assert lead("guides/installation.md", "authentication.md") == :found
    assert lead("README.md", "RELEASE.md") == :no_page
    assert lead("README.md", "bench/run.exs") == :not_published
    assert lead("README.md", "bench/results/gone.svg") == :not_published
    assert links("[a](b.md)\n```\n[c](d.md)\n```\n`[e](f.md)`\n![g](h.svg)") == ["b.md", "h.svg"]
  end

  test "each module, function and type that is named exists, and is shown where users read of it" do
    for {where, text} <- texts(), reference <- references(text) do
      assert {where, reference, :found} == {where, reference, look_up(where, reference)}
    end
  end

  test "a name that is none is seen" do
    assert references("`Alumiini.Git.sync/4`, `t:Alumiini.Git.Error.t/0` and `GenServer`") ==
             ["Alumiini.Git.sync/4", "t:Alumiini.Git.Error.t/0"]

    assert look_up("README.md", "Alumiini.Git.sync/4") == :found
    assert look_up("README.md", "Alumiini.Git.sync/9") == :unknown
    assert look_up("README.md", "t:Alumiini.Git.Error.t/0") == :found
    assert look_up("README.md", "t:Alumiini.Git.Error.none/0") == :unknown
    assert look_up("README.md", "Alumiini.Git.None") == :unknown
    assert look_up("README.md", "Alumiini.Git.Server") == :hidden
    assert look_up(@of_the_inside, "Alumiini.Git.Server") == :found
  end

  test "what is not in the package is hidden" do
    packaged = Mix.Project.config()[:package][:files]
    left_out = Enum.reject(modules(), &(source(&1) in packaged))
    assert Mix.Tasks.AlumiiniGit.Checksum in left_out
    assert Enum.filter(left_out, &shown?/1) == []
  end

  # What HexDocs shows of a line before it has to be scrolled.
  @widest 98
  # A URL has the length that it has.

  test "no line of code is cut at the right edge" do
    wide =
      for {where, text} <- texts(),
          line <- code(text),
          not (line =~ ~r|https://\S{60}|),
          String.length(line) > @widest,
          do: {where, line}

    assert wide == []
  end

  test "the code of a page is seen" do
    text = "a\n```elixir\nb\n```\nc\n\n    d\n\n```mermaid\ne\n```\n  * f\n\n        g\n"
    assert code(text) == ["b", "    d", "        g"]
  end

  # Of fences, and what is indented after an empty line; diagrams are drawn.
  defp code(text) do
    text |> String.split("\n") |> Enum.flat_map_reduce(:text, &code/2) |> elem(0)
  end

  defp code("```mermaid", state) when state not in [:code, :diagram], do: {[], :diagram}
  defp code("```" <> _, state) when state in [:code, :diagram], do: {[], :text}
  defp code("```" <> _, _of_text), do: {[], :code}
  defp code(line, :code), do: {[line], :code}
  defp code(_line, :diagram), do: {[], :diagram}
  defp code("", state), do: {[], if(state == :indented, do: :indented, else: :blank)}
  defp code("    " <> _ = line, state) when state in [:blank, :indented], do: {[line], :indented}
  defp code(_line, _state), do: {[], :text}

  test "what `h Alumiini.Git.Error` shows in IEx fits a terminal" do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Alumiini.Git.Error)
    print = fn -> IO.ANSI.Docs.print(doc, "text/markdown", enabled: false, width: 80) end
    lines = print |> ExUnit.CaptureIO.capture_io() |> String.split("\n")
    assert length(lines) > 60
    assert Enum.filter(lines, &(String.length(&1) > 80)) == []
  end

  test "each page but README is in a group, in the order in which they are listed" do
    groups = docs()[:groups_for_extras]

    for page <- @pages, page != "README.md" do
      of = for {group, pattern} <- groups, page =~ pattern, do: group
      assert {page, length(of)} == {page, 1}
    end

    # ExDoc shows a group where its first page stands, so the pages of one stand together.
    order =
      for page <- @pages -- ["README.md"],
          do: Enum.find_index(groups, fn {_, pattern} -> page =~ pattern end)

    assert order |> Enum.dedup() |> tl() |> Enum.uniq() == order |> Enum.dedup() |> tl()
  end

  test "all guides are published" do
    guides = Path.wildcard(Path.join(@root, "guides/*.{md,cheatmd,livemd}"))
    assert Enum.map(guides, &Path.relative_to(&1, @root)) -- @pages == []
  end

  test "diagrams are drawn, by a program of which the bytes are known" do
    assert Enum.any?(@pages, &(read!(&1) =~ "```mermaid"))
    html = docs()[:before_closing_body_tag].(:html)
    assert html =~ "code.mermaid"
    assert html =~ ~r|"https://[^"]+@\d+\.\d+\.\d+/[^"]+\.js"|
    assert html =~ ~r|integrity = "sha384-[A-Za-z0-9+/]{64}"|
    assert docs()[:before_closing_body_tag].(:epub) == ""
  end

  ## What is shown

  defp docs, do: Mix.Project.config()[:docs]

  defp texts,
    do: for(page <- @pages, do: {page, read!(page)}) ++ Enum.flat_map(modules(), &documentation/1)

  defp documentation(module) do
    with {:docs_v1, _, _, _, %{"en" => moduledoc}, _, docs} <- Code.fetch_docs(module) do
      of_functions = for {_, _, _, %{"en" => doc}, _} <- docs, do: doc
      for text <- [moduledoc | of_functions], do: {inspect(module), text}
    else
      _hidden -> []
    end
  end

  defp modules do
    {:ok, modules} = :application.get_key(:alumiini_git, :modules)
    for module <- modules, String.starts_with?(source(module), ["lib/", "release/lib/"]), do: module
  end

  defp source(module),
    do: module.module_info(:compile)[:source] |> to_string() |> Path.relative_to(@root)

  defp shown?(module), do: documentation(module) != []
  defp read!(page), do: @root |> Path.join(page) |> File.read!()

  ## Links

  defp links(text) do
    text = text |> String.replace(~r/^```.*?^```/ms, "") |> String.replace(~r/`[^`\n]*`/, "")
    for [_all, link] <- Regex.scan(~r/\]\(([^)\s]+)\)/, text), do: link
  end

  # As ExDoc has it: a page by its name alone, a file by its path in what is published. On GitHub,
  # both by their path from the page.
  defp lead(where, link) do
    path = link |> String.split("#") |> hd()

    cond do
      link =~ ~r{^(https?://|#)} ->
        :found

      Path.extname(path) in [".md", ".cheatmd", ".livemd"] ->
        if page(where, path) in @pages, do: :found, else: :no_page

      published?(path) ->
        :found

      true ->
        :not_published
    end
  end

  defp page(where, path) do
    if where in @pages,
      do:
        @root
        |> Path.join(Path.dirname(where))
        |> then(&Path.expand(path, &1))
        |> Path.relative_to(@root),
      else: Enum.find(@pages, &(Path.basename(&1) == path))
  end

  defp published?(path) do
    Enum.any?(docs()[:assets], fn {from, to} ->
      from == to and String.starts_with?(path, to <> "/") and File.regular?(Path.join(@root, path))
    end)
  end

  ## Names

  defp references(text) do
    for [_all, name] <- Regex.scan(~r{`((?:[tcm]:)?Alumiini\.Git[\w.]*(?:[?!]?/\d+)?)`}, text),
        do: name
  end

  defp look_up(where, reference) do
    {kind, name} =
      case String.split(reference, ":") do
        [kind, name] -> {kind, name}
        [name] -> {"", name}
      end

    {module, member} =
      case Regex.run(~r{^(.+)\.([a-z_]\w*[?!]?)/(\d+)$}, name) do
        [_all, module, member, arity] ->
          {module, {String.to_atom(member), String.to_integer(arity)}}

        nil ->
          {name, nil}
      end

    module = Module.concat([module])

    cond do
      module not in modules() -> :unknown
      member != nil and not member?(module, kind, member) -> :unknown
      where != @of_the_inside and not shown?(module) -> :hidden
      true -> :found
    end
  end

  defp member?(module, "t", type) do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(module)
    Enum.any?(docs, &match?({{:type, name, arity}, _, _, _, _} when {name, arity} == type, &1))
  end

  defp member?(module, "", {name, arity}) do
    Code.ensure_loaded!(module)
    function_exported?(module, name, arity)
  end
end
