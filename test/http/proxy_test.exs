defmodule Alumiini.Git.ProxyTest do
  # Ways to a remote that lead through somebody else.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{Daemon, LeakRecorder, Proxy, ScriptedTcp, Tinyproxy}

  setup [:dir, :origin, :commit, :certificate, :http, :https, :git]

  defp options(context, options) do
    Keyword.merge([server: context.git, tls: [ca: context.certificate.ca]], options)
  end

  defp ls_remote(context, url, options), do: Git.ls_remote(url, "main", options(context, options))

  defp urls(context), do: [context.url, context.https_url]

  # A clone, something new, and nothing new.
  defp assert_syncs(context, url, options) do
    path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")
    first = Repository.rev_parse!(context.origin, "main")
    assert Git.sync(url, "main", path, options(context, options)) == {:ok, first}
    new = Repository.commit!(context.origin, %{"new.yaml" => "#{System.unique_integer()}\n"})
    for _ <- 1..2, do: assert(Git.sync(url, "main", path, options(context, options)) == {:ok, new})
    Oracle.assert_synced(path, context.origin, new)
  end

  defp targets(proxy), do: proxy |> Proxy.log() |> Enum.map(& &1.target) |> Enum.uniq()

  describe "an HTTP proxy" do
    test "is asked for whole URLs with http, and for a way through with https", context do
      proxy = start_supervised!(Proxy)
      for url <- urls(context), do: assert_syncs(context, url, proxy: Proxy.url(proxy))
      http = context.url
      https = "localhost:#{HttpServer.port(context.https)}"

      for %{method: method, target: target} <- Proxy.log(proxy) do
        assert (method in ["GET", "POST"] and String.starts_with?(target, http <> "/")) or
                 {method, target} == {"CONNECT", https}
      end

      assert https in targets(proxy)
    end

    test "resolves the names that only it knows", context do
      proxy = start_supervised!({Proxy, hosts: %{"git.internal" => HttpServer.port(context.http)}})
      url = "http://git.internal/origin.git"
      assert ls_remote(context, url, proxy: Proxy.url(proxy)) == {:ok, context.commit}
      assert {:error, %Error{reason: :network}} = ls_remote(context, url, [])
    end

    test "with a password: the right one, a wrong one, and none", context do
      auth = {"ann", "p:@/%ä #?"}
      proxy = start_supervised!({Proxy, auth: {"ann", "p:@/%ä #?"}})

      for url <- urls(context) do
        assert_syncs(context, url, proxy: Proxy.url(proxy, auth: auth))

        for wrong <- [nil, {"ann", "open"}] do
          assert {:error, %Error{reason: :auth, retryable?: false} = error} =
                   ls_remote(context, url, proxy: Proxy.url(proxy, auth: wrong))

          assert error.message =~ "proxy"
          refute inspect(error) =~ "open"
        end
      end
    end

    test "that speaks TLS itself", context do
      proxy = start_supervised!({Proxy, tls: context.certificate.tls, auth: {"ann", "open"}})

      for url <- urls(context),
          do: assert_syncs(context, url, proxy: Proxy.url(proxy, auth: {"ann", "open"}))

      assert [_ | _] = Proxy.log(proxy)

      # Nothing is said to one whose certificate is not trusted, least of all a password.
      seen = length(Proxy.log(proxy))

      for url <- urls(context) do
        assert {:error, %Error{reason: :certificate}} =
                 ls_remote(context, url, proxy: Proxy.url(proxy, auth: {"ann", "open"}), tls: [])
      end

      assert length(Proxy.log(proxy)) == seen
    end

    test "that refuses to connect", context do
      for status <- [403, 502] do
        proxy = start_supervised!({Proxy, refuse: status})
        url = context.https_url
        assert {:error, %Error{} = error} = ls_remote(context, url, proxy: Proxy.url(proxy))
        assert {:network, _} = {error.reason, error.message}
        assert error.message =~ "the proxy #{Proxy.url(proxy)} did not make the connection"
        assert [%{method: "CONNECT", answer: ^status} | _] = Proxy.log(proxy)
      end

      assert HttpServer.stats(context.https).connections == 0
    end

    test "that is not there", context do
      {port, _socket} = ScriptedTcp.refusing()

      for scheme <- ["http", "https", "socks5", "socks5h"], url <- urls(context) do
        proxy = "#{scheme}://127.0.0.1:#{port}"
        assert {:error, %Error{} = error} = ls_remote(context, url, proxy: proxy)
        assert {:network, _} = {error.reason, error.message}
        assert error.retryable?
        assert error.message =~ "127.0.0.1:#{port}"
      end

      for server <- [context.http, context.https],
          do: assert(HttpServer.stats(server).connections == 0)
    end

    test "that answers nothing: the deadline holds, and its connection ends", context do
      for scheme <- ["http", "https", "socks5h"], url <- urls(context) do
        {:ok, peer} = ScriptedTcp.start_link([:hold])
        proxy = "#{scheme}://127.0.0.1:#{ScriptedTcp.port(peer)}"

        assert {:error, %Error{reason: :timeout}} =
                 ls_remote(context, url, proxy: proxy, timeout: 300)

        assert_receive {ScriptedTcp, ^peer, :accepted}
        assert_receive {ScriptedTcp, ^peer, {:closed, 1}}, 5_000
      end
    end

    test "tinyproxy, with a password", context do
      {daemon, proxy} = Tinyproxy.start!(context.dir, auth: {"ann", "open"})

      for url <- urls(context) do
        assert_syncs(context, url, proxy: String.replace(proxy, "://", "://ann:open@"))
        assert {:error, %Error{reason: :auth}} = ls_remote(context, url, proxy: proxy)
      end

      assert Daemon.count(daemon, ~r/CONNECT localhost:/) > 0
    end
  end

  describe "a SOCKS proxy" do
    test "is given addresses with socks5, and names with socks5h", context do
      proxy =
        start_supervised!(
          {Proxy, kind: :socks5, hosts: %{"git.internal" => HttpServer.port(context.http)}}
        )

      http = HttpServer.port(context.http)
      https = HttpServer.port(context.https)

      for url <- urls(context), do: assert_syncs(context, url, proxy: Proxy.url(proxy))
      assert "127.0.0.1:#{http}" in targets(proxy)
      refute Enum.any?(targets(proxy), &(&1 =~ "localhost"))

      by_name = Proxy.url(proxy, scheme: "socks5h")
      for url <- urls(context), do: assert_syncs(context, url, proxy: by_name)
      assert "localhost:#{https}" in targets(proxy)
      url = "http://git.internal/origin.git"
      assert {:ok, _commit} = ls_remote(context, url, proxy: by_name)
      assert {:error, %Error{reason: :network}} = ls_remote(context, url, proxy: Proxy.url(proxy))
    end

    test "with a password: the right one, a wrong one, and none", context do
      proxy = start_supervised!({Proxy, kind: :socks5, auth: {"ann", "p:@/%ä #?"}})

      for url <- urls(context), scheme <- ["socks5", "socks5h"] do
        right = Proxy.url(proxy, scheme: scheme, auth: {"ann", "p:@/%ä #?"})
        assert_syncs(context, url, proxy: right)

        for wrong <- [nil, {"ann", "open"}] do
          assert {:error, %Error{} = error} =
                   ls_remote(context, url, proxy: Proxy.url(proxy, scheme: scheme, auth: wrong))

          assert {:auth, _} = {error.reason, error.message}
          assert error.message =~ "proxy"
        end
      end
    end

    test "that refuses", context do
      # Not allowed by the ruleset; connection refused.
      for code <- [2, 5], url <- urls(context) do
        proxy = start_supervised!({Proxy, kind: :socks5, refuse: code})
        assert {:error, %Error{} = error} = ls_remote(context, url, proxy: Proxy.url(proxy))
        assert {:network, _} = {error.reason, error.message}
        assert [%{answer: ^code} | _] = Proxy.log(proxy)
      end
    end
  end

  describe "whether there is one" do
    test "is for a call to say, and else for the server", context do
      proxy = start_supervised!({Proxy, kind: :http})
      other = start_supervised!({Proxy, kind: :http})
      git = start_supervised!({Git, name: nil, proxy: Proxy.url(proxy)}, id: :with_proxy)
      url = context.url
      call = fn options -> ls_remote(context, url, [server: git] ++ options) end

      assert {:ok, _commit} = call.([])
      asked = length(Proxy.log(proxy))
      assert asked > 0

      assert {:ok, _commit} = call.(proxy: :none)
      assert {:ok, _commit} = call.(proxy: Proxy.url(other))
      assert {:ok, _commit} = call.(no_proxy: "127.0.0.1")
      assert length(Proxy.log(proxy)) == asked
      assert [_ | _] = Proxy.log(other)
    end

    test "is for no_proxy to say, by names, addresses and ranges", context do
      # Nobody listens at the proxy: whoever is reached was reached without.
      {port, _socket} = ScriptedTcp.refusing()
      proxy = "http://127.0.0.1:#{port}"
      http = context.url
      https = context.https_url

      for {url, direct, through} <- [
            {http, ["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8, 127.0.0.1", "a.example,*"],
             ["", "127.0.0.2", "10.0.0.0/8", "localhost", "0.1", "example.com"]},
            {https, ["localhost", "LOCALHOST", "a.example, localhost", ".localhost"],
             ["host", "calhost", "localhost.example", "b.localhost", "10.0.0.0/8"]}
          ] do
        for no_proxy <- direct do
          assert {no_proxy, {:ok, context.commit}} ==
                   {no_proxy, ls_remote(context, url, proxy: proxy, no_proxy: no_proxy)}
        end

        for no_proxy <- through do
          assert {^no_proxy, {:error, %Error{reason: :network}}} =
                   {no_proxy, ls_remote(context, url, proxy: proxy, no_proxy: no_proxy)}
        end
      end

      # All below a name: without the proxy nobody knows the host, with it nobody answers.
      live =
        start_supervised!({Proxy, hosts: %{"git.team.internal" => HttpServer.port(context.http)}})

      url = "http://git.team.internal/origin.git"

      for no_proxy <- ["internal", ".internal", "team.internal", "git.team.internal"] do
        result = ls_remote(context, url, proxy: Proxy.url(live), no_proxy: no_proxy)
        assert {^no_proxy, {:error, %Error{reason: :network}}} = {no_proxy, result}
      end

      assert Proxy.log(live) == []

      for no_proxy <- ["team", "git.internal", "m.internal"] do
        assert {:ok, _commit} = ls_remote(context, url, proxy: Proxy.url(live), no_proxy: no_proxy)
      end
    end
  end

  test "no_proxy of * is for all hosts", context do
    {port, _socket} = ScriptedTcp.refusing()
    options = [proxy: "http://127.0.0.1:#{port}", no_proxy: "*"]
    for url <- urls(context), do: assert(ls_remote(context, url, options) == {:ok, context.commit})
  end

  test "the repository's credentials are not for the proxy, nor the proxy's for the repository",
       context do
    %{https: https, http: http} = context
    {ours, theirs} = {"s3cr3tofrepository", "s3cr3tofproxy"}
    for server <- [https, http], do: HttpServer.rule(server, {:require, {:basic, "ann", ours}})

    for kind <- [:http, :socks5] do
      proxy = start_supervised!({Proxy, kind: kind, auth: {"eve", theirs}})
      way = [proxy: Proxy.url(proxy, auth: {"eve", theirs})]

      assert_syncs(
        context,
        HttpServer.url(https, "origin.git"),
        [auth: Auth.basic("ann", ours)] ++ way
      )

      url = String.replace(HttpServer.url(https, "origin.git"), "://", "://ann:#{ours}@")
      assert_syncs(context, url, way)

      # Also not where the repository wants some and got none.
      assert {:error, %Error{reason: :auth}} =
               ls_remote(
                 context,
                 HttpServer.url(https, "origin.git"),
                 [auth: Auth.basic("a", "b")] ++ way
               )

      seen = Proxy.bytes_seen(proxy)
      for form <- LeakRecorder.forms(ours), do: assert(:binary.match(seen, form) == :nomatch)
      assert Enum.all?(Proxy.log(proxy), &(&1.credentials == {"eve", theirs}))
    end

    insecure = [auth: Auth.basic("ann", ours), allow_insecure: true]
    proxy = start_supervised!({Proxy, kind: :http, auth: {"eve", theirs}})
    way = [proxy: Proxy.url(proxy, auth: {"eve", theirs})]
    assert_syncs(context, HttpServer.url(http, "origin.git"), insecure ++ way)

    for server <- [https, http],
        entry <- HttpServer.log(server),
        form <- LeakRecorder.forms(theirs) do
      assert :binary.match(inspect(entry, limit: :infinity, printable_limit: :infinity), form) ==
               :nomatch
    end
  end
end
