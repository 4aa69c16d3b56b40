defmodule Alumiini.Git.LayersTest do
  # No two modules of the library call each other, however far around; and what the pages name is
  # there. The worker's layers are held by its own test (native/alumiini-git/tests/layers.rs).
  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  # A circle is named here by its modules, with the reason why it stays.
  @circles [
    # A URL may hold credentials, and credentials are made of what a URL is.
    [Alumiini.Git.Auth, Alumiini.Git.RedactedUrl]
  ]

  test "no modules call each other, but for those that are named" do
    assert circles(calls(library())) == Enum.sort(@circles)
  end

  test "a circle is seen" do
    assert circles(%{a: [:b], b: [:c], c: [:a, :d], d: [:e], e: []}) == [[:a, :b, :c]]
    assert circles(%{a: [:b], b: []}) == []
  end

  test "each file that SECURITY.md and ARCHITECTURE.md name is there" do
    sources = Path.wildcard(Path.join(@root, "native/alumiini-git/src/**/*.rs"))
    assert length(sources) > 100

    for page <- ["SECURITY.md", "ARCHITECTURE.md"],
        [_all, name] <- Regex.scan(~r/`([\w\/]+\.rs)`/, File.read!(Path.join(@root, page))) do
      there? =
        File.regular?(Path.join(@root, name)) or
          Enum.any?(sources, &String.ends_with?(&1, "/" <> name))

      assert {page, name, there?} == {page, name, true}
    end
  end

  test "each row of SECURITY.md's table names a test that is there" do
    [_before, table] =
      @root |> Path.join("SECURITY.md") |> File.read!() |> String.split("| chosen by | what |")

    [table, _after] = String.split(table, "\n\n", parts: 2)
    [_head, _line | rows] = String.split(table, "\n")
    assert length(rows) > 40

    sources =
      @root
      |> Path.join("native/alumiini-git/{src,tests}/**/*.rs")
      |> Path.wildcard()
      |> Enum.map_join(&File.read!/1)

    for row <- rows do
      shown_by = row |> String.trim_trailing(" |") |> String.split(" | ") |> List.last()
      tests = for [_all, name] <- Regex.scan(~r/`([^`]+)`/, shown_by), do: name
      assert {row, tests != []} == {row, true}

      for test <- tests do
        there? =
          File.regular?(Path.join(@root, test)) or
            sources =~ ~r/#\[(tokio::)?test[^\n]*\]\n\s*(async )?fn #{test}\(/

        assert {test, there?} == {test, true}
      end
    end
  end

  defp library do
    {:ok, modules} = :application.get_key(:alumiini_git, :modules)

    for module <- modules,
        source(module) =~ ~r{/lib/},
        not (source(module) =~ "/release/"),
        do: module
  end

  defp source(module), do: to_string(module.module_info(:compile)[:source])

  # As compiled: what a module calls, not what it names.
  defp calls(modules) do
    Map.new(modules, fn module ->
      {:ok, {_module, [imports: imports]}} = :beam_lib.chunks(:code.which(module), [:imports])

      called =
        for {called, _function, _arity} <- imports, called in modules, called != module, do: called

      {module, Enum.uniq(called)}
    end)
  end

  # The strongly connected parts of more than one, each sorted.
  defp circles(calls) do
    graph = :digraph.new()
    for {module, _called} <- calls, do: :digraph.add_vertex(graph, module)
    for {module, called} <- calls, one <- called, do: :digraph.add_edge(graph, module, one)
    parts = :digraph_utils.strong_components(graph)
    true = :digraph.delete(graph)
    parts |> Enum.filter(&(length(&1) > 1)) |> Enum.map(&Enum.sort/1) |> Enum.sort()
  end
end
