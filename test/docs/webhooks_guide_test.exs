defmodule Alumiini.Git.WebhooksGuideTest do
  # Runs the examples of guides/webhooks.md. Not async: they read the environment, and define
  # modules.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Test.{Document, Vm, Webhooks}
  alias Alumiini.Git.Webhook.Push

  @guide "guides/webhooks.md"
  @secret "s3cr3t"
  @one String.duplicate("1", 40)
  @two String.duplicate("2", 40)

  # What a reader has a module of their own for.
  defmodule Elixir.Shop.Queue do
    def add(sha), do: send(:webhooks_guide, {:queued, sha}) && :ok
  end

  defp block(number) do
    @guide |> Document.blocks() |> Enum.at(number) |> Map.fetch!(:code)
  end

  defp request(headers, body, path) do
    Enum.reduce(headers, Plug.Test.conn(:post, path, body), fn {name, value}, conn ->
      Plug.Conn.put_req_header(conn, String.downcase(name), value)
    end)
  end

  defp push(forge \\ :gitea, ref \\ "refs/heads/main") do
    {headers, body} = Webhooks.push(forge, ref, @one, @two)
    {Webhooks.proven(forge, headers, body, @secret), body}
  end

  setup do
    Vm.put_env!(%{"WEBHOOK_SECRET" => @secret})
    Process.register(self(), :webhooks_guide)
    :ok
  end

  test "every block is Elixir" do
    assert length(Document.blocks(@guide)) == 4
    assert Enum.all?(Document.blocks(@guide), &(&1.language == "elixir"))
  end

  test "the plugs take what is signed with the secret of the environment" do
    endpoint = compile(block(0))
    deployments = compile(block(1))
    ping = Webhooks.headers(:github, :ping)
    signed = Webhooks.proven(:github, ping, "{}", @secret)

    assert %{status: 200} = call(endpoint, request(signed, "{}", "/webhook"))
    assert %{status: 401} = call(endpoint, request(ping, "{}", "/webhook"))
    assert %{status: nil, halted: false} = call(endpoint, request(signed, "{}", "/other"))

    {headers, body} = push()
    assert %{status: 202} = call(deployments, request(headers, body, "/"))
    assert_received {:queued, @two}
    {headers, body} = push(:gitea, "refs/heads/other")
    assert %{status: 202} = call(deployments, request(headers, body, "/"))
    {headers, body} = push(:github)
    assert %{status: 202} = call(deployments, request(headers, body, "/"))
    refute_received {:queued, _sha}
  end

  test "the case has a clause for whatever comes" do
    {headers, body} = push(:bitbucket_cloud)
    run = &elem(Code.eval_string(block(2), headers: &1, body: &2, secret: &3), 0)
    assert run.(headers, body, @secret) == [{"refs/heads/main", @two}]
    assert {401, sentence} = run.(headers, body, "another")
    assert sentence =~ "signature"

    for {event, expected} <- [
          {:ping, "the forge tries the webhook"},
          {"star", "nothing to do with star"}
        ] do
      headers = Webhooks.proven(:github, Webhooks.headers(:github, event), "{}", @secret)
      assert run.(headers, "{}", @secret) == expected
    end
  end

  test "the children start, and refuse what comes again" do
    {_value, bindings} = Code.eval_string(block(3))

    start_supervised!(%{
      id: :guide,
      start: {Supervisor, :start_link, [bindings[:children], [strategy: :one_for_one]]}
    })

    options = Keyword.put(bindings[:plug_options], :secret, @secret)
    plug = Alumiini.Git.Webhook.Plug.init(options ++ [poke: fn %Push{} -> 1 end])
    {headers, body} = push()
    call = fn -> Alumiini.Git.Webhook.Plug.call(request(headers, body, "/"), plug).status end
    assert {call.(), call.()} == {202, 409}
  end

  defp compile(code) do
    [{module, _beam}] = Code.compile_string(code)

    on_exit(fn ->
      :code.purge(module)
      :code.delete(module)
    end)

    module
  end

  defp call(module, conn), do: module.call(conn, module.init([]))
end
