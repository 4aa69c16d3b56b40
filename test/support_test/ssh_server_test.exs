defmodule Alumiini.Git.Test.SshServerTest do
  # The server that the tests of SSH run against, by git's own client.
  use Alumiini.Git.Test.SshCase, async: true

  setup [:dir, :origin, :commit, :key]

  # What `ssh` does of itself is out of reach: the user's configuration, keys and agent.
  defp git(args, context, known_hosts, options \\ []) do
    file = Path.join(context.dir, "known_hosts")
    File.write!(file, known_hosts)
    identity = if options[:agent], do: "", else: "-i #{context.key.path} -o IdentitiesOnly=yes"

    ssh =
      "ssh -F none #{identity} -o UserKnownHostsFile=#{file} -o GlobalKnownHostsFile=none " <>
        "-o StrictHostKeyChecking=yes -o BatchMode=yes #{options[:ssh]}"

    env = [{"GIT_SSH_COMMAND", ssh}, {"SSH_AUTH_SOCK", options[:agent]}]
    GitCommand.run(args, env: env ++ (options[:env] || []))
  end

  test "serves a clone, and counts connections and sessions", context do
    server = sshd!(context)
    path = Path.join(context.dir, "work")
    clone = ["clone", "-q", SshServer.url(server, context.origin), path]
    assert {"", 0} = git(clone, context, SshServer.known_hosts(server))
    assert Repository.rev_parse(path) == context.commit
    assert :ok = SshServer.await_open(server, 0)

    for event <- [:connections, :accepted, :sessions],
        do: assert(SshServer.count(server, event) == 1)

    absent = SshServer.url(server, Path.join(context.dir, "absent.git"))
    assert {output, 128} = git(["ls-remote", absent], context, SshServer.known_hosts(server))
    assert output =~ "does not appear to be a git repository"
  end

  test "takes the protocol's version or not", context do
    for accept? <- [true, false] do
      server =
        start_supervised!(
          {SshServer, dir: context.dir, authorized: [context.key], accept_env: accept?}
        )

      ls_remote = ["ls-remote", SshServer.url(server, context.origin)]
      trace = [env: [{"GIT_TRACE_PACKET", "1"}]]
      assert {output, 0} = git(ls_remote, context, SshServer.known_hosts(server), trace)
      assert {accept?, output =~ "< version 2"} == {accept?, accept?}
    end
  end

  test "refuses keys and users that it does not know", context do
    server = sshd!(context, authorized: [])
    known_hosts = SshServer.known_hosts(server)

    assert {output, 128} =
             git(["ls-remote", SshServer.url(server, context.origin)], context, known_hosts)

    assert output =~ "Permission denied (publickey)"

    SshServer.stop(server)
    SshServer.start(server, authorized: [context.key])

    assert {_refs, 0} =
             git(["ls-remote", SshServer.url(server, context.origin)], context, known_hosts)

    nobody = SshServer.url(server, context.origin, user: "nobody")
    assert {output, 128} = git(["ls-remote", nobody], context, known_hosts)
    assert output =~ "Permission denied (publickey)"
  end

  test "lets in who has a key in an agent", context do
    server = sshd!(context)
    ls_remote = ["ls-remote", SshServer.url(server, context.origin)]

    for {keys, status} <- [{[context.key], 0}, {[], 128}] do
      agent = SshKeys.agent!(context.dir, keys)

      assert {_output, ^status} =
               git(ls_remote, context, SshServer.known_hosts(server), agent: agent)
    end
  end

  test "comes back on its port with another host key", context do
    server = sshd!(context)
    known_hosts = SshServer.known_hosts(server)
    ls_remote = ["ls-remote", SshServer.url(server, context.origin)]
    SshServer.stop(server)
    assert {output, 128} = git(ls_remote, context, known_hosts)
    assert output =~ "Connection refused"

    SshServer.start(server, host_keys: [SshKeys.generate!(context.dir, {:ecdsa, 256})])
    assert {output, 128} = git(ls_remote, context, known_hosts)
    assert output =~ "Host key verification failed"
    assert {_refs, 0} = git(ls_remote, context, SshServer.known_hosts(server))
    hashed = SshKeys.hashed!(context.dir, SshServer.known_hosts(server))
    refute hashed =~ "127.0.0.1"
    assert {_refs, 0} = git(ls_remote, context, hashed)
  end

  test "shows a certificate of an authority", context do
    authority = SshKeys.generate!(context.dir, :ed25519)
    host_key = SshKeys.generate!(context.dir, :ed25519)
    certificate = SshKeys.sign_host!(authority, host_key, principals: ["127.0.0.1"])

    server =
      start_supervised!(
        {SshServer,
         dir: context.dir,
         authorized: [context.key],
         host_keys: [host_key],
         host_certificates: [certificate]}
      )

    ls_remote = ["ls-remote", SshServer.url(server, context.origin)]

    assert {_refs, 0} =
             git(ls_remote, context, SshKeys.line("[127.0.0.1]:*", authority, "@cert-authority"))

    other = SshKeys.line("[127.0.0.1]:*", context.key, "@cert-authority")
    assert {_output, 128} = git(ls_remote, context, other)
  end

  test "drops the connections that it has", context do
    server = sshd!(context)
    # A session of upload-pack that waits for what the client wants.
    known_hosts = SshServer.known_hosts(server)

    {:ok, socket} =
      :gen_tcp.connect({127, 0, 0, 1}, SshServer.port(server), [:binary, active: false])

    assert {:ok, "SSH-2.0-" <> _} = :gen_tcp.recv(socket, 0, 5_000)
    assert SshServer.open(server) == 1
    SshServer.drop(server)
    assert SshServer.open(server) == 0
    assert {:error, :closed} = read_to_the_end(socket)

    assert {_refs, 0} =
             git(["ls-remote", SshServer.url(server, context.origin)], context, known_hosts)
  end

  defp read_to_the_end(socket) do
    with {:ok, _more} <- :gen_tcp.recv(socket, 0, 5_000), do: read_to_the_end(socket)
  end

  test "makes keys of each type and form that ssh can use", context do
    for {type, format} <-
          for(
            format <- [:openssh, :pem, :pkcs8],
            bits <- [256, 384, 521],
            do: {{:ecdsa, bits}, format}
          ) ++
            [
              {:ed25519, :openssh},
              {{:rsa, 2048}, :openssh},
              {{:rsa, 2048}, :pem},
              {{:rsa, 3072}, :pkcs8}
            ],
        passphrase <- [nil, "open sesame"] do
      key = SshKeys.generate!(context.dir, type, format: format, passphrase: passphrase)
      assert "SHA256:" <> _ = SshKeys.fingerprint(key)
      read = fn passphrase -> System.cmd("ssh-keygen", ["-y", "-P", passphrase, "-f", key.path]) end
      assert {public, 0} = read.(passphrase || "")
      assert public =~ key.public
      header = key.private |> String.split("\n") |> hd()

      assert header =~
               %{
                 {:openssh, nil} => "BEGIN OPENSSH PRIVATE KEY",
                 {:openssh, "open sesame"} => "BEGIN OPENSSH PRIVATE KEY",
                 {:pem, nil} => ~r/BEGIN (RSA|EC) PRIVATE KEY/,
                 {:pem, "open sesame"} => ~r/BEGIN (RSA|EC) PRIVATE KEY/,
                 {:pkcs8, nil} => "BEGIN PRIVATE KEY",
                 {:pkcs8, "open sesame"} => "BEGIN ENCRYPTED PRIVATE KEY"
               }[{format, passphrase}]
    end

    # ssh-keygen itself does not write this one.
    key = SshKeys.generate!(context.dir, :ed25519, format: :pkcs8)
    [entry] = :public_key.pem_decode(key.private)

    {:ECPrivateKey, 1, seed, _parameters, _public, _attributes} =
      :public_key.pem_entry_decode(entry)

    {public, ^seed} = :crypto.generate_key(:eddsa, :ed25519, seed)
    assert "ssh-ed25519 " <> base64 = key.public
    assert String.ends_with?(Base.decode64!(base64), public)
  end
end
