defmodule Alumiini.Git.Remote do
  @moduledoc false

  # How a call reaches its remote, and as whom: the fields of the wire that say so, with everything
  # secret sealed, and the second attempt that credentials get which a function made and the remote
  # refused. Runs in the caller.

  alias Alumiini.Git.{Auth, Error, Ops, RedactedUrl, Secret, Tally}
  alias Alumiini.Git.Remote.{Proxy, Tls}
  alias Alumiini.Git.Server.Call

  @enforce_keys [:url, :shown, :fields, :auth, :renewable?, :from_url, :tls]
  defstruct [:url, :shown, :fields, :auth, :renewable?, :from_url, :tls]

  @type t :: %__MODULE__{
          # Without credentials, but it may have a query.
          url: Secret.t(),
          shown: String.t(),
          fields: map,
          # Sealed, for a function may hold a token in its environment, and `{m, f, args}` certainly
          # does.
          auth: Secret.t(),
          # They come from a function, which can be asked again.
          renewable?: boolean,
          from_url: Auth.t() | nil,
          tls: Secret.t() | nil
        }

  @doc "From a URL and a call's options, both checked."
  @spec new(binary, keyword) :: t
  def new(url, options) do
    {bare, from_url} = RedactedUrl.split(url)
    sealed = Secret.seal(bare)

    fields =
      Map.merge(
        %{"url" => sealed, "allow_insecure" => Keyword.get(options, :allow_insecure, false)},
        Proxy.wire(proxy(options), no_proxy(options), sealed)
      )

    %__MODULE__{
      url: sealed,
      shown: RedactedUrl.clean(url),
      fields: fields,
      auth: Secret.seal(options[:auth]),
      renewable?: renewable?(options[:auth], bare),
      from_url: from_url,
      tls: if(options[:tls], do: Tls.seal!(options[:tls]))
    }
  end

  defp renewable?(auth, url) do
    chosen = Auth.for_url(auth, url)
    is_function(chosen) or is_tuple(chosen)
  end

  @doc "What a server adds to the requests that do not say it themselves."
  @spec defaults(keyword) :: map
  def defaults(options) do
    %{
      auth: options[:auth],
      tls: if(options[:tls], do: Tls.seal!(options[:tls])),
      proxy: proxy(options),
      no_proxy: no_proxy(options)
    }
  end

  @doc "A request with the server's defaults in it, if it is one that goes to a remote."
  @spec with_defaults(map, map) :: map
  def with_defaults(%{"url" => url} = request, defaults) do
    url = if is_function(url, 0), do: url, else: Secret.seal(url)
    {auth, auth_tls} = if request["auth"], do: {nil, nil}, else: by_url(defaults.auth, url)
    tls = Enum.reject([defaults.tls, auth_tls, request["tls"]], &is_nil/1)

    said = for {key, value} <- request, value != nil, into: %{}, do: {key, value}

    defaults.proxy
    |> Proxy.wire(defaults.no_proxy, url)
    |> Map.put("auth", auth)
    |> Map.merge(said)
    |> Map.put("tls", if(tls != [], do: Secret.merge(tls)))
  end

  def with_defaults(request, _defaults), do: request

  # Which these are, and so the URL, is seen when they are opened.
  defp by_url(nil, _url), do: {nil, nil}

  defp by_url(auth, url) do
    chosen = fn use -> Secret.map(url, &use.(Auth.for_url(auth, &1), &1)) end

    {chosen.(fn auth, url -> auth && Auth.wire(auth, url) end),
     chosen.(fn auth, _url -> opened((auth && Auth.tls(auth)) || Secret.seal(%{})) end)}
  end

  defp opened(sealed) do
    {:ok, value} = Secret.reveal(sealed)
    value
  end

  @doc """
  Makes a request. Where the credentials come from a function, it is called now, and again if the
  remote answered 401, or with a page to log in (200, 203); then the request is made once more, in
  the time that is left.
  """
  @spec call(t, GenServer.server(), map, keyword) :: {:ok, map} | {:error, Error.t()}
  def call(remote, server, request, options) do
    deadline = now() + Keyword.fetch!(options, :timeout)

    case attempt(remote, server, request, options, deadline) do
      {:error, %Error{reason: :auth, detail: %{status: status}}} = refused
      when status in [200, 203, 401] ->
        if remote.renewable? do
          Tally.again()
          attempt(remote, server, request, options, deadline)
        else
          refused
        end

      result ->
        result
    end
  end

  # What the function gave is not kept while the answer is waited for: the stack of a process can be
  # seen.
  defp attempt(remote, server, request, options, deadline) do
    request = request |> Map.merge(remote.fields) |> Map.merge(credentials(remote))

    case deadline - now() do
      left when left > 0 ->
        # To the millisecond what the caller said, where nothing else took time.
        timeout = if remote.renewable?, do: left, else: options[:timeout]
        Call.run(server, request, Keyword.put(options, :timeout, timeout))

      _over ->
        message =
          "the function given as :auth took all of #{options[:timeout]} ms; nothing was asked " <>
            "of the remote"

        {:error, Error.new(:timeout, Ops.name(request["op"]), message)}
    end
  end

  defp credentials(remote) do
    {:ok, url} = Secret.reveal(remote.url)
    {:ok, auth} = Secret.reveal(remote.auth)
    auth = resolve(auth, url)
    tls = Enum.reject([auth && Auth.tls(auth), remote.tls], &is_nil/1)
    # An option with certificates alone leaves it to the URL to say who calls.
    wire = Enum.find_value([auth, remote.from_url], &(&1 && Auth.wire(&1, url)))
    %{"auth" => wire, "tls" => if(tls != [], do: Secret.merge(tls))}
  end

  defp resolve(auth, url) do
    case Auth.for_url(auth, url) do
      function when is_function(function, 0) -> resolve(auth!(function.()), url)
      {module, function, arguments} -> resolve(auth!(apply(module, function, arguments)), url)
      auth -> auth
    end
  end

  defp auth!(%Auth{} = auth), do: auth

  # Not what it is: perhaps the token itself.
  defp auth!(_other) do
    raise ArgumentError,
          "the function given as :auth must return what a function of Alumiini.Git.Auth made, " <>
            "such as Alumiini.Git.Auth.token/2"
  end

  defp proxy(options), do: if(options[:proxy] != nil, do: Proxy.seal!(options[:proxy]))
  defp no_proxy(options), do: if(options[:no_proxy] != nil, do: Proxy.no_proxy!(options[:no_proxy]))
  defp now, do: System.monotonic_time(:millisecond)
end
