defmodule Alumiini.Git.SshCertificatesTest do
  # Who logs in with a certificate that an ssh-agent holds beside its key. `git` over `ssh`, with
  # the same agent, says who is let in.
  use Alumiini.Git.Test.SshCase, async: true

  @moduletag timeout: 120_000

  setup [:dir, :origin, :commit, :git]

  # Nobody's key is known there: who gets in does so by a certificate.
  defp trusting_sshd!(context, authority, options \\ []) do
    config = ["TrustedUserCAKeys #{authority.path}.pub" | options[:config] || []]
    sshd!(context, Keyword.put(options, :config, config))
  end

  # A key with a certificate beside it.
  defp certified!(context, authority, type, options \\ []) do
    key = SshKeys.generate!(context.dir, type)
    SshKeys.sign_user!(authority, key, Keyword.merge([principals: [SshServer.user()]], options))
    key
  end

  defp we_say(context, server, socket) do
    auth = Auth.ssh_agent(socket: socket, known_hosts: SshServer.known_hosts(server))
    Git.ls_remote(SshServer.url(server, context.origin), "main", server: context.git, auth: auth)
  end

  defp git_says(context, server, socket) do
    known_hosts = Path.join(context.dir, "known_hosts-#{SshServer.port(server)}")
    File.write!(known_hosts, SshServer.known_hosts(server))
    ssh = "ssh -F none -o IdentityFile=none -o UserKnownHostsFile=#{known_hosts} -o BatchMode=yes"
    env = [{"GIT_SSH_COMMAND", ssh}, {"SSH_AUTH_SOCK", socket}]

    case GitCommand.run(["ls-remote", SshServer.url(server, context.origin), "refs/heads/main"],
           env: env
         ) do
      {<<commit::binary-size(40), "\trefs/heads/main\n">>, 0} -> {:ok, commit}
      {output, _status} -> {:error, output}
    end
  end

  defp assert_let_in(context, server, socket, what) do
    assert {what, git_says(context, server, socket)} == {what, {:ok, context.commit}}
    assert {what, we_say(context, server, socket)} == {what, {:ok, context.commit}}
    accepted = Enum.filter(SshServer.log(server), &(&1 =~ "Accepted publickey"))
    assert [_git, ours] = accepted
    assert ours =~ "-CERT"
  end

  defp assert_kept_out(context, server, socket, words) do
    assert {:error, output} = git_says(context, server, socket)
    assert output =~ "Permission denied" or output =~ "Too many authentication failures"
    assert {:error, %Error{reason: :auth} = error} = we_say(context, server, socket)
    refute error.retryable?
    for word <- words, do: assert(error.message =~ word)
    assert SshServer.count(server, :accepted) == 0
    error
  end

  @types [:ed25519, {:ecdsa, 256}, {:ecdsa, 384}, {:ecdsa, 521}, {:rsa, 2048}]

  for type <- @types do
    test "a certificate for a key of #{inspect(type)} lets in, whatever its authority's key is",
         context do
      for authority_type <- [:ed25519, {:ecdsa, 384}, {:rsa, 2048}] do
        authority = SshKeys.generate!(context.dir, authority_type)
        server = trusting_sshd!(context, authority)
        key = certified!(context, authority, unquote(Macro.escape(type)))
        assert_let_in(context, server, SshKeys.agent!(context.dir, [key]), authority_type)
      end
    end
  end

  test "clones and polls go over the connection that it opened", context do
    authority = SshKeys.generate!(context.dir, :ed25519)
    server = trusting_sshd!(context, authority)
    socket = SshKeys.agent!(context.dir, [certified!(context, authority, :ed25519)])
    auth = Auth.ssh_agent(socket: socket, known_hosts: SshServer.known_hosts(server))

    sync = fn ->
      Git.sync(SshServer.url(server, context.origin), "main", context.path,
        server: context.git,
        auth: auth
      )
    end

    assert sync.() == {:ok, context.commit}
    new = Repository.commit!(context.origin, %{"new.yaml" => "new: 1\n"})
    for _ <- 1..3, do: assert(sync.() == {:ok, new})
    Oracle.assert_synced(context.path, context.origin, new)
    assert SshServer.count(server, :accepted) in 1..2
  end

  test "one that an authority in authorized_keys signed lets in, too, and so does one after " <>
         "others that do not",
       context do
    authority = SshKeys.generate!(context.dir, :ed25519)
    stranger = SshKeys.generate!(context.dir, :ed25519)
    line = %{authority | public: "cert-authority #{authority.public}"}
    server = start_supervised!({SshServer, dir: context.dir, authorized: [line]})

    others = [
      certified!(context, stranger, {:rsa, 2048}),
      SshKeys.generate!(context.dir, {:ecdsa, 256})
    ]

    socket = SshKeys.agent!(context.dir, others ++ [certified!(context, authority, {:rsa, 2048})])
    assert_let_in(context, server, socket, :authorized_keys)
  end

  test "one of RSA signs as the server wants it, and never with SHA-1", context do
    authority = SshKeys.generate!(context.dir, :ed25519)
    socket = SshKeys.agent!(context.dir, [certified!(context, authority, {:rsa, 2048})])

    server =
      trusting_sshd!(context, authority,
        config: ["PubkeyAcceptedAlgorithms rsa-sha2-512-cert-v01@openssh.com"]
      )

    assert_let_in(context, server, socket, :sha512)

    # As far as ssh itself gets: many an sshd tells of what it knows, not of what it takes.
    for algorithm <- ["rsa-sha2-256-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com"] do
      server = trusting_sshd!(context, authority, config: ["PubkeyAcceptedAlgorithms #{algorithm}"])
      {git, ours} = {git_says(context, server, socket), we_say(context, server, socket)}
      assert {algorithm, elem(git, 0)} == {algorithm, elem(ours, 0)}
    end
  end

  test "who is kept out learns which, and what of it is not right any more", context do
    authority = SshKeys.generate!(context.dir, :ed25519)
    stranger = SshKeys.generate!(context.dir, :ed25519)

    for {signer, options, words} <- [
          {authority, [validity: "-2h:-1h"], ["has expired"]},
          {authority, [validity: "+1h:+2h"], ["is not valid yet"]},
          {authority, [principals: ["nobody-of-that-name", "another"]],
           ["is for nobody-of-that-name, another"]},
          {stranger, [], []}
        ] do
      server = trusting_sshd!(context, authority)
      key = certified!(context, signer, :ed25519, options)
      socket = SshKeys.agent!(context.dir, [key])

      certificate =
        "#{SshKeys.fingerprint(key)} with a certificate of the authority " <>
          "#{SshKeys.fingerprint(signer)}"

      error = assert_kept_out(context, server, socket, [certificate | words])
      faults = Enum.count(["expired", "not valid yet", "is for"], &(error.message =~ &1))
      assert {options, faults} == {options, length(words)}
    end
  end
end
