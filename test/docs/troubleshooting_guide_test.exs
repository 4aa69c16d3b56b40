defmodule Alumiini.Git.TroubleshootingGuideTest do
  # Runs the examples of guides/troubleshooting.md, and holds its headings to the reasons. Not
  # async: it starts the server of the default name, and what is printed is everybody's.
  use Alumiini.Git.Test.GuideCase, async: false

  import ExUnit.CaptureIO

  alias Alumiini.Git.Error

  @guide "guides/troubleshooting.md"

  test "the doctor and the numbers say how it is", context do
    [doctor, info] = blocks!(@guide, context)
    text = capture_io(fn -> send(self(), {:steps, hd(elem(run([doctor]), 0))}) end)
    assert text =~ context.url
    assert_received {:steps, steps}
    assert {"refs", true} in steps
    assert Enum.all?(steps, &elem(&1, 1))

    start_supervised!(Git)
    hold = HttpServer.rule(context.http, :hold)
    call = Task.async(fn -> Git.refs(context.url) end)
    HttpServer.await(context.http, {:parked, hold, 1})
    assert {[[{"http://127.0.0.1:" <> _port, 1, 0, _limit, _circuit}]], _bindings} = run([info])
    Task.shutdown(call, :brutal_kill)
  end

  test "each reason has its heading, and no other one" do
    %{retryable: retryable, final: final} = Error.reasons()
    headings = Regex.scan(~r/^### `:(\w+)`$/m, Document.read!(@guide))
    named = for [_all, reason] <- headings, do: String.to_atom(reason)
    assert Enum.sort(named) == Enum.sort(retryable ++ final)

    for [_all, reason] <- Regex.scan(~r/\| `:(\w+)`/, Document.read!(@guide)),
        do: assert(String.to_atom(reason) in named)
  end
end
