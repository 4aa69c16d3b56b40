defmodule Alumiini.Git.Precompiled.Proxy do
  @moduledoc false

  # Which proxy the environment wants for a URL, by the conventions of curl. Pure.

  @type t :: %{
          host: String.t(),
          port: :inet.port_number(),
          credentials: nil | {user :: String.t(), password :: String.t()}
        }

  @doc """
  The proxy for a URL, or nil for none. What is said of a bad one does not repeat it, for it may
  hold a password.
  """
  @spec for(URI.t(), %{optional(String.t()) => String.t()}) :: {:ok, t | nil} | {:error, String.t()}
  def for(%URI{scheme: scheme, host: host, port: port}, environment) do
    # Of HTTP_PROXY in capitals curl says that a CGI's client sets it; it counts in small letters
    # only.
    names =
      if scheme == "https",
        do: ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        else: ["http_proxy", "all_proxy", "ALL_PROXY"]

    cond do
      direct?(host, port, first(environment, ["no_proxy", "NO_PROXY"]) || {nil, ""}) -> {:ok, nil}
      found = first(environment, names) -> parse(found)
      true -> {:ok, nil}
    end
  end

  defp first(environment, names) do
    Enum.find_value(names, fn name ->
      value = String.trim(Map.get(environment, name) || "")
      if value != "", do: {name, value}
    end)
  end

  defp parse({name, value}) do
    value = if value =~ "://", do: value, else: "http://" <> value

    case URI.new(value) do
      {:ok, %URI{scheme: "http", host: host} = uri} when host not in [nil, ""] ->
        {:ok, %{host: host, port: port(value, uri), credentials: credentials(uri.userinfo)}}

      {:ok, %URI{scheme: scheme}} when scheme != "http" ->
        {:error,
         "#{name} names a proxy of the kind #{scheme}://, and only http:// can be used to " <>
           "download the worker"}

      _other ->
        {:error,
         "#{name} is not the URL of a proxy, such as http://user:password@proxy.example.com:3128"}
    end
  end

  # curl's default for a proxy is 1080; nobody means 80, which a URL without a port stands for.
  defp port(value, uri), do: if(value =~ ~r/:\d+\/?\z/, do: uri.port, else: 1080)

  defp credentials(nil), do: nil

  defp credentials(userinfo) do
    case String.split(userinfo, ":", parts: 2) do
      [user] -> {URI.decode(user), ""}
      [user, password] -> {URI.decode(user), URI.decode(password)}
    end
  end

  defp direct?(_host, _port, {_name, ""}), do: false

  defp direct?(host, port, {_name, list}) do
    host = String.downcase(host)

    list
    |> String.downcase()
    |> String.split([",", " "], trim: true)
    |> Enum.any?(&match?(&1, host, port))
  end

  defp match?("*", _host, _port), do: true

  defp match?(entry, host, port) do
    {entry, wanted} =
      case Regex.run(~r/\A(.*):(\d+)\z/, entry) do
        [_all, name, wanted] -> {name, String.to_integer(wanted)}
        nil -> {entry, port}
      end

    name = entry |> String.trim_leading("*") |> String.trim_leading(".")
    wanted == port and name != "" and (host == name or String.ends_with?(host, "." <> name))
  end
end
