defmodule Alumiini.Git.SecretsWebhookTest do
  # What can be seen of a webhook's secret: in refusals, in misuse, in what raises, in answers. Not
  # async: the logger of the whole VM is watched.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Test.{LeakRecorder, Webhooks}
  alias Alumiini.Git.Webhook
  alias Alumiini.Git.Webhook.Deliveries

  import Alumiini.Git.Test.SecretCase, only: [secret: 1, recorder: 1]

  setup [:secret, :recorder]

  @one String.duplicate("1", 40)

  defp raised(function) do
    function.()
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  test "none of it is in an error, an answer or a trace", context do
    %{recorder: recorder, secret: secret} = context
    deliveries = start_supervised!({Deliveries, name: nil})

    for forge <- Webhooks.forges(), given <- [secret, "another"], body <- [nil, "x", "[1]"] do
      {headers, whole} = Webhooks.push(forge, "refs/heads/main", @one, @one)
      body = body || whole
      headers = Webhooks.proven(forge, headers, body, given)

      for headers <- [headers, [{"content-type", "text/plain"} | headers]] do
        for _twice <- 1..2 do
          options = [secret: secret, deliveries: deliveries]
          LeakRecorder.note(recorder, "answer", Webhook.parse(headers, body, options))
        end

        conn =
          Enum.reduce(headers, Plug.Test.conn(:post, "/", body), fn {name, value}, conn ->
            Plug.Conn.put_req_header(conn, String.downcase(name), value)
          end)

        plug = Webhook.Plug.init(secret: secret, poke: fn _push -> 1 end)
        %{status: status, resp_headers: headers, resp_body: text} = Webhook.Plug.call(conn, plug)
        LeakRecorder.note(recorder, "response", {status, headers, text})
      end
    end

    LeakRecorder.note(recorder, "deliveries", :sys.get_state(deliveries))
    assert LeakRecorder.places(recorder, secret) == []
  end

  test "misuse does not show it", context do
    %{recorder: recorder, secret: secret} = context
    parse = fn options -> fn -> Webhook.parse([], "{}", options) end end

    for call <- [
          parse.(secret: {:system, secret}),
          parse.(secret: [secret, nil]),
          parse.(secret: String.to_charlist(secret)),
          parse.(secret: %{secret: secret}),
          parse.(secret: fn -> {:ok, secret} end),
          parse.(secret: fn -> String.to_charlist(secret) end),
          parse.(secret: secret, header: {secret}),
          parse.(secret: secret, deliveries: secret),
          parse.(secret: secret, max_bytes: secret),
          parse.(%{secret: secret}),
          parse.([secret]),
          fn -> Webhook.parse([{"a", secret}], {secret}, secret: secret) end,
          fn -> Webhook.parse([secret], "{}", secret: secret) end,
          fn -> Webhook.Plug.init(secret: secret, at: secret) end,
          fn -> Webhook.Plug.init(secret: secret, poke: secret) end,
          fn -> Webhook.Plug.init(secret: secret, other: 1) end
        ] do
      error = assert_raise ArgumentError, call
      LeakRecorder.note(recorder, "misuse", error)
    end

    # What it was asked of fails, with the secret among its arguments.
    for secret_from <- [
          {Base, :decode16!, [[secret]]},
          {String, :duplicate, [secret, secret]},
          {NoSuchModule, :secret, [secret]},
          fn -> Base.decode16!([secret]) end
        ] do
      headers = Webhooks.headers(:github, :push)
      raised = raised(fn -> Webhook.parse(headers, "{}", secret: secret_from) end)
      assert {:error, _reason, [_ | _] = trace} = raised
      LeakRecorder.note(recorder, "trace", trace)
    end

    # A struct shows it no more than the options of the plug do.
    plug = Webhook.Plug.init(secret: secret)
    LeakRecorder.note(recorder, "options", inspect(plug, limit: :infinity))
    assert LeakRecorder.places(recorder, secret) == []
  end

  test "a function that raises while a push is told leaves nothing of it in the trace", context do
    %{recorder: recorder, secret: secret} = context
    {headers, body} = Webhooks.push(:gitlab, "refs/heads/main", @one, @one)
    headers = Webhooks.proven(:gitlab, headers, body, secret)

    conn =
      Enum.reduce(headers, Plug.Test.conn(:post, "/", body), fn {name, value}, conn ->
        Plug.Conn.put_req_header(conn, String.downcase(name), value)
      end)

    # No clause of what it calls matches, whose arguments are in the trace.
    poke = fn _push -> Base.decode16!([secret]) end
    plug = Webhook.Plug.init(secret: secret, poke: poke)
    raised = raised(fn -> Webhook.Plug.call(conn, plug) end)
    assert {:error, :function_clause, trace} = raised
    LeakRecorder.note(recorder, "trace", trace)
    assert LeakRecorder.places(recorder, secret) == []
  end
end
