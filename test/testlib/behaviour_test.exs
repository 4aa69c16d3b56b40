defmodule Alumiini.Git.BehaviourTest do
  # The callbacks are the specs of `Alumiini.Git`, all but those of the server.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Behaviour, Ops}

  test "there is a callback for each function that makes a call, of the same type" do
    {:ok, specs} = Code.Typespec.fetch_specs(Git)
    {:ok, callbacks} = Code.Typespec.fetch_callbacks(Behaviour)

    specs =
      for {{name, _arity} = key, _} = spec <- specs,
          name not in [:start_link, :child_spec],
          do: {key, spec}

    callbacks = Map.new(callbacks)
    assert Enum.sort(Map.keys(callbacks)) == Enum.sort(Enum.map(specs, &elem(&1, 0)))
    assert length(specs) == 2 * length([:info | Ops.all()])

    for {{name, _arity} = key, {_key, [spec]}} <- specs do
      [callback] = callbacks[key]
      assert text(name, callback) == text(name, spec)
    end
  end

  # The types that are local there have the module's name here.
  defp text(name, type) do
    name
    |> Code.Typespec.spec_to_quoted(type)
    |> Macro.to_string()
    |> String.replace(~r/\s/, "")
    |> String.replace(~r/\bAlumiini\.Git\.(ref|sha)\(\)/, "\\1()")
  end

  test "a module without one of them is not taken for it" do
    code = "defmodule Alumiini.Git.BehaviourTest.None do\n@behaviour Alumiini.Git.Behaviour\nend"
    warned = ExUnit.CaptureIO.capture_io(:stderr, fn -> Code.compile_string(code) end)
    assert warned =~ "sync/4"
    assert Git.module_info(:attributes)[:behaviour] == [Behaviour]
  end
end
