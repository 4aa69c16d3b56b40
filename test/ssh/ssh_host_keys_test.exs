defmodule Alumiini.Git.SshHostKeysTest do
  # Whether the server is the one that we know, before anything is said to it.
  use Alumiini.Git.Test.SshCase, async: true

  @moduletag timeout: 120_000

  # All that sshd shows of itself is one of these.
  setup_all do
    dir = TempDir.create!("ssh-keys")
    make = &SshKeys.generate!(dir, &1)

    %{
      key: make.(:ed25519),
      ed25519: make.(:ed25519),
      ecdsa: make.({:ecdsa, 256}),
      ecdsa521: make.({:ecdsa, 521}),
      rsa: make.({:rsa, 2048}),
      stranger: make.(:ed25519),
      authority: make.(:ed25519)
    }
  end

  setup [:dir, :origin, :commit, :git]

  defp named_sshd!(context, options \\ []) do
    server = sshd!(context, Keyword.merge([host_keys: [context.ed25519]], options))
    {server, "[127.0.0.1]:#{SshServer.port(server)}"}
  end

  defp ask(context, server, known_hosts, options) do
    auth =
      Auth.ssh_key(context.key.private, if(known_hosts, do: [known_hosts: known_hosts], else: []))

    url = SshServer.url(server, context.origin, Keyword.take(options, [:host]))
    Git.ls_remote(url, "main", server: options[:git] || context.git, auth: auth)
  end

  defp assert_refused(context, server, known_hosts, words, options \\ []) do
    logins = fn -> {SshServer.count(server, :accepted), SshServer.count(server, :refused)} end
    before = logins.()
    assert {:error, %Error{} = error} = ask(context, server, known_hosts, options)
    assert {:host_key, _} = {error.reason, error.message}
    refute error.retryable?
    for word <- words, do: assert(error.message =~ word)
    # Nobody has logged in there, nor tried to.
    assert logins.() == before
    error
  end

  defp assert_accepted(context, server, known_hosts, options \\ []) do
    assert {known_hosts, ask(context, server, known_hosts, options)} ==
             {known_hosts, {:ok, context.commit}}
  end

  describe "an unknown host" do
    test "is refused with its fingerprint and the line to add, and that line makes it known",
         context do
      for key <- [context.ed25519, context.ecdsa, context.ecdsa521, context.rsa] do
        {server, _name} = named_sshd!(context, host_keys: [key])
        fingerprint = SshKeys.fingerprint(key)

        for known_hosts <- ["", "# nobody\n\n", SshKeys.line("elsewhere.example", key)] do
          error = assert_refused(context, server, known_hosts, [fingerprint])
          assert error.detail.fingerprint == fingerprint
          assert error.message =~ error.detail.line
          assert error.detail.line == String.trim(SshServer.known_hosts(server))
          assert SshServer.count(server, :accepted) == 0
        end

        error = assert_refused(context, server, "", [])
        assert_accepted(context, server, error.detail.line)
      end
    end

    test "is one by that name: another name for the same server is not known", context do
      {server, _name} = named_sshd!(context)
      known_hosts = SshServer.known_hosts(server)
      error = assert_refused(context, server, known_hosts, ["localhost"], host: "localhost")
      assert error.detail.line == String.trim(SshServer.known_hosts(server, host: "localhost"))
      assert_accepted(context, server, known_hosts <> error.detail.line, host: "localhost")
    end
  end

  test "a host whose key has changed is refused, and said to have", context do
    {server, name} = named_sshd!(context)

    for key <- [context.stranger, context.ecdsa] do
      error =
        assert_refused(context, server, SshKeys.line(name, key), [
          SshKeys.fingerprint(context.ed25519)
        ])

      assert error.detail.fingerprint == SshKeys.fingerprint(context.ed25519)
    end

    error = assert_refused(context, server, SshKeys.line(name, context.stranger), [])
    assert error.message =~ ~r/chang|another|differ/
    # Both known, as while keys are rotated.
    assert_accepted(
      context,
      server,
      SshKeys.line(name, context.stranger) <> SshKeys.line(name, context.ed25519)
    )
  end

  test "an RSA key is known by the names of its signatures, too, as to ssh", context do
    {server, name} = named_sshd!(context, host_keys: [context.rsa])

    for kind <- ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"] do
      line = String.replace(SshKeys.line(name, context.rsa), "ssh-rsa", kind)
      assert_accepted(context, server, line)
      assert_refused(context, server, "@revoked " <> line, ["revoked"])
    end
  end

  test "a server that comes back with another key is refused on the next connection", context do
    {server, _name} = named_sshd!(context)
    known_hosts = SshServer.known_hosts(server)
    assert_accepted(context, server, known_hosts)
    SshServer.stop(server)
    SshServer.start(server, host_keys: [context.stranger])
    assert_refused(context, server, known_hosts, [SshKeys.fingerprint(context.stranger)])
  end

  describe "a revoked key" do
    test "is refused wherever that is said", context do
      {server, name} = named_sshd!(context)
      known = SshKeys.line(name, context.ed25519)

      for hosts <- [name, "*", "127.0.0.*,#{name}"] do
        revoked = SshKeys.line(hosts, context.ed25519, "@revoked")

        for known_hosts <- [revoked <> known, known <> revoked, revoked] do
          assert_refused(context, server, known_hosts, ["revoked"])
        end
      end

      # Of another host, or another key.
      for other <- [
            SshKeys.line("elsewhere.example", context.ed25519, "@revoked"),
            SshKeys.line("*", context.stranger, "@revoked")
          ] do
        assert_accepted(context, server, other <> known)
      end
    end

    test "of a host is not used where it shows another one", context do
      {server, name} = named_sshd!(context, host_keys: [context.ed25519, context.ecdsa])
      lines = SshKeys.line(name, context.ed25519, "@revoked") <> SshKeys.line(name, context.ecdsa)
      assert_accepted(context, server, lines)
    end
  end

  describe "the names in a line" do
    test "may be hashed", context do
      {server, _name} = named_sshd!(context)
      hashed = SshKeys.hashed!(context.dir, SshServer.known_hosts(server))
      assert "|1|" <> _ = hashed
      assert_accepted(context, server, hashed)
      other = SshKeys.hashed!(context.dir, SshKeys.line("[127.0.0.2]:22", context.ed25519))
      assert_refused(context, server, other, [])
      {first, second} = String.split_at(hashed, 10)
      assert_refused(context, server, first <> "A" <> second, [])

      changed =
        SshKeys.hashed!(
          context.dir,
          SshKeys.known_hosts("127.0.0.1", SshServer.port(server), [context.stranger])
        )

      assert_refused(context, server, changed, [])
    end

    test "may be patterns, several, and negated: as ssh itself takes them", context do
      {server, name} = named_sshd!(context)
      port = SshServer.port(server)

      accepted =
        ~w(* [127.0.0.*]:#{port} [127.0.0.?]:#{port} [*]:#{port} [127.0.0.1]:*) ++
          ~w(elsewhere.example,#{name} !elsewhere.example,* *,!*.example)

      refused =
        ~w([127.0.0.1]:#{port + 1} [127.0.0.1]:#{port}0 [127.0.0.2]:#{port} [127.0.0.??]:#{port}) ++
          ~w(!#{name} !*,#{name} 27.0.0.1 [localhost]:#{port} 127.0.0.1*1 *,!127.*,![127.*)

      # Where a port is only in a negated pattern, or in none, a pattern may yet be for the host
      # whatever its port.
      as_ssh =
        ~w(*,!#{name} !#{name},* 127.0.0.1 127.* !127.0.0.1,#{name} #{name},!127.0.0.1 *,!127.0.0.1)

      for {hosts, expected} <-
            Enum.map(accepted, &{&1, :ok}) ++
              Enum.map(refused, &{&1, :error}) ++ Enum.map(as_ssh, &{&1, nil}) do
        line = SshKeys.line(hosts, context.ed25519)
        git = start_supervised!({Git, name: nil}, id: make_ref())
        answer = ask(context, server, line, git: git)
        oracle = if ssh_accepts?(context, server, line), do: :ok, else: :error
        assert {hosts, expected || oracle} == {hosts, oracle}
        assert {hosts, elem(answer, 0)} == {hosts, oracle}
        if oracle == :error, do: assert({:error, %Error{reason: :host_key}} = answer)
      end
    end

    defp ssh_accepts?(context, server, known_hosts) do
      file = Path.join(context.dir, "known_hosts")
      File.write!(file, known_hosts)

      options =
        [
          "UserKnownHostsFile=#{file}",
          "GlobalKnownHostsFile=none",
          "StrictHostKeyChecking=yes",
          "BatchMode=yes"
        ] ++
          ["IdentitiesOnly=yes", "UpdateHostKeys=no"]

      arguments = [
        "-F",
        "none",
        "-i",
        context.key.path,
        "-p",
        "#{SshServer.port(server)}",
        "#{SshServer.user()}@127.0.0.1"
      ]

      arguments = Enum.flat_map(options, &["-o", &1]) ++ arguments ++ ["true"]

      {output, status} =
        System.cmd("ssh", arguments, stderr_to_stdout: true, env: [{"SSH_AUTH_SOCK", nil}])

      assert status == 0 or output =~ "Host key verification failed"
      status == 0
    end

    test "do not mind case; and lines that make no sense are not in the way", context do
      {server, _name} = named_sshd!(context)
      known = SshServer.known_hosts(server, host: "localhost")

      assert_accepted(context, server, String.replace(known, "localhost", "LocalHost"),
        host: "localhost"
      )

      noise =
        "# comment\n\n   \nnonsense\n@marker what is this\n@revoked\n[127.0.0.1 ssh-ed25519 " <>
          "AAAA\n* ssh-ed25519 !!!\n* ssh-dss AAAAB3Nz\n"

      known = SshServer.known_hosts(server)

      for text <- [
            noise <> known,
            known <> noise,
            String.replace(noise <> known, "\n", "\r\n"),
            String.trim(known)
          ] do
        assert_accepted(context, server, text)
      end

      with_comment = String.trim(known) <> " root@host and more\n"
      assert_accepted(context, server, with_comment)
      assert_accepted(context, server, "  " <> String.replace(known, " ", "\t"))
    end
  end

  describe "of several host keys" do
    test "the one that is known is negotiated, whichever it is", context do
      keys = [context.ed25519, context.ecdsa, context.ecdsa521, context.rsa]
      {server, name} = named_sshd!(context, host_keys: keys)

      for key <- keys do
        assert_accepted(context, server, SshKeys.line(name, key))
        assert_accepted(context, server, SshKeys.line("*", key))
        assert_accepted(context, server, SshKeys.hashed!(context.dir, SshKeys.line(name, key)))
      end
    end

    test "a known one of RSA is enough for a server that signs with SHA-2 of one kind", context do
      for algorithm <- ["rsa-sha2-256", "rsa-sha2-512"] do
        {server, name} =
          named_sshd!(context, host_keys: [context.rsa], config: ["HostKeyAlgorithms #{algorithm}"])

        assert_accepted(context, server, SshKeys.line(name, context.rsa))
      end
    end

    test "none that is known is not made one by those of other hosts", context do
      {server, name} = named_sshd!(context, host_keys: [context.ed25519, context.ecdsa])

      lines =
        SshKeys.line("elsewhere.example", context.ecdsa) <> SshKeys.line(name, context.stranger)

      assert_refused(context, server, lines, [])
    end
  end

  describe "an authority" do
    defp certified!(context, options) do
      {authority, options} = Keyword.pop(options, :authority, context.authority)
      host_key = SshKeys.generate!(context.dir, :ed25519)

      certificate =
        SshKeys.sign_host!(authority, host_key, Keyword.merge([principals: ["127.0.0.1"]], options))

      {server, name} = named_sshd!(context, host_keys: [host_key], host_certificates: [certificate])
      {server, name, host_key}
    end

    test "vouches for a host by its certificate", context do
      {server, name, host_key} = certified!(context, [])

      # Without a port it vouches for any, as to ssh.
      for hosts <- [name, "*", "[127.0.0.*]:*", "127.0.0.1", "127.0.0.*"] do
        assert_accepted(context, server, SshKeys.line(hosts, context.authority, "@cert-authority"))
      end

      # Who knows the key itself needs no authority.
      assert_accepted(context, server, SshKeys.line(name, host_key))

      both =
        SshKeys.line(name, context.authority, "@cert-authority") <> SshKeys.line(name, host_key)

      assert_accepted(context, server, both)
    end

    test "of each type", context do
      for type <- [:ecdsa, :rsa] do
        {server, name, _key} = certified!(context, authority: context[type])
        assert_accepted(context, server, SshKeys.line(name, context[type], "@cert-authority"))
      end
    end

    test "that is another one, is revoked, is for other hosts, or is no authority, vouches " <>
           "for nothing",
         context do
      {server, name, host_key} = certified!(context, [])
      good = SshKeys.line(name, context.authority, "@cert-authority")

      for known_hosts <- [
            SshKeys.line(name, context.stranger, "@cert-authority"),
            SshKeys.line("elsewhere.example", context.authority, "@cert-authority"),
            good <> SshKeys.line("*", context.authority, "@revoked"),
            good <> SshKeys.line("*", host_key, "@revoked"),
            # A key of the host, which it does not have.
            SshKeys.line(name, context.authority)
          ] do
        assert_refused(context, server, known_hosts, [])
      end
    end

    test "whose certificate is for another name, or not of this time, vouches for nothing",
         context do
      for options <- [
            [principals: ["elsewhere.example"]],
            [principals: ["127.0.0.2", "localhost"]],
            [validity: "20200101:20210101"],
            [validity: "20480101:20490101"]
          ] do
        {server, name, _host_key} = certified!(context, options)

        assert_refused(
          context,
          server,
          SshKeys.line(name, context.authority, "@cert-authority"),
          []
        )
      end
    end

    test "vouches for no host that shows it the certificate of a user", context do
      host_key = SshKeys.generate!(context.dir, :ed25519)

      sign = [
        "-q",
        "-s",
        context.authority.path,
        "-I",
        "user",
        "-n",
        "127.0.0.1",
        host_key.path <> ".pub"
      ]

      {_output, 0} = System.cmd("ssh-keygen", sign, stderr_to_stdout: true)
      {server, name} = named_sshd!(context, host_keys: [host_key], host_certificates: [])
      assert_refused(context, server, SshKeys.line(name, context.authority, "@cert-authority"), [])
    end
  end

  describe "the files of the user" do
    defp at_home!(context, files, home \\ nil) do
      home = home || Path.join(context.dir, "home-#{System.unique_integer([:positive])}")
      File.mkdir_p!(Path.join(home, ".ssh"))
      for {name, text} <- files, do: File.write!(Path.join([home, ".ssh", name]), text)
      binary = WrappedWorker.write!(home, %{"HOME" => home})
      start_supervised!({Git, name: nil, binary: binary}, id: make_ref())
    end

    test "say which hosts are known, where the credentials do not", context do
      {server, _name} = named_sshd!(context)
      known = SshServer.known_hosts(server)

      for files <- [
            %{"known_hosts" => known},
            %{"known_hosts2" => known},
            %{
              "known_hosts" => SshKeys.line("elsewhere.example", context.stranger),
              "known_hosts2" => known
            },
            %{"known_hosts" => SshKeys.hashed!(context.dir, known)}
          ] do
        assert_accepted(context, server, nil, git: at_home!(context, files))
      end
    end

    test "that are not there, or know others, make none known", context do
      {server, name} = named_sshd!(context)
      known = SshServer.known_hosts(server)

      for files <- [
            %{},
            %{"known_hosts" => ""},
            %{"known_hosts" => SshKeys.line(name, context.stranger)}
          ] do
        error = assert_refused(context, server, nil, ["known_hosts"], git: at_home!(context, files))
        assert error.detail.line == String.trim(known)
      end
    end

    test "are read anew for each connection, and never for credentials with hosts of their own",
         context do
      {server, _name} = named_sshd!(context)
      known = SshServer.known_hosts(server)
      home = Path.join(context.dir, "home")
      git = at_home!(context, %{}, home)
      error = assert_refused(context, server, nil, [], git: git)
      File.write!(Path.join(home, ".ssh/known_hosts"), error.detail.line <> "\n")
      assert_refused(context, server, "", [], git: git)
      assert_accepted(context, server, nil, git: git)
      assert known == error.detail.line <> "\n"
    end
  end
end
