defmodule Alumiini.Git.Doctor.Arguments do
  @moduledoc false

  # The arguments of `mix alumiini_git.doctor`. Everybody on the machine can read them while it
  # runs, so none may hold a secret: those come from environment variables and files, and no message
  # repeats what might have been one.

  alias Alumiini.Git.{Auth, RedactedUrl}
  alias Alumiini.Git.Remote.{Proxy, Tls}

  @enforce_keys [:url, :ref, :timeout, :options]
  defstruct [:url, :ref, :timeout, :options]

  @type t :: %__MODULE__{
          url: String.t() | nil,
          ref: String.t() | nil,
          timeout: pos_integer,
          # Those of `Alumiini.Git.ls_remote/3`.
          options: keyword
        }

  @switches [
    ref: :string,
    username: :string,
    password_env: :string,
    token_env: :string,
    bearer_env: :string,
    ssh_key: :string,
    passphrase_env: :string,
    ssh_agent: :boolean,
    known_hosts: :string,
    ca: :string,
    cert: :string,
    key: :string,
    proxy: :string,
    no_proxy: :string,
    allow_insecure: :boolean,
    timeout: :integer
  ]

  @kinds [:password_env, :token_env, :bearer_env, :ssh_key, :ssh_agent]
  @timeout 30_000

  @doc "What was asked for, or a sentence about what is wrong."
  @spec parse([String.t()]) :: {:ok, t} | :help | {:error, String.t()}
  def parse(argv) do
    if "--help" in argv or "-h" in argv, do: :help, else: parse!(argv)
  rescue
    # What the library refuses, too: certificates that are none, text that is not UTF-8.
    error in ArgumentError -> {:error, error.message}
  end

  defp parse!(argv) do
    {switches, rest, invalid} = OptionParser.parse(argv, strict: @switches)
    known!(invalid)
    url = url!(rest)

    if url == nil and Keyword.delete(switches, :timeout) != [],
      do: wrong!("options say how to reach a URL, but there is none")

    timeout = Keyword.get(switches, :timeout, @timeout)

    if timeout not in 1..2_147_483_647,
      do: wrong!("--timeout must be a positive number of milliseconds")

    options =
      Enum.reject(
        [
          auth: auth!(switches),
          tls: tls!(switches),
          proxy: proxy!(switches[:proxy]),
          no_proxy: switches[:no_proxy],
          allow_insecure: switches[:allow_insecure]
        ],
        fn {_key, value} -> value == nil end
      )

    {:ok, %__MODULE__{url: url, ref: switches[:ref], timeout: timeout, options: options}}
  end

  defp known!([]), do: :ok

  defp known!([{name, _value} | _more]) do
    if Enum.any?(@switches, fn {switch, _type} -> flag(switch) == name end),
      do: wrong!("#{name} has no value, or one of the wrong kind"),
      else: wrong!("unknown option #{name}")
  end

  defp url!([]), do: nil

  defp url!([url]) do
    if RedactedUrl.secret?(url) do
      wrong!(
        "the URL must hold no credentials, for other processes can see it; " <>
          "give --username with --password-env, or --token-env"
      )
    end

    url
  end

  defp url!(_several), do: wrong!("one URL at most")

  defp auth!(switches) do
    kinds = for kind <- @kinds, switches[kind], do: kind
    requires!(switches, kinds, :passphrase_env, [:ssh_key])
    requires!(switches, kinds, :known_hosts, [:ssh_key, :ssh_agent])
    requires!(switches, kinds, :username, [:password_env, :token_env, :ssh_key, :ssh_agent])

    case kinds do
      [] -> nil
      [kind] -> auth!(kind, switches)
      [one, another | _more] -> wrong!("#{flag(one)} and #{flag(another)} do not go together")
    end
  end

  defp requires!(switches, kinds, switch, one_of) do
    if switches[switch] != nil and not Enum.any?(one_of, &(&1 in kinds)) do
      wrong!("#{flag(switch)} goes with #{Enum.map_join(one_of, " or ", &flag/1)}")
    end
  end

  defp auth!(:password_env, switches) do
    if switches[:username] == nil, do: wrong!("--password-env goes with --username")
    Auth.basic(switches[:username], env!(switches, :password_env))
  end

  defp auth!(:token_env, switches) do
    Auth.token(env!(switches, :token_env), switches[:username] || "git")
  end

  defp auth!(:bearer_env, switches), do: Auth.bearer(env!(switches, :bearer_env))

  defp auth!(:ssh_key, switches) do
    passphrase =
      if switches[:passphrase_env], do: [passphrase: env!(switches, :passphrase_env)], else: []

    Auth.ssh_key(file!(switches, :ssh_key), passphrase ++ ssh_options!(switches))
  end

  defp auth!(:ssh_agent, switches), do: Auth.ssh_agent(ssh_options!(switches))

  defp ssh_options!(switches) do
    username = if switches[:username], do: [username: switches[:username]], else: []

    known_hosts =
      if switches[:known_hosts], do: [known_hosts: file!(switches, :known_hosts)], else: []

    username ++ known_hosts
  end

  defp tls!(switches) do
    case for(key <- [:ca, :cert, :key], switches[key], do: {key, file!(switches, key)}) do
      [] ->
        nil

      tls ->
        if is_nil(switches[:cert]) != is_nil(switches[:key]),
          do: wrong!("--cert and --key go together")

        # Raises here, where it is an argument that is wrong.
        _sealed = Tls.seal!(tls)
        tls
    end
  end

  defp proxy!(nil), do: nil
  defp proxy!("environment"), do: :environment

  defp proxy!(proxy) do
    cond do
      RedactedUrl.secret?(proxy) ->
        wrong!(
          "the URL of --proxy must hold no credentials, for other processes can see it; " <>
            "put it into the environment variable https_proxy and give --proxy environment"
        )

      not Proxy.url?(proxy) ->
        wrong!(
          "--proxy must be a URL that begins with http://, https://, socks5:// or socks5h://, " <>
            "or environment"
        )

      true ->
        proxy
    end
  end

  # Not the name: it may be the secret itself, given in the wrong place.
  defp env!(switches, switch) do
    case System.get_env(switches[switch]) do
      value when value in [nil, ""] ->
        wrong!("the environment variable that #{flag(switch)} names is not set")

      value ->
        value
    end
  end

  defp file!(switches, switch) do
    case File.read(switches[switch]) do
      {:ok, content} ->
        content

      {:error, reason} ->
        wrong!("the file that #{flag(switch)} names cannot be read: #{:file.format_error(reason)}")
    end
  end

  defp flag(switch), do: "--" <> (switch |> Atom.to_string() |> String.replace("_", "-"))

  @spec wrong!(String.t()) :: no_return
  defp wrong!(message), do: raise(ArgumentError, message)
end
