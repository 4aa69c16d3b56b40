defmodule Alumiini.Git.SecretsRemoteTest do
  # What opens a way to a remote, and is then looked for in all that was printed, told or stored:
  # keys of SSH, their passphrases, keys of TLS, passwords of proxies. Beside SecretsEndToEndTest,
  # which is about passwords and tokens. Not async: the logger and the events of the whole VM are
  # watched.
  use Alumiini.Git.Test.SecretCase, async: false

  alias Alumiini.Git.Test.{Proxy, Relay, SshKeys, SshServer}

  @moduletag timeout: 120_000

  setup [
    :dir,
    :origin,
    :large_commit,
    :work,
    :keys,
    :own_stderr,
    :secret,
    :git_of_binary,
    :recorder
  ]

  defp large_commit(context) do
    files = %{"a.yaml" => "a: 1\n", "b" => :crypto.strong_rand_bytes(100_000)}
    %{commit: Repository.commit!(context.origin, files)}
  end

  defp keys(context) do
    keys = Path.join(context.dir, "keys")
    File.mkdir!(keys)
    %{keys: keys}
  end

  defp git_of_binary(context) do
    %{git: start_supervised!({Git, name: nil, binary: context.binary})}
  end

  # The lines of a key in PEM or in OpenSSH's format that are its secret, each as a text to look
  # for.
  defp lines_of(pem) do
    for line <- String.split(pem, "\n"),
        byte_size(line) >= 40,
        not String.starts_with?(line, "-----"),
        do: line
  end

  # The first lines of such a file are of its public half.
  defp secret_lines(key) do
    lines = lines_of(key.private)
    Enum.drop(lines, div(length(lines), 2))
  end

  # A sync and what comes after it, with everything taken down that can be seen of it.
  defp run(context, name, url, options, expected) do
    %{recorder: recorder, git: git} = context
    path = Path.join(context.work, "#{System.unique_integer([:positive])}")
    options = [server: git] ++ options
    os_pid = Server.info(git).os_pid

    for {what, call} <- [
          {"sync", fn -> Git.sync(url, "main", path, options) end},
          {"again", fn -> Git.sync(url, "main", path, options) end},
          {"ls_remote", fn -> Git.ls_remote(url, "main", options) end},
          {"refs", fn -> Git.refs(url, options) end}
        ] do
      result = LeakRecorder.note(recorder, "#{name}: #{what}", call.())
      assert {name, what, reason(result)} == {name, what, expected}
      LeakRecorder.note(recorder, "#{name}: process", OsProcess.visible_strings(os_pid))
    end

    LeakRecorder.note(recorder, "state", :sys.get_state(git))
    LeakRecorder.note(recorder, "status", :sys.get_status(git))
    LeakRecorder.note_process(recorder, "server", git)
  end

  defp assert_nowhere(context, secrets) do
    %{recorder: recorder} = context
    stop_supervised!(Git)
    files = LeakRecorder.note_files(recorder, context.work)
    assert Enum.any?(files, &String.ends_with?(&1, ".git/config"))
    LeakRecorder.note_files(recorder, context.tmp)

    note_stderr(recorder, context.stderr)

    assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :sync, :stop]")
    assert [_ | _] = LeakRecorder.notes(recorder, "log")
    # They would be seen if they were there.
    LeakRecorder.note(recorder, "on purpose", hd(secrets))
    assert [{"on purpose", _} | _] = LeakRecorder.places(recorder, hd(secrets))

    for secret <- secrets do
      assert Enum.reject(LeakRecorder.places(recorder, secret), &match?({"on purpose", _}, &1)) ==
               []
    end
  end

  test "a key of SSH and its passphrase, whatever became of the call", context do
    passphrase = context.secret
    key = SshKeys.generate!(context.keys, :ed25519)
    pem = SshKeys.generate!(context.keys, {:rsa, 2048}, format: :pem)
    locked = SshKeys.generate!(context.keys, :ed25519, passphrase: passphrase)
    other = SshKeys.generate!(context.keys, :ed25519)
    stranger = SshKeys.generate!(context.keys, :ed25519)
    # Supervisors report how they start whom, and that is no business of ours.
    authorized = for key <- [key, pem, locked], do: %{key | private: "not here"}
    server = start_supervised!({SshServer, dir: context.dir, authorized: authorized})
    relay = start_supervised!({Relay, to: SshServer.port(server)})
    known = SshServer.known_hosts(server)
    url = SshServer.url(server, context.origin)
    auth = fn key, options -> [auth: Auth.ssh_key(key.private, options ++ [known_hosts: known])] end

    run(context, "key", url, auth.(key, []), :ok)
    run(context, "PEM", url, auth.(pem, []), :ok)
    run(context, "passphrase", url, auth.(locked, passphrase: passphrase), :ok)
    secret = %{"identity" => locked.private, "password" => passphrase, "known_hosts" => known}
    run(context, "secret", url, [auth: Auth.from_secret(secret)], :ok)

    run(context, "wrong key", url, auth.(other, []), :auth)
    run(context, "wrong passphrase", url, auth.(locked, passphrase: passphrase <> "x"), :auth)
    run(context, "no passphrase", url, auth.(locked, []), :auth)

    run(
      context,
      "wrong user",
      SshServer.url(server, context.origin, user: "nobody"),
      auth.(key, []),
      :auth
    )

    unknown = SshKeys.known_hosts("127.0.0.1", SshServer.port(server), [stranger])

    run(
      context,
      "wrong host",
      url,
      [auth: Auth.ssh_key(key.private, known_hosts: unknown)],
      :host_key
    )

    [_first | rest] = String.split(key.private, "\n")
    broken = %{private: Enum.join(["-----BEGIN RSA PRIVATE KEY-----" | rest], "\n")}
    run(context, "broken", url, auth.(broken, passphrase: passphrase), :invalid)
    Relay.stall_after(relay, 1_500)

    stalled = [
      known_hosts: SshServer.known_hosts(server, port: Relay.port(relay)),
      passphrase: passphrase
    ]

    slow = SshServer.url(server, context.origin, port: Relay.port(relay))
    run(context, "stalled", slow, auth.(locked, stalled) ++ [timeout: 300], :timeout)

    run(
      context,
      "http",
      "https://127.0.0.1:1/origin.git",
      auth.(locked, passphrase: passphrase),
      :invalid
    )

    # The agent has keys, and we never do.
    socket = SshKeys.agent!(context.keys, [key])
    run(context, "agent", url, [auth: Auth.ssh_agent(socket: socket, known_hosts: known)], :ok)

    secrets = [passphrase] ++ Enum.flat_map([key, pem, locked], &secret_lines/1)
    assert length(secrets) > 12
    assert_nowhere(context, secrets)
  end

  test "a key of TLS, whatever became of the call", context do
    certificate = Certificates.build(:good)
    client = Certificates.client()

    wanted = [
      verify: :verify_peer,
      fail_if_no_peer_cert: true,
      cacerts: client.cacerts,
      log_level: :none
    ]

    https = start_supervised!({HttpServer, root: context.dir, tls: certificate.tls ++ wanted})
    url = HttpServer.url(https, "origin.git")
    pair = [cert: client.cert, key: client.key]

    run(context, "tls", url, [tls: [ca: certificate.ca] ++ pair], :ok)
    secret = %{"tls.crt" => client.cert, "tls.key" => client.key, "ca.crt" => certificate.ca}
    run(context, "secret", url, [auth: Auth.from_secret(secret)], :ok)
    run(context, "no authority", url, [tls: pair], :certificate)

    run(
      context,
      "other certificate",
      url,
      [tls: [cert: Certificates.client().cert, key: client.key]],
      :invalid
    )

    broken = String.replace(client.key, "EC PRIVATE KEY", "PRIVATE KEY")

    run(
      context,
      "broken",
      url,
      [tls: [ca: certificate.ca, cert: client.cert, key: broken]],
      :invalid
    )

    swapped = [ca: certificate.ca, cert: client.key, key: client.cert]
    run(context, "swapped", url, [tls: swapped], :invalid)

    [secret | _] = lines_of(client.key)
    assert_nowhere(context, [secret])
  end

  test "the password of a proxy, whatever became of the call", context do
    password = context.secret
    http = start_supervised!({HttpServer, root: context.dir})
    certificate = Certificates.build(:good)

    https =
      start_supervised!({HttpServer, root: context.dir, tls: certificate.tls ++ [log_level: :none]})

    tls = [tls: [ca: certificate.ca]]

    for kind <- [:http, :socks5] do
      # Without a supervisor, which would report how it starts them.
      {:ok, open} = Proxy.start_link(kind: kind, auth: {"ann", password})
      refuse = if kind == :http, do: 502, else: 5
      {:ok, refusing} = Proxy.start_link(kind: kind, auth: {"ann", password}, refuse: refuse)

      for server <- [http, https] do
        url = HttpServer.url(server, "origin.git")
        through = fn proxy, auth -> [proxy: Proxy.url(proxy, auth: auth)] ++ tls end
        run(context, "#{kind}", url, through.(open, {"ann", password}), :ok)
        run(context, "#{kind}, wrong", url, through.(open, {"ann", password <> "x"}), :auth)
        run(context, "#{kind}, refused", url, through.(refusing, {"ann", password}), :network)
      end

      {:ok, with_tls} =
        Proxy.start_link(tls: certificate.tls ++ [log_level: :none], auth: {"ann", password})

      untrusted = [proxy: Proxy.url(with_tls, auth: {"ann", password})]
      run(context, "untrusted", HttpServer.url(https, "origin.git"), untrusted, :certificate)
      refute Proxy.bytes_seen(with_tls) =~ password
    end

    for server <- [http, https], entry <- HttpServer.log(server) do
      LeakRecorder.note(context.recorder, "what the server was sent", entry)
    end

    assert_nowhere(context, [password])
  end
end
