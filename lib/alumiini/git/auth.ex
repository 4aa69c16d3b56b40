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

  ## Tokens that renew themselves

  `github_app/1`, `azure/1`, `codecommit/1` and `google/1` are credentials of which a provider makes
  tokens. The worker asks for a token when the first call needs one, once for all calls with equal
  credentials, however many repositories they are for. It renews the token ahead of its end, while
  it still serves, and once more where a remote answers 401. Nobody else sees a token.

  Where none can be had, the call says so: `:auth` where the provider refuses, `:network`,
  `:rate_limited` or `:timeout` where it fails, with its host in the message and in `detail.url`. It
  counts towards the call's `:timeout`. The provider is asked through the call's proxy, with what
  its `:tls` trusts, and where `:addresses` of the server allows.

  ## Credentials by URL

  `for_urls/1` has credentials for several remotes, and each URL gets those of the longest prefix
  that it is below. That is what a server takes for all of its calls
  (`{Alumiini.Git, auth: Alumiini.Git.Auth.for_urls(…)}`), and a follower and each call, too.

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
  alias Alumiini.Git.Remote.{KubernetesSecret, TokenSource, UrlPrefix}

  defstruct [:http, :ssh, :tls, :urls]

  @typedoc "Credentials. How the struct holds them is private."
  @opaque t :: %__MODULE__{
            http: {kind, Secret.t()} | nil,
            ssh: {:ssh_key | :ssh_agent, Secret.t()} | nil,
            tls: Secret.t() | nil,
            urls: Secret.t() | nil
          }

  @typep kind :: :basic | :bearer | :github_app | :azure | :codecommit | :google

  @typedoc "Credentials, or a function that returns some."
  @type given :: t | (() -> t) | {module, atom, [term]}

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
  An installation of a GitHub App, for GitHub and GitHub Enterprise.

  The app's key signs a JSON Web Token in the worker, and GitHub makes a token of it that is valid
  for an hour. It goes to the remote as the password of `x-access-token`. A clock that is wrong does
  no harm: where GitHub shows another time, that counts.

  ## Options

    * `:app_id` - the app's id, or its client id. Required
    * `:private_key` - the text of the app's `.pem` file. Required
    * `:installation_id` - which installation; or
    * `:owner` - the organisation or user that it is installed for: it is looked up
    * `:api_url` - of GitHub Enterprise, `https://github.example.com/api/v3`. Default:
      `https://api.github.com`

  ## Examples

      Alumiini.Git.Auth.github_app(
        app_id: 12_345,
        private_key: System.fetch_env!("GITHUB_APP_KEY"),
        owner: "acme"
      )
  """
  @spec github_app(
          app_id: pos_integer | String.t(),
          private_key: String.t(),
          installation_id: pos_integer | String.t(),
          owner: String.t(),
          api_url: String.t()
        ) :: t
  def github_app(options),
    do: http(:github_app, TokenSource.github_app!(options, "github_app/1"))

  @doc """
  An application of Microsoft Entra ID, for Azure DevOps: with a client secret, or by workload
  identity, which is what a pod of AKS has in its environment.

  ## Options

    * `:tenant_id`, `:client_id` - default: the variables `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`
    * `:client_secret` - of the application; or
    * `:token_file` - the path of the file with the token of the cluster, which is read anew for
      each token, on the machine of the server. Default: the variable `AZURE_FEDERATED_TOKEN_FILE`
    * `:endpoint` - where tokens are made, of a sovereign cloud for one. Default: the variable
      `AZURE_AUTHORITY_HOST`, else `https://login.microsoftonline.com`

  The environment is that of the node that calls this.

  ## Examples

      iex> Alumiini.Git.Auth.azure(tenant_id: "t", client_id: "c", client_secret: "a secret")
      #Alumiini.Git.Auth<azure>
  """
  @spec azure(
          tenant_id: String.t(),
          client_id: String.t(),
          client_secret: String.t(),
          token_file: Path.t(),
          endpoint: String.t()
        ) :: t
  def azure(options \\ []), do: http(:azure, TokenSource.azure!(options))

  @doc """
  An identity of AWS, for CodeCommit: keys, or a role that a pod of EKS takes by its service
  account.

  Each request is signed (Signature Version 4) for its repository, by the remote's clock where ours
  is wrong. There is no credential helper, and none of the files in `~/.aws` is read.

  ## Options

    * `:access_key_id`, `:secret_access_key`, and `:session_token` for keys that expire; or
    * `:role_arn`, `:token_file` - a role, and the path of the file with the token that may take it,
      which is read anew each time, on the machine of the server. Default: the variables
      `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE`
    * `:session_name` - what the role's sessions are called. Default: the variable
      `AWS_ROLE_SESSION_NAME`, else `alumiini-git`
    * `:region` - default: the one in the URL's host
    * `:endpoint` - of the token service. Default: `https://sts.<region>.amazonaws.com`

  The environment is that of the node that calls this.

  ## Examples

      iex> Alumiini.Git.Auth.codecommit(access_key_id: "AKID", secret_access_key: "a secret")
      #Alumiini.Git.Auth<codecommit>
  """
  @spec codecommit(
          access_key_id: String.t(),
          secret_access_key: String.t(),
          session_token: String.t(),
          role_arn: String.t(),
          token_file: Path.t(),
          session_name: String.t(),
          region: String.t(),
          endpoint: String.t()
        ) :: t
  def codecommit(options \\ []), do: http(:codecommit, TokenSource.codecommit!(options))

  @doc """
  A service account of Google Cloud, for Secure Source Manager and Cloud Source Repositories: that
  of the machine or pod, from its metadata server, or by workload identity federation.

  ## Options

    * `:service_account` - its e-mail. Default: the machine's own; with federation, nobody else is
      acted as
    * `:audience`, `:token_file` - of federation: the provider of the pool
      (`//iam.googleapis.com/projects/…/providers/…`), and the path of the file with the token that
      it takes, which is read anew each time, on the machine of the server
    * `:endpoint` - of the metadata server, or with federation of the token service. Default:
      `http://metadata.google.internal` and `https://sts.googleapis.com`
    * `:impersonation_endpoint` - of the service that lets one act as an account. Default:
      `https://iamcredentials.googleapis.com`

  The metadata server is asked directly, whatever `:proxy` and `:addresses` say, at its one address
  (`169.254.169.254`), unless `:endpoint` is given.

  ## Examples

      iex> Alumiini.Git.Auth.google()
      #Alumiini.Git.Auth<google>
  """
  @spec google(
          service_account: String.t(),
          audience: String.t(),
          token_file: Path.t(),
          endpoint: String.t(),
          impersonation_endpoint: String.t()
        ) :: t
  def google(options \\ []), do: http(:google, TokenSource.google!(options))

  @doc """
  Credentials by URL: pairs of a prefix and the credentials for all URLs below it, or a function
  that returns them. The longest prefix counts. A URL that is below none has no credentials, but for
  those in it.

  A prefix is compared part by part: the scheme, the host in either case, the port, the names of the
  path. So `https://github.com/acme` is for `https://github.com/acme/shop.git`, and not for
  `https://github.com/acme-evil/shop.git`, nor for `http://` or `ssh://`. Over SSH, `user@host:path`
  is as `ssh://user@host/path`; a prefix without a user is for all users. A URL that may be read in
  two ways, with `..` or encoded slashes in its path, is below none.

      iex> Alumiini.Git.Auth.for_urls([
      ...>   {"https://github.com/", Alumiini.Git.Auth.token("for all")},
      ...>   {"https://github.com/acme/", Alumiini.Git.Auth.token("for one of them")}
      ...> ])
      #Alumiini.Git.Auth<urls>

  As the option `:auth` of a server, it has no functions: these are called by the process that makes
  a call, and the server has none to call them in.
  """
  @spec for_urls([{String.t(), given}]) :: t
  def for_urls(pairs) do
    if not (is_list(pairs) and pairs != [] and Enum.all?(pairs, &match?({_prefix, _auth}, &1))) do
      raise ArgumentError,
            "Alumiini.Git.Auth.for_urls/1: there must be a list of a prefix and its credentials " <>
              "each"
    end

    entries = Enum.map(pairs, &entry!/1)

    if Enum.uniq_by(entries, &elem(&1, 0)) != entries do
      raise ArgumentError, "Alumiini.Git.Auth.for_urls/1: two of the prefixes are the same"
    end

    %__MODULE__{urls: Secret.seal(entries)}
  end

  # Not the prefix: a password may stand in it, and that is what is wrong.
  defp entry!({prefix, auth}) do
    case {UrlPrefix.parse(prefix), given?(auth)} do
      {{:ok, parts}, true} ->
        {parts, auth}

      {:error, _auth} ->
        raise ArgumentError,
              "Alumiini.Git.Auth.for_urls/1: a prefix must be a URL with its scheme and host, " <>
                "such as \"https://github.com/acme/\", without credentials, query and `..`"

      {_prefix, false} ->
        raise ArgumentError,
              "Alumiini.Git.Auth.for_urls/1: the credentials must be made by another function " <>
                "of Alumiini.Git.Auth, or be a function of no arguments or " <>
                "{module, function, arguments} that returns such a value"
    end
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
  | `githubAppID`, `githubAppPrivateKey`, and `githubAppInstallationID` or `githubAppInstallationOwner`; with `githubAppBaseURL` | `github_app/1`, where there is neither |
  | `identity`, or `ssh-privatekey` (type `kubernetes.io/ssh-auth`) | `ssh_key/2`, with `password` as passphrase, `username`, and `known_hosts` |
  | `ca.crt` (older: `caFile`) | certificates to trust beside the system's |
  | `tls.crt` and `tls.key` (older: `certFile`, `keyFile`) | a client certificate and its key |

  A secret may hold several of these: the scheme of a call's URL decides which are used. One that
  holds only certificates gives no credentials, just those certificates; the `:tls` option of a call
  takes precedence over them.

  Raises `ArgumentError` if there is nothing of use in `data`, or only a part of what belongs
  together; the message has names of keys, never values.

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
      if parts.github_app,
        do: %{
          auth
          | http: http(:github_app, TokenSource.github_app!(parts.github_app, "from_secret/1")).http
        },
        else: auth

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

  # Those for this URL, of credentials by URL: `t:given/0`, or nil. All else is for any URL. A
  # function may return credentials by URL itself.
  @doc false
  @spec for_url(term, binary) :: term
  def for_url(%__MODULE__{urls: sealed}, url) when sealed != nil do
    {:ok, entries} = Secret.reveal(sealed)

    entries
    |> Enum.map(fn {prefix, auth} -> {UrlPrefix.match(prefix, url), auth} end)
    |> Enum.reject(fn {fit, _auth} -> fit == nil end)
    |> Enum.max_by(&elem(&1, 0), fn -> {nil, nil} end)
    |> elem(1)
  end

  def for_url(auth, _url), do: auth

  @doc false
  @spec for_urls?(term) :: boolean
  def for_urls?(%__MODULE__{urls: urls}), do: urls != nil
  def for_urls?(_other), do: false

  @doc false
  @spec functions?(t) :: boolean
  def functions?(%__MODULE__{urls: nil}), do: false

  def functions?(%__MODULE__{urls: sealed}) do
    {:ok, entries} = Secret.reveal(sealed)
    not Enum.all?(entries, fn {_prefix, auth} -> is_struct(auth, __MODULE__) end)
  end

  defp given?(auth) when is_function(auth, 0), do: true
  defp given?({m, f, a}) when is_atom(m) and is_atom(f) and is_list(a), do: true
  defp given?(auth), do: is_struct(auth, __MODULE__) and not for_urls?(auth)

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
    def inspect(%{http: http, ssh: ssh, tls: tls, urls: urls}, _opts) do
      kinds =
        for({type, _sealed} <- [http, ssh], do: type) ++
          for({kind, held} <- [tls: tls, urls: urls], held, do: kind)

      "#Alumiini.Git.Auth<#{Enum.map_join(kinds, " ", &Atom.to_string/1)}>"
    end
  end
end
