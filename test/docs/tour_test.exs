defmodule Alumiini.Git.TourTest do
  # Runs guides/tour.livemd from its top to its end, as Livebook does, in the project in place of
  # Mix.install. Not async: it starts the server of the default name.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO
  import ExUnit.CaptureLog

  alias Alumiini.Git.Test.Document

  @tour "guides/tour.livemd"

  test "each cell runs after those before it, and shows what is said" do
    blocks = Document.blocks(@tour)
    assert Enum.all?(blocks, &(&1.language == "elixir"))
    [install | cells] = for block <- blocks, do: block.code

    assert {:ok,
            {{:., _, [{:__aliases__, _, [:Mix]}, :install]}, _, [[{:alumiini_git, requirement}]]}} =
             Code.string_to_quoted(install)

    version = String.replace(Mix.Project.config()[:version], ~r/-.*/, "")
    assert Version.match?(version, requirement)

    test = self()

    printed =
      capture_io(fn ->
        capture_log(fn ->
          {values, bindings} = Enum.map_reduce(cells, [], &Code.eval_string/2)
          send(test, {:done, values, bindings})
        end)
      end)

    assert_received {:done, values, bindings}
    [_first, second, third] = bindings[:repository].commits
    assert {true, false, second} in values
    assert {"kind: Deployment\nreplicas: 2\n", "kind: Deployment\nreplicas: 1\n"} in values
    assert :all in values
    assert [modified: "deploy/app.yaml"] in values
    assert Enum.any?(values, &match?({:ref_not_found, false, %{near: ["main"]}, _message}, &1))
    assert {before, now, 2} = Enum.find(values, &match?({_, _, 2}, &1))
    assert is_integer(before) and is_integer(now) and before != now
    assert printed =~ ~r/^sync: ok, \d+ ms, \d+ requests$/m
    assert third != second
    refute File.exists?(bindings[:directory])
    assert Process.whereis(Alumiini.Git) == nil
  end
end
