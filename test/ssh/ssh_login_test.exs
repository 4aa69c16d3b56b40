defmodule Alumiini.Git.SshLoginTest do
  # A real sshd: who may log in, and with what.
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Test.HttpServer

  @moduletag timeout: 120_000

  # {type, format}; OpenSSH itself writes ed25519 keys in no other format.
  @forms [
    {:ed25519, :openssh},
    {:ed25519, :pkcs8},
    {{:ecdsa, 256}, :openssh},
    {{:ecdsa, 256}, :pem},
    {{:ecdsa, 256}, :pkcs8},
    {{:ecdsa, 384}, :openssh},
    {{:ecdsa, 384}, :pem},
    {{:ecdsa, 384}, :pkcs8},
    {{:ecdsa, 521}, :openssh},
    {{:ecdsa, 521}, :pem},
    {{:ecdsa, 521}, :pkcs8},
    {{:rsa, 2048}, :openssh},
    {{:rsa, 2048}, :pem},
    {{:rsa, 3072}, :pkcs8}
  ]

  setup_all do
    dir = TempDir.create!("ssh-keys")

    keys =
      for {type, format} = form <- @forms, do: {form, SshKeys.generate!(dir, type, format: format)}

    %{keys: Map.new(keys), key: keys |> hd() |> elem(1), other: SshKeys.generate!(dir, :ed25519)}
  end

  setup [:dir, :origin, :long_history, :commit, :git]

  defp long_history(context) do
    Repository.history!(context.origin, 30)
    :ok
  end

  describe "a key" do
    for {type, format} = form <- @forms do
      test "of type #{inspect(type)}, as #{format}", context do
        key = context.keys[unquote(Macro.escape(form))]
        server = sshd!(context, authorized: [key])
        assert ls_remote(context, server, auth(server, key)) == {:ok, context.commit}
        # With lines ended as on Windows, with space around, and without a line's end.
        crlf = %{key | private: String.replace(key.private, "\n", "\r\n")}
        assert ls_remote(context, server, auth(server, crlf)) == {:ok, context.commit}
        padded = %{key | private: "\n" <> String.trim(key.private)}
        assert ls_remote(context, server, auth(server, padded)) == {:ok, context.commit}

        assert Enum.any?(
                 SshServer.log(server),
                 &(&1 =~ "Accepted publickey" and &1 =~ SshKeys.fingerprint(key))
               )
      end
    end

    for {type, format} <- [
          {:ed25519, :openssh},
          {{:ecdsa, 256}, :openssh},
          {{:ecdsa, 256}, :pkcs8},
          {{:rsa, 2048}, :openssh},
          {{:rsa, 2048}, :pem},
          {{:rsa, 2048}, :pkcs8}
        ] do
      test "of type #{inspect(type)}, as #{format}, with a passphrase: right, wrong and missing",
           context do
        options = [format: unquote(format), passphrase: "open sésame"]
        key = SshKeys.generate!(context.dir, unquote(Macro.escape(type)), options)
        server = sshd!(context, authorized: [key])

        assert ls_remote(context, server, auth(server, key, passphrase: "open sésame")) ==
                 {:ok, context.commit}

        seen = SshServer.count(server, :connections)

        for options <- [[passphrase: "open sesame"], [passphrase: ""], []] do
          result = ls_remote(context, server, auth(server, key, options))
          assert_refused(result, :auth, ["passphrase"])
        end

        # There was nothing to log in with.
        assert SshServer.count(server, :accepted) == 1
        assert (SshServer.count(server, :connections) - seen) in 0..3
        secret = %{"identity" => key.private, "password" => "open sésame"}
        secret = Map.put(secret, "known_hosts", SshServer.known_hosts(server))
        assert ls_remote(context, server, Auth.from_secret(secret)) == {:ok, context.commit}
      end
    end

    test "of ECDSA, as PEM of the old kind, with a passphrase: told how to make it a newer one",
         context do
      key = SshKeys.generate!(context.dir, {:ecdsa, 256}, format: :pem, passphrase: "open sesame")
      server = sshd!(context, authorized: [key])
      result = ls_remote(context, server, auth(server, key, passphrase: "open sesame"))
      assert_refused(result, :invalid, ["ssh-keygen -p"])
    end

    for algorithm <- ["rsa-sha2-512", "rsa-sha2-256"] do
      test "of RSA signs as the server takes it: #{algorithm}", context do
        key = context.keys[{{:rsa, 2048}, :pem}]

        server =
          sshd!(context,
            authorized: [key],
            config: ["PubkeyAcceptedAlgorithms #{unquote(algorithm)}"]
          )

        assert ls_remote(context, server, auth(server, key)) == {:ok, context.commit}
      end
    end

    test "with a passphrase that it does not need is a key", context do
      server = sshd!(context)

      assert ls_remote(context, server, auth(server, context.key, passphrase: "x")) ==
               {:ok, context.commit}
    end

    test "that is none is the caller's mistake", context do
      server = sshd!(context)
      [_first, second | _] = lines = String.split(context.key.private, "\n")

      for text <- [
            "",
            "no key",
            context.key.public,
            lines |> List.delete(second) |> Enum.join("\n"),
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"
          ] do
        auth = auth(server, %{private: text})
        assert_refused(ls_remote(context, server, auth), :invalid, ["key"])
      end

      assert SshServer.count(server, :accepted) == 0
    end

    test "that the server does not know, and a user that it does not let in", context do
      server = sshd!(context)

      auth = auth(server, context.other)
      error = assert_refused(ls_remote(context, server, auth), :auth, ["127.0.0.1"])

      refute error.retryable?
      url = SshServer.url(server, context.origin, user: "nobody")

      assert_refused(ls_remote(context, server, auth(server, context.key), url: url), :auth, [
        "nobody"
      ])

      assert SshServer.count(server, :accepted) == 0
    end
  end

  test "the user is the credentials', else the URL's", context do
    server = sshd!(context)
    user = SshServer.user()
    nobody = SshServer.url(server, context.origin, user: "nobody")
    named = auth(server, context.key, username: user)
    assert ls_remote(context, server, named, url: nobody) == {:ok, context.commit}
    nameless = String.replace(nobody, "nobody@", "")
    assert ls_remote(context, server, named, url: nameless) == {:ok, context.commit}
    # Nobody is called git here.
    assert_refused(ls_remote(context, server, auth(server, context.key), url: nameless), :auth, [
      "git"
    ])
  end

  describe "an agent" do
    test "is asked for each of its keys, up to the one that the server knows", context do
      server = sshd!(context)
      known_hosts = SshServer.known_hosts(server)
      rsa = context.keys[{{:rsa, 2048}, :pem}]
      socket = SshKeys.agent!(context.dir, [rsa, context.other, context.key])
      auth = Auth.ssh_agent(socket: socket, known_hosts: known_hosts)

      assert Git.sync(SshServer.url(server, context.origin), "main", context.path,
               server: context.git,
               auth: auth
             ) ==
               {:ok, context.commit}

      Oracle.assert_synced(context.path, context.origin, context.commit)
    end

    test "signs with keys of each type", context do
      server_of = fn key -> sshd!(context, authorized: [key]) end

      for type <- [{{:ecdsa, 384}, :openssh}, {{:rsa, 2048}, :openssh}, {:ed25519, :openssh}] do
        key = context.keys[type]
        server = server_of.(key)

        auth =
          Auth.ssh_agent(
            socket: SshKeys.agent!(context.dir, [key]),
            known_hosts: SshServer.known_hosts(server)
          )

        assert {type, ls_remote(context, server, auth)} == {type, {:ok, context.commit}}
      end
    end

    test "without a key that helps, and one that is not there", context do
      server = sshd!(context)
      known_hosts = SshServer.known_hosts(server)

      for socket <- [
            SshKeys.agent!(context.dir, []),
            SshKeys.agent!(context.dir, [context.other]),
            Path.join(context.dir, "nowhere")
          ] do
        result =
          ls_remote(context, server, Auth.ssh_agent(socket: socket, known_hosts: known_hosts))

        assert_refused(result, :auth)
      end
    end

    test "is that of the environment unless one is named", context do
      server = sshd!(context)
      socket = SshKeys.agent!(context.dir, [context.key])
      auth = Auth.ssh_agent(known_hosts: SshServer.known_hosts(server))

      for {value, result} <- [{socket, {:ok, context.commit}}, {"", :auth}] do
        git =
          start_supervised!(
            {Git,
             name: nil, binary: WrappedWorker.write!(context.dir, %{"SSH_AUTH_SOCK" => value})},
            id: make_ref()
          )

        case {result, ls_remote(%{context | git: git}, server, auth)} do
          {:auth, refused} -> assert_refused(refused, :auth, ["agent"])
          {expected, given} -> assert expected == given
        end
      end
    end
  end

  test "credentials of another kind are the caller's mistake", context do
    server = sshd!(context)
    http = start_supervised!({HttpServer, root: context.dir})

    for auth <- [Auth.basic("a", "b"), Auth.bearer("b")],
        do: assert_refused(ls_remote(context, server, auth), :invalid)

    result =
      ls_remote(context, server, auth(server, context.key),
        url: HttpServer.url(http, "origin.git"),
        allow_insecure: true
      )

    assert_refused(result, :invalid)
    assert HttpServer.stats(http).requests == 0
    assert SshServer.count(server, :connections) == 0
  end
end
