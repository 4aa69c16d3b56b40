defmodule Alumiini.Git.Remote.KubernetesSecret do
  @moduledoc false

  # What is in the data of a Kubernetes secret, by Flux's names for it and those of Kubernetes' own
  # types. Where names compete, the order is Flux's: a user name counts before a bearer token,
  # `password` is also the key's passphrase, and `username` is also who logs in over SSH. Pure; a
  # message has names of keys and never a value.

  @function "Alumiini.Git.Auth.from_secret/1"
  # As options of `Alumiini.Git.Auth.github_app/1`.
  @github_app [
    app_id: "githubAppID",
    private_key: "githubAppPrivateKey",
    installation_id: "githubAppInstallationID",
    owner: "githubAppInstallationOwner",
    api_url: "githubAppBaseURL"
  ]

  @type parts :: %{
          basic: {String.t(), String.t()} | nil,
          bearer: String.t() | nil,
          github_app: keyword(String.t()) | nil,
          ssh_key: String.t() | nil,
          ssh_options: keyword(String.t()),
          tls: %{String.t() => String.t()}
        }

  @spec parts!(term) :: parts
  def parts!(data) do
    if not (is_map(data) and not is_struct(data) and
              Enum.all?(data, fn {key, _value} -> is_binary(key) end)) do
      raise ArgumentError,
            "#{@function}: the data must be a map with strings as keys, as a secret's data is"
    end

    username = line!(data, "username")
    password = line!(data, "password")
    bearer = line!(data, "bearerToken")
    ssh_key = pem!(data, ["identity", "ssh-privatekey"])
    tls = tls!(data)

    if username == nil and password != nil and ssh_key == nil do
      raise ArgumentError,
            "#{@function}: the secret has a `password` but no `username` to go with it"
    end

    github_app = if username == nil and bearer == nil, do: github_app!(data)

    if [username, bearer, ssh_key, github_app] == [nil, nil, nil, nil] and tls == %{} do
      nothing!(data)
    end

    ssh_options =
      for {key, value} <- [
            passphrase: password,
            username: username,
            known_hosts: text!(data, "known_hosts")
          ],
          value != nil,
          do: {key, value}

    %{
      basic: username && {username, password || ""},
      bearer: if(username == nil, do: bearer),
      github_app: github_app,
      ssh_key: ssh_key,
      ssh_options: ssh_options,
      tls: tls
    }
  end

  defp tls!(data) do
    ca = pem!(data, ["ca.crt", "caFile"])
    cert = pem!(data, ["tls.crt", "certFile"])
    key = pem!(data, ["tls.key", "keyFile"])

    if cert == nil != (key == nil) do
      raise ArgumentError,
            "#{@function}: the secret has only one of `tls.crt` and `tls.key` (or `certFile` " <>
              "and `keyFile`); " <>
              "a client certificate needs both"
    end

    for {name, pem} <- [{"ca", ca}, {"cert", cert}, {"key", key}],
        pem != nil,
        into: %{},
        do: {name, pem}
  end

  defp github_app!(data) do
    given =
      for {option, name} <- @github_app, value = line!(data, name), value != nil do
        {option, value}
      end

    missing = for key <- [:app_id, :private_key], not Keyword.has_key?(given, key), do: key
    installation = Keyword.take(given, [:installation_id, :owner])

    cond do
      given == [] ->
        nil

      missing != [] or length(installation) != 1 ->
        raise ArgumentError,
              "#{@function}: the secret is that of a GitHub App, and needs `githubAppID`, " <>
                "`githubAppPrivateKey`, and one of `githubAppInstallationID` and " <>
                "`githubAppInstallationOwner`"

      true ->
        given
    end
  end

  @spec nothing!(map) :: no_return
  defp nothing!(data) do
    raise ArgumentError,
          "#{@function}: there are no credentials in the secret; expected `username` and " <>
            "`password`, `bearerToken`, " <>
            "the keys of a GitHub App (`githubAppID`, …), " <>
            "`identity` or `ssh-privatekey`, `ca.crt`, or `tls.crt` and `tls.key`, found " <>
            "#{found(data)}"
  end

  defp found(data) when data == %{}, do: "no keys"

  defp found(data) do
    "the keys " <>
      (data |> Map.keys() |> Enum.sort() |> Enum.take(20) |> Enum.map_join(", ", &inspect/1))
  end

  defp pem!(data, names) do
    Enum.find_value(names, fn name ->
      pem = text!(data, name)

      # The likeliest mistake by far, and the error that a key's parser has for it would not say so.
      if pem != nil and not (pem =~ "-----BEGIN ") do
        raise ArgumentError,
              "#{@function}: the value of `#{name}` is not PEM text; " <>
                "the values of a secret are in base64 in the API, and have to be decoded first"
      end

      pem
    end)
  end

  # Secrets that were made with `echo` end with a line break that nobody meant, and no header may
  # hold.
  defp line!(data, name) do
    text = text!(data, name)
    text && text |> String.replace(~r/\r?\n\z/, "") |> absent_if_empty()
  end

  defp text!(data, name) do
    case data do
      %{^name => text} when is_binary(text) ->
        if not String.valid?(text), do: wrong!(name)
        absent_if_empty(text)

      %{^name => _no_text} ->
        wrong!(name)

      _absent ->
        nil
    end
  end

  defp absent_if_empty(""), do: nil
  defp absent_if_empty(text), do: text

  @spec wrong!(String.t()) :: no_return
  defp wrong!(name) do
    raise ArgumentError, "#{@function}: the value of `#{name}` must be a UTF-8 string"
  end
end
