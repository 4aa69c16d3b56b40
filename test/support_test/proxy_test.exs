defmodule Alumiini.Git.Test.ProxyTest do
  # The tests' own proxies, by git's own client.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{Proxy, ScriptedTcp}

  setup [:dir, :origin, :commit, :certificate, :http, :https]

  defp ls_remote(context, url, proxy, options \\ []) do
    config = [
      {"http.proxy", proxy},
      {"http.sslCAInfo", context.ca_file},
      {"http.proxySSLCAInfo", context.ca_file}
    ]

    GitCommand.run(["ls-remote", url, "refs/heads/main"], config: config ++ options)
  end

  test "HTTP: whole URLs and CONNECT, with a log", context do
    proxy = start_supervised!({Proxy, kind: :http})

    for server <- [context.http, context.https] do
      assert {output, 0} =
               ls_remote(context, HttpServer.url(server, "origin.git"), Proxy.url(proxy))

      assert output =~ context.commit
    end

    assert [%{method: "GET", target: "http://127.0.0.1:" <> _} | rest] = Proxy.log(proxy)
    assert %{method: "CONNECT", target: target, credentials: nil, answer: :ok} = List.last(rest)
    assert target == "localhost:#{HttpServer.port(context.https)}"
    assert Proxy.bytes_seen(proxy) =~ "GET http://"
  end

  test "HTTP: names that only it knows, a password, refusals, and TLS", context do
    options = [hosts: %{"git.internal" => HttpServer.port(context.http)}, auth: {"ann", "p:w"}]
    proxy = start_supervised!({Proxy, options})
    url = "http://git.internal/origin.git"
    assert {output, 0} = ls_remote(context, url, Proxy.url(proxy, auth: {"ann", "p:w"}))
    assert output =~ context.commit

    for auth <- [nil, {"ann", "no"}] do
      assert {output, 128} = ls_remote(context, url, Proxy.url(proxy, auth: auth))
      assert output =~ "407" or output =~ "could not read Username"
    end

    assert [{"ann", "p:w"} | _] =
             for(%{answer: :ok} = entry <- Proxy.log(proxy), do: entry.credentials)

    assert %{answer: 407, credentials: {"ann", "no"}} = List.last(Proxy.log(proxy))

    refusing = start_supervised!({Proxy, refuse: 403})
    https = HttpServer.url(context.https, "origin.git")
    assert {output, 128} = ls_remote(context, https, Proxy.url(refusing))
    assert output =~ "403"

    tls = start_supervised!({Proxy, tls: context.certificate.tls})
    assert "https://localhost:" <> _ = Proxy.url(tls)
    assert {_output, 0} = ls_remote(context, https, Proxy.url(tls))
    assert [_ | _] = Proxy.log(tls)
  end

  test "SOCKS5: names and addresses, a password, refusals", context do
    proxy = start_supervised!({Proxy, kind: :socks5})
    url = HttpServer.url(context.http, "origin.git")
    assert {output, 0} = ls_remote(context, url, Proxy.url(proxy))
    assert output =~ context.commit
    https = HttpServer.url(context.https, "origin.git")
    assert {_output, 0} = ls_remote(context, https, Proxy.url(proxy, scheme: "socks5h"))

    assert ["127.0.0.1:" <> _, "localhost:" <> _] =
             proxy |> Proxy.log() |> Enum.map(& &1.target) |> Enum.dedup()

    guarded = start_supervised!({Proxy, kind: :socks5, auth: {"ann", "open"}})
    assert {_output, 0} = ls_remote(context, url, Proxy.url(guarded, auth: {"ann", "open"}))
    assert {_output, 128} = ls_remote(context, url, Proxy.url(guarded, auth: {"ann", "no"}))
    assert {_output, 128} = ls_remote(context, url, Proxy.url(guarded))
    assert [:ok, :refused, 255] = guarded |> Proxy.log() |> Enum.map(& &1.answer) |> Enum.dedup()

    refusing = start_supervised!({Proxy, kind: :socks5, refuse: 2})
    assert {_output, 128} = ls_remote(context, url, Proxy.url(refusing))
    {closed, _socket} = ScriptedTcp.refusing()
    assert {_output, 128} = ls_remote(context, "http://127.0.0.1:#{closed}/x.git", Proxy.url(proxy))
  end
end
