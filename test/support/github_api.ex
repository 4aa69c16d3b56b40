defmodule Alumiini.Git.Test.GithubApi do
  @moduledoc """
  What GitHub does when an app asks for a token: it checks the signature of the JSON Web Token, its
  issuer and its times by a clock of its own, which may show another time than ours.
  """

  alias Alumiini.Git.Test.TokenProvider

  @doc "An RSA key: its PEM, and what verifies with it."
  @spec key() :: %{pem: String.t(), public: tuple}
  def key do
    key =
      {:RSAPrivateKey, _, n, e, _, _, _, _, _, _, _} =
      :public_key.generate_key({:rsa, 2048, 65_537})

    pem = :public_key.pem_encode([:public_key.pem_entry_encode(:RSAPrivateKey, key)])
    %{pem: pem, public: {:RSAPublicKey, n, e}}
  end

  @doc """
  Answers as the API. `api`:

    * `:key`, `:app_id` - of the app
    * `:ahead` - by how many seconds its clock is. Default: 0
    * `:installations` - by path, such as `"/orgs/acme/installation"`, their ids
    * `:token` - a function of no arguments
  """
  @spec answer(TokenProvider.request(), map) :: TokenProvider.answer()
  def answer(request, api) do
    now = System.os_time(:second) + Map.get(api, :ahead, 0)
    date = {"date", now |> DateTime.from_unix!() |> Calendar.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    json = {"content-type", "application/json; charset=utf-8"}

    {status, body} =
      case refusal(request.headers["authorization"], api, now) do
        nil -> found(request, api, now)
        message -> {401, ~s({"message":"#{message}","status":"401"})}
      end

    {status, [date, json], body}
  end

  defp found(%{method: "GET", path: path}, api, _now) do
    case api.installations do
      %{^path => id} -> {200, ~s({"id":#{id},"account":{"login":"acme","id":7}})}
      _none -> {404, ~s({"message":"Not Found","status":"404"})}
    end
  end

  defp found(%{method: "POST", path: path}, api, now) do
    ids = for {_path, id} <- api.installations, do: "/app/installations/#{id}/access_tokens"

    if path in ids do
      ends = (now + 3600) |> DateTime.from_unix!() |> DateTime.to_iso8601()

      {201,
       ~s({"token":"#{api.token.()}","expires_at":"#{ends}","permissions":{"contents":"read"}})}
    else
      {404, ~s({"message":"Not Found","status":"404"})}
    end
  end

  defp refusal("Bearer " <> jwt, api, now) do
    with [header, claims, signature] <- String.split(jwt, "."),
         {:ok, signed} <- Base.url_decode64(signature, padding: false),
         true <- :public_key.verify("#{header}.#{claims}", :sha256, signed, api.key.public),
         {:ok, header} <- Base.url_decode64(header, padding: false),
         {:ok, claims} <- Base.url_decode64(claims, padding: false),
         true <- header =~ ~s("alg":"RS256"),
         true <- claims =~ ~s("iss":"#{api.app_id}") do
      [iat, exp] = for name <- ["iat", "exp"], do: number(claims, name)

      cond do
        iat > now -> "'Issued at' claim ('iat') must be an Integer representing the time"
        exp <= now -> "'Expiration time' claim ('exp') must be a numeric value in the future"
        exp > now + 600 -> "'Expiration time' claim ('exp') is too far in the future"
        true -> nil
      end
    else
      _not_ours -> "A JSON web token could not be decoded"
    end
  end

  defp refusal(_none, _api, _now), do: "Requires authentication"

  defp number(claims, name) do
    [_all, digits] = Regex.run(~r/"#{name}":(\d+)/, claims)
    String.to_integer(digits)
  end
end
