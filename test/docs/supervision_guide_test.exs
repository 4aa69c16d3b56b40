defmodule Alumiini.Git.SupervisionGuideTest do
  # Runs the examples of guides/supervision.md. Not async: it starts the server of the default name.
  use Alumiini.Git.Test.GuideCase, async: false

  alias Alumiini.Git.{Error, Follower}

  @guide "guides/supervision.md"
  @soon 20_000

  test "the children start, and a read and the checks of health do what is said", context do
    [start, pause, read, health] = blocks!(@guide, context)
    [health] = compile!(health)
    [_pause] = compile!(pause)
    refute health.alive?()

    {_values, bindings} = run([start])
    {:ok, _current} = Follower.subscribe(Shop.Main, :all, since: nil)
    assert_receive {:alumiini_git, Shop.Main, %{sha: sha}}, @soon
    assert sha == context.sha
    run([read])
    assert health.alive?() and health.ready?()
    Supervisor.stop(bindings[:supervisor])

    # A worker that never comes up.
    start_supervised!({Git, binary: "/nonexistent/alumiini-git"})
    assert health.alive?()
    refute health.ready?()
  end

  test "pauses grow, obey the server, and are long where somebody has to act", context do
    [_start, pause, _read, _health] = blocks!(@guide, context)
    [pause] = compile!(pause)
    network = Git.Test.error(:network)

    for {attempt, ms} <- [{1, 1_000}, {2, 2_000}, {5, 16_000}, {11, 600_000}, {1_000, 600_000}],
        do: assert(pause.after_error(network, attempt) in div(ms, 2)..ms)

    assert pause.after_error(Git.Test.error(:auth), 1) in 300_000..600_000
    told = %{network | reason: :rate_limited, detail: %{retry_after: 7}}
    assert pause.after_error(told, 9) == 7_000
  end

  test "each reason is of one kind, and those that pass are those that are retryable" do
    rows = for "| it passes" <> _ = row <- lines(), do: reasons(row)

    others = for "| " <> rest = row <- lines(), rest =~ ~r/^(somebody|a defect)/, do: reasons(row)
    assert [passing] = rows
    assert Enum.sort(passing) == Enum.sort(Error.reasons().retryable)
    # It goes to nobody who waits.
    told = passing ++ List.flatten(others) ++ [:cancelled]
    assert Enum.sort(told) == Enum.sort(Error.reasons().retryable ++ Error.reasons().final)
  end

  defp lines, do: @guide |> Document.read!() |> String.split("\n")

  defp reasons(row) do
    row = row |> String.split("|") |> Enum.at(2)
    for [_all, reason] <- Regex.scan(~r/`:(\w+)`/, row), do: String.to_atom(reason)
  end
end
