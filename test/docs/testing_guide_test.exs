# The examples of guides/testing.md are tests, which run as a part of these. What is for
# test_helper.exs is evaluated by a process that does not end.
alias Alumiini.Git.Test.Document

blocks = for %{language: "elixir"} = block <- Document.blocks("guides/testing.md"), do: block
{helpers, modules} = Enum.split_with(blocks, &(&1.code =~ "start_link"))
test = self()

spawn(fn ->
  for block <- helpers, do: Code.eval_string(block.code)
  send(test, :started)
  Process.sleep(:infinity)
end)

receive do: (:started -> :ok)
for block <- modules, do: Code.compile_string(block.code, "guides/testing.md")

defmodule Alumiini.Git.TestingGuideTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Test.{Document, NoStubError}

  test "each example is a test that runs here, but for the module that they test" do
    blocks = for block <- Document.blocks("guides/testing.md"), do: {block.language, block.code}

    modules =
      for {_, code} <- blocks, [_, name] <- [Regex.run(~r/^defmodule (\S+)/, code)], do: name

    assert ["MyApp.Deployer" | tests] = modules
    assert length(tests) == 3
    assert length(blocks) == length(modules) + 2

    for name <- tests do
      functions = Module.concat([name]).__info__(:functions)
      assert Enum.any?(functions, fn {name, _arity} -> to_string(name) =~ ~r/\Atest / end)
    end
  end

  test "the message is what a call without a stub raises" do
    server = Alumiini.Git.Test.stub(head: {:ok, "sha"})

    error =
      assert_raise NoStubError, fn ->
        Alumiini.Git.read("/var/lib/shop", "deploy/app.yaml", server: server)
      end

    assert error.message == Document.block!("guides/testing.md: Stubs (2)").code
  end
end
