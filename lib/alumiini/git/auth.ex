defmodule Alumiini.Git.Auth do
  @moduledoc """
  Credentials for a remote, for the `:auth` option of the functions of `Alumiini.Git` that talk to
  one.

      auth = Alumiini.Git.Auth.token(System.fetch_env!("GIT_TOKEN"))
      Alumiini.Git.sync("https://git.example.com/team/app.git", "main", "/var/lib/app", auth: auth)

  The page [Authentication](authentication.md) has an example for each of the usual hosting
  services.

  What a value of this type holds cannot be read by looking at it: the secret is in a closure, so
  neither `inspect/2` (not even with `structs: false`) nor a crash report nor a log line shows it.
  It leaves the BEAM only inside the frame that carries the request to the worker, which never
  writes it to disk.

  Credentials are sent over `https://` and SSH only. Over plain `http://` a call that has some is
  refused with the reason `:invalid`, unless it also says `allow_insecure: true`. They take
  precedence over credentials in the URL (`https://user:password@host/…`).

  ## Credentials that expire

  Wherever credentials go, a function of no arguments, or `{module, function, arguments}`, may stand
  that returns them:

      auth = fn -> Alumiini.Git.Auth.token(MyApp.Tokens.current()) end
      Alumiini.Git.sync(url, "main", path, auth: auth)

  It is called in the calling process, once for the call, and once more if the remote answers 401 or
  with a page to log in (`reason: :auth`, `detail.status` 401, 200 or 203): the request is then made
  again with what it returns, within the same `:timeout`, which also runs while the function does.
  What it raises goes through to the caller. If it returns anything else than a value of this type,
  the call raises `ArgumentError`.

  The functions of this module raise `ArgumentError` when they are given something else than text.
  Its message never holds a value.
  """

  alias Alumiini.Git.{RedactedUrl, Secret}
  alias Alumiini.Git.Remote.KubernetesSecret

  defstruct [:http, :ssh, :tls]

  @typedoc "Credentials. How the struct holds them is private."
  @opaque t :: %__MODULE__{
            http: {:basic | :bearer, Secret.t()} | nil,
            ssh: {:ssh_key | :ssh_agent, Secret.t()} | nil,
            tls: Secret.t() | nil
          }

  @doc """
  A user name and a password, sent as HTTP Basic authentication.

      iex> Alumiini.Git.Auth.basic("ci", "correct horse")
      #Alumiini.Git.Auth<basic>
  """
  @spec basic(String.t(), String.t()) :: t
  def basic(username, password) do
    text!("basic/2", "user name", username)
    text!("basic/2", "password", password)
    http(:basic, %{"username" => username, "password" => password})
  end

  @doc """
  An access token, sent as the password of HTTP Basic authentication, which is how the hosting
  services take theirs.

  The user name matters to few of them: GitHub and GitLab take any (so the default will do),
  Bitbucket wants `"x-token-auth"`.

      iex> Alumiini.Git.Auth.token("a-token", "x-token-auth")
      #Alumiini.Git.Auth<basic>
  """
  @spec token(String.t(), String.t()) :: t
  def token(token, username \\ "git") do
    text!("token/2", "token", token)
    text!("token/2", "user name", username)
    http(:basic, %{"username" => username, "password" => token})
  end

  @doc """
  A token that is sent as `Authorization: Bearer …`.

      iex> Alumiini.Git.Auth.bearer("a-token")
      #Alumiini.Git.Auth<bearer>
  """
  @spec bearer(String.t()) :: t
  def bearer(token) do
    text!("bearer/1", "token", token)
    http(:bearer, %{"token" => token})
  end

  @doc """
  A private key for SSH: the text of the key's file, in OpenSSH's format or as PEM (PKCS#1, PKCS#8,
  SEC1).

  ## Options

    * `:passphrase` - of the key, if it is encrypted
    * `:username` - who to log in as. Default: the user in the URL, else `"git"`
    * `:known_hosts` - text as in the file `~/.ssh/known_hosts`: the only host keys that are
      accepted then. Default: the files of the user that the worker runs as, `~/.ssh/known_hosts`,
      `~/.ssh/known_hosts2`, `/etc/ssh/ssh_known_hosts` and `/etc/ssh/ssh_known_hosts2`. A host that
      is in none of them is refused with the reason `:host_key`, and `detail.line` is what to add
      once you have checked its fingerprint

          key = File.read!("/run/secrets/deploy_key")
          Alumiini.Git.Auth.ssh_key(key, known_hosts: File.read!("/run/secrets/known_hosts"))
  """
  @spec ssh_key(
          String.t(),
          passphrase: String.t(),
          username: String.t(),
          known_hosts: String.t()
        ) :: t
  def ssh_key(private_key, options \\ []) do
    text!("ssh_key/2", "private key", private_key)
    options = options!("ssh_key/2", options, [:passphrase, :username, :known_hosts])
    ssh(:ssh_key, Map.put(options, "private_key", private_key))
  end

  @doc """
  The keys of the SSH agent that runs beside the BEAM.

  ## Options

    * `:socket` - the path of the agent's socket. Default: what `SSH_AUTH_SOCK` was when the BEAM
      started
    * `:username`, `:known_hosts` - see `ssh_key/2`

  ## Examples

      iex> Alumiini.Git.Auth.ssh_agent(socket: "/run/agent.sock")
      #Alumiini.Git.Auth<ssh_agent>
  """
  @spec ssh_agent(socket: Path.t(), username: String.t(), known_hosts: String.t()) :: t
  def ssh_agent(options \\ []) do
    ssh(:ssh_agent, options!("ssh_agent/1", options, [:socket, :username, :known_hosts]))
  end

  @doc """
  The credentials in a Kubernetes secret, as Flux and Kubernetes lay them out.

  `data` is the secret's data as a map from strings to strings, with the base64 of the API already
  decoded. Empty values count as absent, other keys are not looked at, and one line break at the end
  of a user name, a password or a token is dropped.

  | keys | give |
  | --- | --- |
  | `username`, `password` | `basic/2`, for `http` and `https` |
  | `bearerToken` | `bearer/1`, where there is no `username` |
  | `identity`, or `ssh-privatekey` (type `kubernetes.io/ssh-auth`) | `ssh_key/2`, with `password` as passphrase, `username`, and `known_hosts` |
  | `ca.crt` (older: `caFile`) | certificates to trust beside the system's |
  | `tls.crt` and `tls.key` (older: `certFile`, `keyFile`) | a client certificate and its key |

  A secret may hold several of these: the scheme of a call's URL decides which are used. One that
  holds only certificates gives no credentials, just those certificates; the `:tls` option of a call
  takes precedence over them.

  Raises `ArgumentError` if there is nothing of use in `data`, or only a part of what belongs
  together; the message has names of keys, never values. The secrets of GitHub Apps (`githubAppID`,
  …) are refused: pass a function as `:auth` that fetches an installation token and returns
  `token/2`.

      iex> Alumiini.Git.Auth.from_secret(%{"username" => "ci", "password" => "correct horse"})
      #Alumiini.Git.Auth<basic>
  """
  @spec from_secret(%{String.t() => String.t()}) :: t
  def from_secret(data) do
    parts = KubernetesSecret.parts!(data)

    auth =
      if parts.basic, do: basic(elem(parts.basic, 0), elem(parts.basic, 1)), else: %__MODULE__{}

    auth = if parts.bearer, do: %{auth | http: bearer(parts.bearer).http}, else: auth

    auth =
      if parts.ssh_key, do: %{auth | ssh: ssh_key(parts.ssh_key, parts.ssh_options).ssh}, else: auth

    if parts.tls == %{}, do: auth, else: %{auth | tls: Secret.seal(parts.tls)}
  end

  # What goes into a request for this URL: opened when its frame is packed, not before. Where none
  # of the credentials are for the URL's scheme, the worker is given what there is, and says that it
  # does not fit.
  @doc false
  @spec wire(t, binary) :: Secret.t() | nil
  def wire(%__MODULE__{http: http, ssh: ssh}, url) do
    case if(RedactedUrl.ssh?(url), do: ssh || http, else: http || ssh) do
      {_type, sealed} -> sealed
      nil -> nil
    end
  end

  @doc false
  @spec tls(t) :: Secret.t() | nil
  def tls(%__MODULE__{tls: tls}), do: tls

  defp http(type, wire), do: %__MODULE__{http: {type, sealed(type, wire)}}
  defp ssh(type, wire), do: %__MODULE__{ssh: {type, sealed(type, wire)}}
  defp sealed(type, wire), do: wire |> Map.put("type", Atom.to_string(type)) |> Secret.seal()

  # As the wire has them.
  defp options!(function, options, known) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "Alumiini.Git.Auth.#{function}: the options must be a keyword list"
    end

    for {key, value} <- Enum.reverse(options), into: %{} do
      if key not in known do
        raise ArgumentError,
              "Alumiini.Git.Auth.#{function}: unknown option #{inspect(key)}; the known ones " <>
                "are " <> Enum.map_join(known, ", ", &inspect/1)
      end

      text!(function, "option #{inspect(key)}", value)
      {Atom.to_string(key), value}
    end
  end

  # Not the value: it may well be the secret, wrongly wrapped.
  defp text!(function, what, value) do
    if not (is_binary(value) and String.valid?(value)) do
      raise ArgumentError, "Alumiini.Git.Auth.#{function}: the #{what} must be a UTF-8 string"
    end
  end

  defimpl Inspect do
    def inspect(%{http: http, ssh: ssh, tls: tls}, _opts) do
      kinds = for({type, _sealed} <- [http, ssh], do: type) ++ if(tls, do: [:tls], else: [])
      "#Alumiini.Git.Auth<#{Enum.map_join(kinds, " ", &Atom.to_string/1)}>"
    end
  end
end
