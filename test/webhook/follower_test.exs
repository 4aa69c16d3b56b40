defmodule Alumiini.Git.WebhookFollowerTest do
  # A webhook in place of the interval: the plug, and the followers that it tells.
  use Alumiini.Git.Test.FollowerCase, async: true

  alias Alumiini.Git.Test.Webhooks

  setup [:dir, :origin, :commit, :http, :named_git, :events]

  @secret "s3cr3t"

  # Gitea's, of the repository of this test, as SSH and HTTPS would have it.
  defp delivery(context, ref, before, later) do
    path = URI.parse(context.url).path
    [https, ssh] = Webhooks.urls(:gitea)

    body =
      :gitea
      |> Webhooks.body(ref, before, later)
      |> String.replace(https, "https://127.0.0.1" <> String.trim_trailing(path, ".git"))
      |> String.replace(ssh, "git@127.0.0.1:" <> path)

    {Webhooks.proven(:gitea, Webhooks.headers(:gitea, :push), body, @secret), body}
  end

  defp deliver({headers, body}, context) do
    plug = Alumiini.Git.Webhook.Plug.init(secret: @secret, server: context.git)

    conn =
      Enum.reduce(headers, Plug.Test.conn(:post, "/", body), fn {name, value}, conn ->
        Plug.Conn.put_req_header(conn, String.downcase(name), value)
      end)

    conn = Alumiini.Git.Webhook.Plug.call(conn, plug)
    {conn.status, conn.resp_body}
  end

  test "a push is followed at once, by those whom it is about", context do
    follower = followed!(context)
    {:ok, %{}} = Follower.subscribe(follower, "a.yaml")
    HttpServer.reset(context.http)
    second = Repository.commit!(context.origin, %{"a.yaml" => "2"})

    push = delivery(context, "refs/heads/main", context.commit, second)
    assert deliver(push, context) == {202, "a push; told 1\n"}
    assert_receive {:alumiini_git, ^follower, %Update{sha: ^second}}, 20_000

    # Of what they have, and of other refs, nothing is asked.
    await_status!(follower, &(&1.pokes == 0 and not &1.polling?))
    requests = HttpServer.stats(context.http).requests
    assert deliver(push, context) == {202, "a push; told 1\n"}
    other = delivery(context, "refs/heads/other", context.commit, second)
    assert deliver(other, context) == {202, "a push; told 0\n"}
    tag = delivery(context, "refs/tags/v1", Webhooks.zeros(), second)
    assert deliver(tag, context) == {202, "a push; told 0\n"}
    {headers, body} = push
    assert {401, _text} = deliver({headers, body <> " "}, context)
    await_status!(follower, &(&1.pokes == 0 and not &1.polling?))
    assert HttpServer.stats(context.http).requests == requests
  end
end
