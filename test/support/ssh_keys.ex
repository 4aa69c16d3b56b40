defmodule Alumiini.Git.Test.SshKeys do
  @moduledoc """
  Keys for SSH in every form that people have them in, and lines for `known_hosts`, made by
  `ssh-keygen`.

      key = SshKeys.generate!(dir, :ed25519, passphrase: "open sesame")
      SshKeys.known_hosts("127.0.0.1", port, host_key)
  """

  alias Alumiini.Git.Test.Daemon

  @enforce_keys [:path, :private, :public]
  defstruct [:path, :private, :public]

  @typedoc """
  `public` is `type base64`, without a comment; `path` is the file of the private one, beside it
  `path.pub`.
  """
  @type t :: %__MODULE__{path: Path.t(), private: String.t(), public: String.t()}
  @type type :: :ed25519 | {:ecdsa, 256 | 384 | 521} | {:rsa, pos_integer}

  @doc """
  Makes a key in `dir`. Options:

    * `:passphrase`
    * `:format` - `:openssh`, `:pem` (PKCS#1 for RSA, SEC1 for ECDSA) or `:pkcs8`
  """
  @spec generate!(Path.t(), type, keyword) :: t
  def generate!(dir, type, options \\ []) do
    path = Path.join(dir, "key-#{System.unique_integer([:positive])}")
    passphrase = options[:passphrase] || ""
    format = options[:format] || :openssh

    # OpenSSH writes these in its own format only, whatever it is asked for.
    if type == :ed25519 and format == :pkcs8,
      do: write_ed25519_pkcs8!(path, passphrase),
      else:
        keygen!(type_arguments(type) ++ format_arguments(format) ++ ["-N", passphrase, "-f", path])

    read!(path)
  end

  defp type_arguments(:ed25519), do: ["-t", "ed25519"]
  defp type_arguments({type, bits}), do: ["-t", Atom.to_string(type), "-b", Integer.to_string(bits)]

  defp format_arguments(:openssh), do: []
  defp format_arguments(:pem), do: ["-m", "PEM"]
  defp format_arguments(:pkcs8), do: ["-m", "PKCS8"]

  # RFC 8410, 7.
  defp write_ed25519_pkcs8!(path, "") do
    {public, seed} = :crypto.generate_key(:eddsa, :ed25519)
    der = <<0x302E020100300506032B657004220420::128>> <> seed

    File.write!(
      path,
      "-----BEGIN PRIVATE KEY-----\n#{Base.encode64(der)}\n-----END PRIVATE KEY-----\n"
    )

    File.chmod!(path, 0o600)
    blob = <<11::32, "ssh-ed25519", 32::32, public::binary>>
    File.write!(path <> ".pub", "ssh-ed25519 #{Base.encode64(blob)} test\n")
  end

  defp read!(path) do
    [type, base64 | _comment] = String.split(File.read!(path <> ".pub"))
    %__MODULE__{path: path, private: File.read!(path), public: "#{type} #{base64}"}
  end

  @doc "`SHA256:…`, as `ssh-keygen -l` prints it."
  @spec fingerprint(t) :: String.t()
  def fingerprint(key) do
    [_bits, fingerprint | _] =
      String.split(keygen!(["-l", "-E", "sha256", "-f", key.path <> ".pub"]))

    fingerprint
  end

  @doc """
  The type that its line in `known_hosts` has: `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
  """
  @spec type_name(t) :: String.t()
  def type_name(key), do: key.public |> String.split() |> hd()

  @doc "A host's name as `known_hosts` has it: with the port, unless that is 22."
  @spec host_name(String.t(), :inet.port_number()) :: String.t()
  def host_name(host, 22), do: host
  def host_name(host, port), do: "[#{host}]:#{port}"

  @doc """
  A line for `known_hosts`; `marker` is for instance `@revoked`. `hosts` is its first field, as it
  is.
  """
  @spec line(String.t(), t, String.t() | nil) :: String.t()
  def line(hosts, key, marker \\ nil) do
    Enum.join(Enum.reject([marker, hosts, key.public], &is_nil/1), " ") <> "\n"
  end

  @doc "The lines for a host's keys."
  @spec known_hosts(String.t(), :inet.port_number(), [t]) :: String.t()
  def known_hosts(host, port, keys), do: Enum.map_join(keys, &line(host_name(host, port), &1))

  @doc "The same lines with the hosts' names hashed."
  @spec hashed!(Path.t(), String.t()) :: String.t()
  def hashed!(dir, lines) do
    file = Path.join(dir, "known_hosts-#{System.unique_integer([:positive])}")
    File.write!(file, lines)
    keygen!(["-H", "-f", file])
    File.rm!(file <> ".old")
    File.read!(file)
  end

  @doc """
  Signs a host's key as an authority (`@cert-authority`), and returns the certificate's path.
  Options: `:principals` (names of the host), `:validity` (as `ssh-keygen -V` takes it).
  """
  @spec sign_host!(t, t, keyword) :: Path.t()
  def sign_host!(authority, key, options) do
    sign!(authority, key, ["-I", "host", "-h"], options)
  end

  @doc """
  Signs a user's key as an authority (sshd's `TrustedUserCAKeys`), and returns the certificate's
  path, where `ssh-add` and so `agent!/2` find it. Options as `sign_host!/3`; `:principals` are
  names of users.
  """
  @spec sign_user!(t, t, keyword) :: Path.t()
  def sign_user!(authority, key, options), do: sign!(authority, key, ["-I", "user"], options)

  defp sign!(authority, key, arguments, options) do
    validity = if options[:validity], do: ["-V", options[:validity]], else: []
    arguments = arguments ++ ["-n", Enum.join(options[:principals], ",")] ++ validity
    keygen!(["-s", authority.path] ++ arguments ++ [key.path <> ".pub"])
    key.path <> "-cert.pub"
  end

  @doc """
  An agent of its own that holds these keys (without passphrases), for as long as the running test;
  returns its socket.
  """
  @spec agent!(Path.t(), [t]) :: Path.t()
  def agent!(dir, keys) do
    # The name of a socket may have about 100 bytes.
    socket = Path.join(dir, "agent#{System.unique_integer([:positive])}")
    options = [program: "ssh-agent", package: "openssh-client", args: ["-D", "-a", socket]]
    agent = ExUnit.Callbacks.start_supervised!({Daemon, options})
    Daemon.await(agent, ~r/SSH_AUTH_SOCK=/)

    for key <- keys do
      {_output, 0} =
        System.cmd(find!("ssh-add"), ["-q", key.path],
          env: [{"SSH_AUTH_SOCK", socket}],
          stderr_to_stdout: true
        )
    end

    socket
  end

  defp keygen!(args) do
    case System.cmd(find!("ssh-keygen"), ["-q" | args], stderr_to_stdout: true) do
      {output, 0} -> output
      {output, status} -> raise "ssh-keygen #{Enum.join(args, " ")} ended with #{status}: #{output}"
    end
  end

  defp find!(program), do: Daemon.find!(program: program, package: "openssh-client")
end
