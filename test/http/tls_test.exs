defmodule Alumiini.Git.TlsTest do
  # Whom we trust, and who we say that we are.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.Proxy

  setup [:dir, :origin, :commit, :git]

  defp https!(context, tls), do: start_supervised!({HttpServer, root: context.dir, tls: tls})

  # `remote` is a server or a URL.
  defp sync_with(context, remote, options) do
    url = if is_binary(remote), do: remote, else: HttpServer.url(remote, "origin.git")
    {git, options} = Keyword.pop(options, :server, context.git)
    sync(%{context | git: git}, [url: url] ++ options)
  end

  defp assert_refused(context, server, options, words) do
    assert {:error, error} = sync_with(context, server, options)
    assert {:certificate, _} = {error.reason, error.message}
    refute error.retryable?
    for word <- words, do: assert(error.message =~ word)
    refute File.exists?(context.path)
    error
  end

  describe "an authority" do
    test "given with a call, with the credentials, or to the server", context do
      certificate = Certificates.build(:good)
      https = https!(context, certificate.tls)

      for options <- [
            [tls: [ca: certificate.ca]],
            [tls: %{ca: certificate.ca}],
            [auth: Auth.from_secret(%{"ca.crt" => certificate.ca})],
            [
              server:
                start_supervised!({Git, name: nil, tls: [ca: certificate.ca]}, id: :with_authority)
            ]
          ] do
        assert sync_with(context, https, options) == {:ok, context.commit}
        Oracle.assert_synced(context.path, context.origin, context.commit)
        TempDir.remove!(context.path)
      end
    end

    test "is taken as people have it: with a byte order mark, Windows' line ends, " <>
           "indentation, text around",
         context do
      certificate = Certificates.build(:good)
      https = https!(context, certificate.tls)
      lines = String.split(certificate.ca, "\n", trim: true)

      for ca <- [
            "\uFEFF" <> certificate.ca,
            Enum.join(lines, "\r\n"),
            Enum.map_join(lines, "\n", &("    " <> &1)),
            "Our authority\n\n" <> certificate.ca <> "\nuntil 2030\n"
          ] do
        assert sync_with(context, https, tls: [ca: ca]) == {:ok, context.commit}
        TempDir.remove!(context.path)
      end
    end

    # What people make by hand, and what Git takes.
    for {name, arguments} <- [
          plain: ~w(-subj /CN=localhost),
          with_names: ~w(-subj /CN=git -addext subjectAltName=DNS:localhost,DNS:other),
          no_authority: ~w(-subj /CN=localhost -addext basicConstraints=critical,CA:FALSE),
          no_authority_with_names:
            ~w(-subj /CN=git -addext basicConstraints=CA:FALSE -addext subjectAltName=DNS:localhost)
        ] do
      @arguments arguments

      test "may be the server's own certificate, self-signed (#{name})", context do
        {tls, pem} = self_signed!(context.dir, @arguments)
        https = https!(context, tls)
        url = String.replace(HttpServer.url(https, "origin.git"), "127.0.0.1", "localhost")
        ca = Path.join(context.dir, "own.pem")
        File.write!(ca, pem)
        git = ["-c", "http.sslCAInfo=#{ca}", "ls-remote", url]
        assert {_refs, 0} = GitCommand.run(git)

        assert sync_with(context, url, tls: [ca: pem]) == {:ok, context.commit}
        TempDir.remove!(context.path)
        # It is trusted for its own name, and itself only.
        elsewhere = String.replace(url, "localhost", "127.0.0.1")
        assert_refused(context, elsewhere, [tls: [ca: pem]], ["another host name"])
        {_tls, other} = self_signed!(context.dir, @arguments)
        assert_refused(context, url, [tls: [ca: other]], ["tls: [ca:"])
        assert_refused(context, url, [], ["tls: [ca:"])
      end
    end

    test "that is the server's own and has expired is refused", context do
      %{tls: tls, certificate: pem} = Certificates.build(:self_signed_expired)
      https = https!(context, tls)
      url = String.replace(HttpServer.url(https, "origin.git"), "127.0.0.1", "localhost")
      assert_refused(context, url, [tls: [ca: pem]], ["has expired"])
    end

    defp self_signed!(dir, arguments) do
      [key, cert] = for name <- ["own.key", "own.crt"], do: Path.join(dir, name)
      request = ~w(req -x509 -newkey rsa:2048 -nodes -keyout #{key} -out #{cert}) ++ arguments
      {_output, 0} = System.cmd("openssl", request, stderr_to_stdout: true)
      {[certfile: cert, keyfile: key] |> read(), File.read!(cert)}
    end

    # The server reads its files late; these are made anew.
    defp read(certfile: cert, keyfile: key) do
      [{:Certificate, der, _}] = :public_key.pem_decode(File.read!(cert))
      [{type, key, _}] = :public_key.pem_decode(File.read!(key))
      [cert: der, key: {type, key}]
    end

    test "among several is found", context do
      certificate = Certificates.build(:good)
      https = https!(context, certificate.tls)

      many =
        Certificates.build(:good).ca <>
          "# the right one\n" <> certificate.ca <> Certificates.build(:good).ca

      assert sync_with(context, https, tls: [ca: many]) == {:ok, context.commit}
    end

    test "that is not given, or another one, is not trusted", context do
      certificate = Certificates.build(:good)
      https = https!(context, certificate.tls)

      for options <- [
            [],
            [tls: []],
            [tls: [ca: Certificates.build(:good).ca]],
            [auth: Auth.from_secret(%{"ca.crt" => Certificates.build(:good).ca})]
          ] do
        assert_refused(context, https, options, [HttpServer.base_url(https)])
      end

      assert HttpServer.stats(https).requests == 0
    end

    test "is that of its own call only: a connection made with it serves no other", context do
      certificate = Certificates.build(:good)
      https = https!(context, certificate.tls)
      url = HttpServer.url(https, "origin.git")

      for _ <- 1..3 do
        assert {:ok, _commit} =
                 Git.ls_remote(url, "main", server: context.git, tls: [ca: certificate.ca])

        assert {:error, %Error{reason: :certificate}} =
                 Git.ls_remote(url, "main", server: context.git)
      end
    end

    test "that makes no sense is the caller's mistake", context do
      https = https!(context, Certificates.build(:good).tls)
      broken = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
      assert {:error, %Error{reason: :invalid}} = sync_with(context, https, tls: [ca: broken])
    end
  end

  describe "a certificate" do
    for {kind, words} <- [
          expired: ["expired"],
          not_yet_valid: ["not valid yet"],
          wrong_host: ["localhost"],
          self_signed: []
        ] do
      test "that is #{kind} is refused, and nothing is sent", context do
        certificate = Certificates.build(unquote(kind))
        https = https!(context, certificate.tls)
        words = [HttpServer.base_url(https) | unquote(words)]
        assert_refused(context, https, [tls: [ca: certificate.ca]], words)
        # With an authority that signs for the right host, everything else would do.
        assert_refused(context, https, [tls: [ca: Certificates.build(:good).ca]], [])
        assert HttpServer.stats(https).requests == 0
      end
    end

    test "is looked at behind a proxy, too", context do
      proxy = start_supervised!(Proxy)
      https = https!(context, Certificates.build(:good).tls)
      assert_refused(context, https, [proxy: Proxy.url(proxy)], [])
      assert [%{method: "CONNECT", answer: :ok} | _] = Proxy.log(proxy)
    end

    test "is looked at whatever the environment says", context do
      environment = %{"GIT_SSL_NO_VERIFY" => "1", "NODE_TLS_REJECT_UNAUTHORIZED" => "0"}
      binary = WrappedWorker.write!(context.dir, environment)
      server = start_supervised!({Git, name: nil, binary: binary}, id: :lax)
      https = https!(context, Certificates.build(:self_signed).tls)
      assert_refused(context, https, [server: server], [])
    end
  end

  test "TLS 1.2 and 1.3 are spoken, nothing older", context do
    certificate = Certificates.build(:good)

    for version <- [:"tlsv1.3", :"tlsv1.2"] do
      https = https!(context, [versions: [version]] ++ certificate.tls)
      assert sync_with(context, https, tls: [ca: certificate.ca]) == {:ok, context.commit}
    end

    https = https!(context, [versions: [:"tlsv1.1"]] ++ certificate.tls)
    # The server can do it, so that it is not for its sake that we do not.
    old = [versions: [:"tlsv1.1"], verify: :verify_none, log_level: :none]
    assert {:ok, _socket} = :ssl.connect(~c"localhost", HttpServer.port(https), old, 5_000)
    assert {:error, %Error{reason: reason}} = sync_with(context, https, tls: [ca: certificate.ca])
    assert reason in [:network, :certificate]
    assert HttpServer.stats(https).requests == 0
  end

  describe "a client certificate" do
    setup context do
      certificate = Certificates.build(:good)
      client = Certificates.client()
      wanted = [verify: :verify_peer, fail_if_no_peer_cert: true, cacerts: client.cacerts]

      servers =
        for version <- [:"tlsv1.3", :"tlsv1.2"] do
          https!(context, [versions: [version], log_level: :none] ++ certificate.tls ++ wanted)
        end

      %{ca: certificate.ca, client: client, servers: servers}
    end

    test "opens what requires one, given with a call or as Kubernetes has it", context do
      %{ca: ca, client: client} = context

      secret = %{"tls.crt" => client.cert, "tls.key" => client.key, "ca.crt" => ca}

      for https <- context.servers,
          options <- [
            [tls: [ca: ca, cert: client.cert, key: client.key]],
            [auth: Auth.from_secret(secret)],
            [tls: [ca: ca], auth: Auth.from_secret(Map.delete(secret, "ca.crt"))],
            [
              auth:
                Auth.from_secret(%{
                  "certFile" => client.cert,
                  "keyFile" => client.key,
                  "caFile" => ca
                })
            ]
          ] do
        assert sync_with(context, https, options) == {:ok, context.commit}
      end
    end

    test "and credentials go together", context do
      %{ca: ca, client: client, servers: [https | _]} = context
      HttpServer.rule(https, {:require, {:basic, "ann", "open sesame"}})
      secret = %{"tls.crt" => client.cert, "tls.key" => client.key, "ca.crt" => ca}

      assert {:error, %Error{reason: :auth}} =
               sync_with(context, https, auth: Auth.from_secret(secret))

      secret = Map.merge(secret, %{"username" => "ann", "password" => "open sesame"})
      assert sync_with(context, https, auth: Auth.from_secret(secret)) == {:ok, context.commit}
    end

    test "that is missing, or of an authority that the server does not know, opens nothing",
         context do
      %{ca: ca, servers: [newer, older]} = context
      other = Certificates.client()
      wrong = [ca: ca, cert: other.cert, key: other.key]

      for {https, tls} <- [{newer, [ca: ca]}, {newer, wrong}, {older, wrong}] do
        assert_refused(context, https, [tls: tls], [HttpServer.base_url(https)])
        assert HttpServer.stats(https).requests == 0
      end
    end

    test "that is missing, for a server of TLS 1.2",
         %{ca: ca, servers: [_newer, older]} = context do
      assert_refused(context, older, [tls: [ca: ca]], [HttpServer.base_url(older)])
    end

    test "is that of its own call only: a connection made with it serves no other", context do
      %{ca: ca, client: client, servers: [https | _]} = context
      url = HttpServer.url(https, "origin.git")

      for _ <- 1..3 do
        tls = [ca: ca, cert: client.cert, key: client.key]
        assert {:ok, _commit} = Git.ls_remote(url, "main", server: context.git, tls: tls)

        assert {:error, %Error{reason: :certificate}} =
                 Git.ls_remote(url, "main", server: context.git, tls: [ca: ca])
      end
    end

    # TLS options of a server that asks for a certificate, takes none, too, and tells the test which
    # it was shown.
    defp asks(certificate, client, who, version) do
      test = self()

      told = fn
        _certificate, {:bad_cert, reason}, _state -> {:fail, reason}
        _certificate, {:extension, _extension}, state -> {:unknown, state}
        _certificate, :valid, state -> {:valid, state}
        _certificate, :valid_peer, state -> send(test, {:shown_to, who}) && {:valid, state}
      end

      [
        verify: :verify_peer,
        fail_if_no_peer_cert: false,
        cacerts: client.cacerts,
        verify_fun: {told, nil}
      ] ++
        [versions: [version], log_level: :none] ++ certificate.tls
    end

    defp shown_to do
      receive do
        {:shown_to, who} -> [who | shown_to()]
      after
        0 -> []
      end
    end

    for version <- [:"tlsv1.3", :"tlsv1.2"] do
      test "is for the origin of the URL: not for where that redirects (#{version})", context do
        certificate = Certificates.build(:good)
        %{client: client} = context
        tls = [ca: certificate.ca, cert: client.cert, key: client.key]
        origin = https!(context, asks(certificate, client, :origin, unquote(version)))
        other = https!(context, asks(certificate, client, :other, unquote(version)))

        fresh = fn -> start_supervised!({Git, name: nil}, id: make_ref()) end
        ask = fn url -> Git.ls_remote(url, "main", server: fresh.(), tls: tls) end

        HttpServer.rule(origin, {:redirect, 302, "/origin.git"}, path: "old.git")
        assert ask.(HttpServer.url(origin, "old.git")) == {:ok, context.commit}
        assert Enum.uniq(shown_to()) == [:origin]

        # The same host name, and another port.
        HttpServer.rule(origin, {:redirect, 302, HttpServer.url(other, "origin.git")},
          path: "moved.git"
        )

        url = HttpServer.url(origin, "moved.git")
        assert ask.(url) == {:ok, context.commit}
        assert sync_with(context, url, server: fresh.(), tls: tls) == {:ok, context.commit}
        assert Enum.uniq(shown_to()) == [:origin]
        # It would have been seen.
        assert ask.(HttpServer.url(other, "origin.git")) == {:ok, context.commit}
        assert Enum.uniq(shown_to()) == [:other]

        # Another name of the very server.
        by_address = String.replace(HttpServer.url(other, "origin.git"), "localhost", "127.0.0.1")
        HttpServer.rule(origin, {:redirect, 302, by_address}, path: "address.git")
        assert ask.(HttpServer.url(origin, "address.git")) == {:ok, context.commit}
        assert Enum.uniq(shown_to()) == [:origin]
      end

      test "is for the origin of the URL: not for a proxy on the way (#{version})", context do
        certificate = Certificates.build(:good)
        %{client: client} = context
        tls = [ca: certificate.ca, cert: client.cert, key: client.key]
        origin = https!(context, asks(certificate, client, :origin, unquote(version)))
        proxy = start_supervised!({Proxy, tls: asks(certificate, client, :proxy, unquote(version))})
        options = [server: context.git, tls: tls, proxy: Proxy.url(proxy)]

        # Both have one name: it is not by that that they are told apart. And again, when all know
        # each other.
        for _ <- 1..3 do
          git = start_supervised!({Git, name: nil}, id: make_ref())

          for server <- [git, context.git] do
            options = [server: server] ++ options

            assert {:ok, _commit} =
                     Git.ls_remote(HttpServer.url(origin, "origin.git"), "main", options)
          end
        end

        assert Enum.uniq(shown_to()) == [:origin]

        http = start_supervised!({HttpServer, root: context.dir})
        assert {:ok, _commit} = Git.ls_remote(HttpServer.url(http, "origin.git"), "main", options)
        assert [_ | _] = for(%{method: "GET"} = asked <- Proxy.log(proxy), do: asked)
        assert shown_to() == []
      end
    end

    test "with another one's key is the caller's mistake", context do
      %{ca: ca, client: client, servers: [https | _]} = context
      tls = [ca: ca, cert: client.cert, key: Certificates.client().key]
      assert {:error, %Error{reason: :invalid}} = sync_with(context, https, tls: tls)
    end
  end
end
