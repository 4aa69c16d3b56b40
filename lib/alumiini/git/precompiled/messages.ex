defmodule Alumiini.Git.Precompiled.Messages do
  @moduledoc false

  # What is said when a download fails: what it means, and what to do. Pure.

  @doc "A sentence for a status that is no success."
  @spec status(String.t(), non_neg_integer, %{optional(String.t()) => String.t()}) :: String.t()
  def status(url, 404, _headers),
    do:
      "#{url} does not exist (status 404): this version has no release there, or the mirror " <>
        "lacks the file"

  def status(url, status, headers) when status in [403, 429] do
    if status == 429 or headers["x-ratelimit-remaining"] == "0" or headers["retry-after"] != nil,
      do:
        "#{url} is refused because this address asks too often (status #{status}, rate " <>
          "limit)#{wait(headers)}; " <>
          "a shared cache (ALUMIINI_GIT_CACHE) or a mirror (ALUMIINI_GIT_MIRROR) avoids that",
      else:
        "#{url} may not be read (status 403): a mirror may want credentials, a proxy may " <>
          "forbid the address"
  end

  def status(url, 401, _headers),
    do:
      "#{url} wants credentials (status 401): put them into ALUMIINI_GIT_MIRROR, as " <>
        "https://user:password@host/"

  def status(url, 407, _headers),
    do:
      "the proxy wants credentials for #{url} (status 407): put them into https_proxy, as " <>
        "http://user:password@host:port"

  def status(url, status, _headers) when status >= 500,
    do: "#{url} fails on the server's side (status #{status}); try again later"

  def status(url, status, _headers), do: "#{url} answers with status #{status}"

  defp wait(%{"retry-after" => seconds}),
    do: if(seconds =~ ~r/\A\d{1,9}\z/, do: " for #{seconds} s", else: "")

  defp wait(%{"x-ratelimit-reset" => time}) do
    with {seconds, ""} <- Integer.parse(time),
         {:ok, time} <- DateTime.from_unix(seconds) do
      " until #{DateTime.to_iso8601(time)}"
    else
      _other -> ""
    end
  end

  defp wait(_headers), do: ""

  @doc """
  The rest of a sentence that begins with the URL: why there is no answer, or only a part of one.
  """
  @spec failure(term, map) :: String.t()
  def failure(:stalled, %{stall_timeout: timeout}),
    do:
      "says nothing any more: no byte came for #{timeout} ms. Try again, or use a mirror " <>
        "(ALUMIINI_GIT_MIRROR)"

  def failure(reason, options) do
    case cause(reason) do
      {:alert, alert, text} ->
        alert(alert, text)

      {:proxy, status} ->
        "cannot be reached through the proxy, which answers with status #{status}" <>
          if(status == 407,
            do: ": it wants credentials, as in https_proxy=http://user:password@host:port",
            else: ""
          )

      :nxdomain ->
        "has a host whose address is not known (is there a network?)"

      :econnrefused ->
        "cannot be reached: the connection is refused"

      timeout when timeout in [:timeout, :etimedout, :connect_timeout] ->
        "cannot be reached within #{options.connect_timeout} ms"

      closed when closed in [:socket_closed_remotely, :server_closed, :closed, :econnreset] ->
        "ended the connection in the middle"

      other ->
        # What is unknown may hold anything, a header with credentials among it.
        case is_atom(other) and :inet.format_error(other) do
          text when text in [false, ~c"unknown POSIX error"] ->
            "cannot be read by OTP's HTTP client"

          text ->
            "cannot be reached: #{text}"
        end
    end
  end

  @doc "Whether it is the same the next time."
  @spec lasting?(term) :: boolean
  def lasting?(reason) do
    case cause(reason) do
      {:alert, alert, _text} -> alert not in [:internal_error, :close_notify]
      {:proxy, status} -> status < 500
      _other -> false
    end
  end

  defp cause({:failed_connect, details}) when is_list(details) do
    Enum.find_value(details, :unknown, fn
      {_family, _options, reason} -> cause(reason)
      _address -> nil
    end)
  end

  defp cause({:tls_alert, {alert, text}}), do: {:alert, alert, to_string(text)}
  defp cause({:proxy_error, status}) when is_integer(status), do: {:proxy, status}
  defp cause({:could_not_establish_ssl_tunnel, {_, status, _}}), do: {:proxy, status}
  defp cause({:options, {:cacerts, _}}), do: {:alert, :unknown_ca, ""}
  defp cause({wrapper, reason}) when wrapper in [:error, :shutdown], do: cause(reason)
  defp cause({reason, _details}) when is_atom(reason), do: reason
  defp cause(reason), do: reason

  defp alert(:certificate_expired, _text), do: "has a certificate that has expired"

  # One for another host is a bad certificate from OTP 27 on, and a handshake failure before. Its
  # reason is only in the text.
  defp alert(alert, text) do
    cond do
      text =~ "hostname_check_failed" ->
        "has a certificate for another host"

      alert in [:unknown_ca, :bad_certificate, :certificate_unknown] ->
        "has a certificate from an issuer that is not trusted; if it is your organisation's, " <>
          "set ALUMIINI_GIT_CACERT " <>
          "to a PEM file with the issuer"

      alert == :handshake_failure ->
        "does not agree with us on how to encrypt (handshake failure)"

      true ->
        "refuses TLS, or speaks none (#{alert})"
    end
  end
end
