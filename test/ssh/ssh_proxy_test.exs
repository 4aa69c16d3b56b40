defmodule Alumiini.Git.SshProxyTest do
  # A real sshd behind a proxy, which is how companies let SSH out.
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Test.{Certificates, Daemon, Proxy, ScriptedTcp, Tinyproxy}

  @moduletag timeout: 120_000
  @password "p:@/%ä #?"

  setup [:dir, :origin, :commit, :key, :sshd, :git]

  setup context do
    %{at: "127.0.0.1:#{SshServer.port(context.sshd)}"}
  end

  defp options(context, options),
    do: Keyword.merge([server: context.git, auth: context.auth], options)

  defp ask(context, options), do: ask(context, context.url, options)
  defp ask(context, url, options), do: Git.ls_remote(url, "main", options(context, options))

  # A clone, something new, and nothing new.
  defp assert_syncs(context, url, options) do
    path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")
    first = Repository.rev_parse!(context.origin, "main")
    assert Git.sync(url, "main", path, options(context, options)) == {:ok, first}
    new = Repository.commit!(context.origin, %{"new.yaml" => "#{System.unique_integer()}\n"})
    for _ <- 1..3, do: assert(Git.sync(url, "main", path, options(context, options)) == {:ok, new})
    Oracle.assert_synced(path, context.origin, new)
  end

  defp asked(proxy), do: for(entry <- Proxy.log(proxy), do: {entry.method, entry.target})

  # As many as went there through the proxy, and no others.
  defp assert_only_through(context, proxy, connections) do
    assert length(Proxy.log(proxy)) == connections
    assert SshServer.count(context.sshd, :connections) == connections
  end

  # {kind, scheme}
  @ways [http: "http", socks5: "socks5", socks5: "socks5h"]

  for {kind, scheme} <- @ways do
    describe "#{scheme}://" do
      @describetag kind: kind, scheme: scheme

      test "is the way of a clone and of the polls after it, on connections that are kept",
           context do
        proxy = start_supervised!({Proxy, kind: context.kind})

        for _ <- 1..2,
            do: assert_syncs(context, context.url, proxy: Proxy.url(proxy, scheme: context.scheme))

        method = if context.kind == :http, do: "CONNECT", else: :socks5
        assert Enum.uniq(asked(proxy)) == [{method, context.at}]
        # A pack may have one for itself.
        connections = length(Proxy.log(proxy))
        assert connections in 1..2
        assert_only_through(context, proxy, connections)

        # One that is dropped is made again on the same way.
        SshServer.drop(context.sshd)
        assert {:ok, _commit} = ask(context, proxy: Proxy.url(proxy, scheme: context.scheme))
        assert_only_through(context, proxy, connections + 1)
      end

      test "with a password: the right one, a wrong one, and none", context do
        proxy = start_supervised!({Proxy, kind: context.kind, auth: {"ann", @password}})
        right = Proxy.url(proxy, scheme: context.scheme, auth: {"ann", @password})
        assert_syncs(context, context.url, proxy: right)
        reached = SshServer.count(context.sshd, :connections)

        for wrong <- [nil, {"ann", "s3cr3tofproxy"}] do
          url = Proxy.url(proxy, scheme: context.scheme, auth: wrong)

          error =
            assert_refused(ask(context, proxy: url), :auth, [
              "the proxy #{Proxy.url(proxy, scheme: context.scheme)} "
            ])

          refute error.retryable?
          refute inspect(error) =~ "s3cr3tofproxy"
          assert error.detail.url == context.url
        end

        assert SshServer.count(context.sshd, :connections) == reached
      end

      test "that does not connect says so, and nobody is let in elsewhere", context do
        refusals = if context.kind == :http, do: [403, 502, 503], else: [1, 2, 5]

        for refusal <- refusals do
          proxy = start_supervised!({Proxy, kind: context.kind, refuse: refusal})
          url = Proxy.url(proxy, scheme: context.scheme)
          error = assert_refused(ask(context, proxy: url), :network, ["the proxy #{url} "])
          assert error.retryable?
          assert Enum.uniq(for entry <- Proxy.log(proxy), do: entry.answer) == [refusal]
        end

        assert SshServer.count(context.sshd, :connections) == 0
      end

      test "may pass on what the server says first together with its own answer", context do
        proxy = start_supervised!({Proxy, kind: context.kind, after_server: true})
        options = [proxy: Proxy.url(proxy, scheme: context.scheme), timeout: 20_000]
        assert ask(context, options) == {:ok, context.commit}
      end

      test "that is not there, and that answers nothing", context do
        {port, _socket} = ScriptedTcp.refusing()
        gone = ask(context, proxy: "#{context.scheme}://127.0.0.1:#{port}")
        error = assert_refused(gone, :network, ["127.0.0.1:#{port}", "proxy"])
        assert error.retryable?

        {:ok, peer} = ScriptedTcp.start_link([:hold])
        silent = "#{context.scheme}://127.0.0.1:#{ScriptedTcp.port(peer)}"
        assert_refused(ask(context, proxy: silent, timeout: 300), :timeout, [])
        assert_receive {ScriptedTcp, ^peer, :accepted}
        assert_receive {ScriptedTcp, ^peer, {:closed, 1}}, 5_000
        assert SshServer.count(context.sshd, :connections) == 0
      end
    end
  end

  test "names are for the proxy to resolve, but with socks5://", context do
    user = SshServer.user()

    auth =
      Auth.ssh_key(context.key.private,
        known_hosts: SshServer.known_hosts(context.sshd, host: "git.internal", port: 22)
      )

    hosts = %{"git.internal" => SshServer.port(context.sshd)}

    for {kind, scheme} <- @ways,
        url <- [
          "ssh://#{user}@git.internal#{context.origin}",
          "#{user}@git.internal:#{context.origin}"
        ] do
      proxy = start_supervised!({Proxy, kind: kind, hosts: hosts})
      options = [auth: auth, proxy: Proxy.url(proxy, scheme: scheme)]

      if scheme == "socks5" do
        assert_refused(ask(context, url, options), :network, ["git.internal"])
        assert Proxy.log(proxy) == []
      else
        assert_syncs(context, url, options)
        assert [{_method, "git.internal:22"}] = Enum.uniq(asked(proxy))
      end
    end
  end

  test "a host key is the server's whatever the way, under the name of the URL", context do
    for {kind, scheme} <- @ways do
      proxy = start_supervised!({Proxy, kind: kind})

      options = [
        proxy: Proxy.url(proxy, scheme: scheme),
        auth: Auth.ssh_key(context.key.private, known_hosts: "")
      ]

      error =
        assert_refused(ask(context, options), :host_key, [
          SshKeys.fingerprint(hd(SshServer.host_keys(context.sshd)))
        ])

      assert error.detail.line == String.trim(SshServer.known_hosts(context.sshd))
    end

    assert SshServer.count(context.sshd, :accepted) == 0
  end

  test "no_proxy and :none are another way, with connections of its own", context do
    proxy = start_supervised!(Proxy)
    git = start_supervised!({Git, name: nil, proxy: Proxy.url(proxy)}, id: :with_proxy)
    context = %{context | git: git}
    assert {:ok, _commit} = ask(context, [])
    assert_only_through(context, proxy, 1)

    for options <- [
          [proxy: :none],
          [no_proxy: "127.0.0.1"],
          [no_proxy: "10.0.0.0/8, 127.0.0.0/8"],
          [no_proxy: "*"]
        ] do
      assert ask(context, options) == {:ok, context.commit}
    end

    # The first made a connection, which served the others.
    assert {length(Proxy.log(proxy)), SshServer.count(context.sshd, :connections)} == {1, 2}

    for no_proxy <- ["127.0.0.2", "10.0.0.0/8", "localhost"],
        do: assert({:ok, _} = ask(context, no_proxy: no_proxy))

    assert {length(Proxy.log(proxy)), SshServer.count(context.sshd, :connections)} == {1, 2}

    # Nobody listens there: who is reached was reached without.
    {port, _socket} = ScriptedTcp.refusing()
    dead = "http://127.0.0.1:#{port}"
    assert_syncs(context, context.url, proxy: dead, no_proxy: "127.0.0.1")
    assert_refused(ask(context, proxy: dead, no_proxy: "127.0.0.2"), :network, ["proxy"])
  end

  test "tinyproxy, with a password", context do
    {daemon, proxy} = Tinyproxy.start!(context.dir, auth: {"ann", "open"})
    assert_syncs(context, context.url, proxy: String.replace(proxy, "://", "://ann:open@"))
    assert Daemon.count(daemon, ~r/CONNECT #{Regex.escape(context.at)}/) > 0
    reached = SshServer.count(context.sshd, :connections)

    assert_refused(ask(context, proxy: proxy), :auth, [
      "the proxy #{proxy} asks for credentials"
    ])

    # What it answers then is not what is meant for that (it is 401), and no reason for us to be
    # sure.
    wrong = String.replace(proxy, "://", "://ann:s3cr3tofproxy@")

    error =
      assert_refused(ask(context, proxy: wrong), :network, [
        "the proxy #{proxy} ",
        "its credentials"
      ])

    refute inspect(error) =~ "s3cr3tofproxy"
    assert SshServer.count(context.sshd, :connections) == reached
  end

  test "a proxy that speaks TLS is said to be none for SSH", context do
    proxy =
      start_supervised!({Proxy, tls: Certificates.build(:good).tls, auth: {"ann", "s3cr3tofproxy"}})

    options = [proxy: Proxy.url(proxy, auth: {"ann", "s3cr3tofproxy"})]
    error = assert_refused(ask(context, options), :unsupported, ["https://", "socks5://"])
    refute inspect(error) =~ "s3cr3tofproxy"
    assert {Proxy.bytes_seen(proxy), SshServer.count(context.sshd, :connections)} == {"", 0}
  end
end
