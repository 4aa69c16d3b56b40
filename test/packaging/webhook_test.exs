defmodule Alumiini.Git.Precompiled.WebhookTest do
  # Webhooks in a project of a user's that has neither Plug nor Jason.
  use Alumiini.Git.Test.ConsumerCase, async: false

  import Alumiini.Git.Test.Consumer, only: [mix: 2]

  setup :consumer

  @tag timeout: 180_000
  test "there is no plug, and where nothing decodes JSON that is told with what to add", context do
    mix_exs = Path.join(context.shop, "mix.exs")
    changed = mix_exs |> File.read!() |> String.replace("[:logger]", "[:logger, :crypto]")
    File.write!(mix_exs, changed)

    code = """
    headers = [{"X-GitHub-Event", "ping"}]
    IO.inspect(Code.ensure_loaded?(Alumiini.Git.Webhook.Plug), label: "plug")

    case Alumiini.Git.Webhook.parse(headers, "{}", secret: :none) do
      {:ok, outcome} -> IO.inspect(outcome, label: "outcome")
      {:error, error} -> IO.puts("\#{error.detail.status} \#{Exception.message(error)}")
    end
    """

    assert {output, 0} = mix(context, ["run", "-e", code])
    refute output =~ "warning"
    assert output =~ "plug: false"

    # OTP 27 and Elixir 1.18 need nothing.
    if Enum.any?([:json, JSON], &Code.ensure_loaded?/1),
      do: assert(output =~ "outcome: :ping"),
      else: assert(output =~ ~s|500 webhook: there is nothing that decodes JSON: add {:jason, |)
  end
end
