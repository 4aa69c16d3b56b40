defmodule Alumiini.Git.SshAlgorithmsTest do
  # Real sshds, each of which has one algorithm only.
  use Alumiini.Git.Test.SshCase, async: true

  @moduletag timeout: 240_000

  @kex ~w(mlkem768x25519-sha256 curve25519-sha256 curve25519-sha256@libssh.org ecdh-sha2-nistp256
          ecdh-sha2-nistp384 ecdh-sha2-nistp521 diffie-hellman-group-exchange-sha256
          diffie-hellman-group18-sha512 diffie-hellman-group16-sha512
          diffie-hellman-group14-sha256)
  @ciphers ~w(aes256-gcm@openssh.com aes128-gcm@openssh.com chacha20-poly1305@openssh.com
              aes256-ctr aes192-ctr aes128-ctr)
  @macs ~w(hmac-sha2-512-etm@openssh.com hmac-sha2-256-etm@openssh.com hmac-sha2-512 hmac-sha2-256
           hmac-sha1-etm@openssh.com hmac-sha1)
  @host_keys [
    {"ssh-ed25519", :ed25519},
    {"ecdsa-sha2-nistp256", {:ecdsa, 256}},
    {"ecdsa-sha2-nistp384", {:ecdsa, 384}},
    {"ecdsa-sha2-nistp521", {:ecdsa, 521}},
    {"rsa-sha2-512", {:rsa, 2048}},
    {"rsa-sha2-256", {:rsa, 2048}}
  ]

  # Of the server only its key is used: what it has of algorithms is set anew for each.
  setup [:dir, :origin, :commit, :key, :sshd, :stopped, :git]

  defp stopped(context), do: SshServer.stop(context.sshd)

  defp ask(%{sshd: sshd} = context, options) do
    :ok = SshServer.start(sshd, options)
    answer = ls_remote(context, sshd, auth(sshd, context.key))
    :ok = SshServer.stop(sshd)
    answer
  end

  # Those of the list that the installed OpenSSH knows.
  defp installed(list, query) do
    {known, 0} = System.cmd("ssh", ["-Q", query])
    list = Enum.filter(list, &(&1 in String.split(known)))
    assert list != []
    list
  end

  defp assert_answered(context, what, options) do
    assert {what, ask(context, options)} == {what, {:ok, context.commit}}
  end

  test "each key exchange that OpenSSH offers by default is spoken", context do
    for kex <- installed(@kex, "kex"),
        do: assert_answered(context, kex, config: ["KexAlgorithms #{kex}"])
  end

  test "each cipher that OpenSSH offers by default is spoken", context do
    for cipher <- installed(@ciphers, "cipher"),
        do: assert_answered(context, cipher, config: ["Ciphers #{cipher}"])
  end

  test "each HMAC that OpenSSH offers by default is spoken", context do
    # GCM and ChaCha20-Poly1305 need none.
    for mac <- installed(@macs, "mac"),
        do: assert_answered(context, mac, config: ["MACs #{mac}", "Ciphers aes128-ctr"])
  end

  test "each host key algorithm that OpenSSH offers by default is spoken", context do
    for {algorithm, type} <- @host_keys do
      host_key = SshKeys.generate!(context.dir, type)

      assert_answered(context, algorithm,
        host_keys: [host_key],
        config: ["HostKeyAlgorithms #{algorithm}"]
      )
    end
  end

  test "a server that has none of ours is told of, with what it offers", context do
    for {what, theirs, config} <- [
          {"MAC", "umac-64@openssh.com", ["MACs umac-64@openssh.com", "Ciphers aes128-ctr"]},
          {"cipher", "aes128-cbc", ["Ciphers aes128-cbc"]},
          {"key exchange", "diffie-hellman-group14-sha1",
           ["KexAlgorithms diffie-hellman-group14-sha1"]}
        ] do
      assert {^theirs, {:error, %Error{reason: :unsupported} = error}} =
               {theirs, ask(context, config: config)}

      assert error.message =~ "no #{what} in common: its server offers #{theirs};"
      refute error.retryable?
    end
  end
end
