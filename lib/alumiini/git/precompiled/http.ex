defmodule Alumiini.Git.Precompiled.Http do
  @moduledoc false

  # One GET request with OTP's `:httpc`, its body in pieces. Redirects and retries are `Download`'s.

  alias Alumiini.Git.Precompiled.{Certificates, Otp, Proxy}

  # Each request has a profile of its own, for in httpc a proxy is an option of the profile, and one
  # that was set cannot be unset. That takes a name, and so an atom: a few for each time that
  # something is downloaded.
  @opaque request :: %{profile: atom, ref: reference, handler: pid | nil}

  @type event ::
          {:start, headers, request}
          | {:data, binary, request}
          | :finished
          | {:status, non_neg_integer, headers}
          | {:failed, term}

  @type headers :: %{optional(String.t()) => String.t()}

  @doc "Starts what is needed."
  @spec start() :: :ok | {:error, String.t()}
  def start do
    with :ok <- Otp.load(),
         {:ok, _started} <- Application.ensure_all_started(:inets),
         {:ok, _started} <- Application.ensure_all_started(:ssl) do
      :ok
    else
      {:error, why} when is_binary(why) ->
        {:error, why}

      {:error, {application, _reason}} ->
        {:error,
         "OTP's application #{application} does not start, which downloads need; is all of " <>
           "OTP installed?"}
    end
  end

  @doc "Sends a request. Its answer comes to the process that asked, see `next/2`."
  @spec get(URI.t(), [{String.t(), String.t()}], map) :: {:ok, request} | {:error, String.t()}
  def get(uri, headers, options) do
    with {:ok, proxy} <- Proxy.for(uri, options.environment),
         :ok <- verifiable(uri) do
      profile = :"alumiini_git_#{System.unique_integer([:positive])}"
      {:ok, _pid} = :inets.start(:httpc, profile: profile)
      :ok = :httpc.set_options(proxy(uri.scheme, proxy), profile)
      url = URI.to_string(%{uri | userinfo: nil, authority: nil, fragment: nil})

      headers =
        [{"user-agent", "alumiini_git"}, {"accept", "*/*"} | authorization(uri.userinfo)] ++ headers

      headers =
        for {name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)}

      http_options =
        [
          autoredirect: false,
          timeout: :infinity,
          connect_timeout: options.connect_timeout
        ] ++ tls(uri, options) ++ proxy_auth(proxy)

      case :httpc.request(
             :get,
             {String.to_charlist(url), headers},
             http_options,
             [sync: false, stream: {:self, :once}, body_format: :binary],
             profile
           ) do
        {:ok, ref} ->
          {:ok, %{profile: profile, ref: ref, handler: nil}}

        {:error, reason} ->
          stop(profile)
          {:error, "#{uri.host} cannot be asked: #{inspect(reason)}"}
      end
    end
  end

  defp verifiable(%{scheme: "https", host: host}) do
    if Certificates.address?(host),
      do:
        {:error,
         "#{host} is an address, against which OTP's HTTP client cannot check a certificate; " <>
           "use its name"},
      else: :ok
  end

  defp verifiable(_plain), do: :ok

  defp proxy(_scheme, nil), do: []

  defp proxy("https", %{host: host, port: port}),
    do: [https_proxy: {{String.to_charlist(host), port}, []}]

  defp proxy("http", %{host: host, port: port}), do: [proxy: {{String.to_charlist(host), port}, []}]

  defp proxy_auth(%{credentials: {user, password}}),
    do: [proxy_auth: {String.to_charlist(user), String.to_charlist(password)}]

  defp proxy_auth(_none), do: []

  defp tls(%{scheme: "https", host: host}, options),
    do: [ssl: Certificates.options(host, options.authorities)]

  defp tls(_plain, _options), do: []

  defp authorization(nil), do: []

  defp authorization(userinfo),
    do: [{"authorization", "Basic " <> Base.encode64(URI.decode(userinfo))}]

  @doc "What comes next, until the deadline (of the monotonic clock, in milliseconds)."
  @spec next(request, integer) :: event
  def next(%{ref: ref} = request, deadline) do
    if request.handler, do: :httpc.stream_next(request.handler)

    receive do
      {:http, {^ref, :stream_start, headers, handler}} ->
        {:start, headers(headers), %{request | handler: handler}}

      {:http, {^ref, :stream, bytes}} ->
        {:data, bytes, request}

      {:http, {^ref, :stream_end, _headers}} ->
        over(request, :finished)

      {:http, {^ref, {:error, reason}}} ->
        over(request, {:failed, reason})

      {:http, {^ref, {{_version, status, _phrase}, headers, _body}}} ->
        over(request, {:status, status, headers(headers)})
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        cancel(request)
        {:failed, :stalled}
    end
  end

  defp over(request, event) do
    stop(request.profile)
    event
  end

  @spec cancel(request) :: :ok
  def cancel(request) do
    :ok = :httpc.cancel_request(request.ref, request.profile)
    stop(request.profile)
  end

  defp stop(profile) do
    _ = :inets.stop(:httpc, profile)
    :ok
  end

  defp headers(headers) do
    for {name, value} <- headers, into: %{} do
      {name |> List.to_string() |> String.downcase(), List.to_string(value)}
    end
  end
end
