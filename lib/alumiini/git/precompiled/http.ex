defmodule Alumiini.Git.Precompiled.Http do
  @moduledoc false

  # One GET request with OTP's `:httpc`, its body in pieces. Redirects and retries are `Download`'s.

  alias Alumiini.Git.Precompiled.{Otp, Proxy, Trust}

  # Of its own, so that neither proxies nor connections are shared with anybody else.
  @profile :alumiini_git

  @opaque request :: {reference, pid | nil}

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
      case :inets.start(:httpc, profile: @profile) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
        {:error, reason} -> {:error, "OTP's HTTP client does not start: #{inspect(reason)}"}
      end
    else
      {:error, why} when is_binary(why) ->
        {:error, why}

      {:error, {application, _reason}} ->
        {:error,
         "OTP's application #{application} does not start, which downloads need; is all of OTP installed?"}
    end
  end

  @doc "Sends a request. Its answer comes to the process that asked, see `next/2`."
  @spec get(URI.t(), [{String.t(), String.t()}], map) :: {:ok, request} | {:error, String.t()}
  def get(uri, headers, options) do
    with {:ok, proxy} <- Proxy.for(uri, options.environment) do
      :ok = :httpc.set_options(proxies(uri.scheme, proxy), @profile)
      url = URI.to_string(%{uri | userinfo: nil, authority: nil, fragment: nil})
      headers = [{"user-agent", "alumiini_git"}, {"accept", "*/*"} | authorization(uri.userinfo)] ++ headers
      headers = for {name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)}

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
             @profile
           ) do
        {:ok, ref} -> {:ok, {ref, nil}}
        {:error, reason} -> {:error, "#{uri.host} cannot be asked: #{inspect(reason)}"}
      end
    end
  end

  # In httpc a proxy is an option of the profile and not of a request.
  defp proxies("https", proxy), do: [https_proxy: proxy(proxy), proxy: proxy(nil)]
  defp proxies(_http, proxy), do: [proxy: proxy(proxy), https_proxy: proxy(nil)]

  defp proxy(nil), do: {:undefined, []}
  defp proxy(%{host: host, port: port}), do: {{String.to_charlist(host), port}, []}

  defp proxy_auth(%{credentials: {user, password}}),
    do: [proxy_auth: {String.to_charlist(user), String.to_charlist(password)}]

  defp proxy_auth(_none), do: []

  defp tls(%{scheme: "https", host: host}, options), do: [ssl: Trust.options(host, options.authorities)]
  defp tls(_plain, _options), do: []

  defp authorization(nil), do: []
  defp authorization(userinfo), do: [{"authorization", "Basic " <> Base.encode64(URI.decode(userinfo))}]

  @doc "What comes next, until the deadline (of the monotonic clock, in milliseconds)."
  @spec next(request, integer) :: event
  def next({ref, handler}, deadline) do
    if handler, do: :httpc.stream_next(handler)

    receive do
      {:http, {^ref, :stream_start, headers, handler}} -> {:start, headers(headers), {ref, handler}}
      {:http, {^ref, :stream, bytes}} -> {:data, bytes, {ref, handler}}
      {:http, {^ref, :stream_end, _headers}} -> :finished
      {:http, {^ref, {:error, reason}}} -> {:failed, reason}
      {:http, {^ref, {{_version, status, _phrase}, headers, _body}}} -> {:status, status, headers(headers)}
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        cancel({ref, handler})
        {:failed, :stalled}
    end
  end

  @spec cancel(request) :: :ok
  def cancel({ref, _handler}), do: :httpc.cancel_request(ref, @profile)

  defp headers(headers) do
    for {name, value} <- headers, into: %{} do
      {name |> List.to_string() |> String.downcase(), List.to_string(value)}
    end
  end
end
