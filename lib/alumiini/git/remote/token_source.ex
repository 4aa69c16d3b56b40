defmodule Alumiini.Git.Remote.TokenSource do
  @moduledoc false

  # What proves who we are to a provider that makes tokens, as the wire has it
  # (`protocol/README.md`, "Remote fields"). The worker asks for the tokens. A message has names of
  # options and never a value.

  @type wire :: %{String.t() => String.t() | pos_integer}

  # Checked by `kind!/4`; the others are text.
  @kinds %{
    app_id: :id,
    installation_id: :number,
    private_key: :pem,
    api_url: :url,
    endpoint: :url,
    impersonation_endpoint: :url
  }

  @doc "See `Alumiini.Git.Auth.github_app/1`."
  @spec github_app!(keyword, String.t()) :: wire
  def github_app!(options, function) do
    given = given!(function, options, ~w(app_id private_key installation_id owner api_url)a)
    require!(function, given, [:app_id, :private_key])
    one_of!(function, given, :installation_id, :owner)
    wire(given)
  end

  @doc "See `Alumiini.Git.Auth.azure/1`."
  @spec azure!(keyword) :: wire
  def azure!(options) do
    function = "azure/1"
    known = ~w(tenant_id client_id client_secret token_file endpoint)a
    given = given!(function, options, known)

    given =
      from_environment(given,
        tenant_id: "AZURE_TENANT_ID",
        client_id: "AZURE_CLIENT_ID",
        endpoint: "AZURE_AUTHORITY_HOST"
      )

    given =
      if is_map_key(given, :client_secret),
        do: given,
        else: from_environment(given, token_file: "AZURE_FEDERATED_TOKEN_FILE")

    require!(function, given, [:tenant_id, :client_id])
    one_of!(function, given, :client_secret, :token_file)
    wire(given)
  end

  @doc "See `Alumiini.Git.Auth.codecommit/1`."
  @spec codecommit!(keyword) :: wire
  def codecommit!(options) do
    function = "codecommit/1"
    keys = [:access_key_id, :secret_access_key, :session_token]
    role = [:role_arn, :token_file, :session_name, :endpoint]
    given = given!(function, options, keys ++ role ++ [:region])

    if Enum.any?(keys, &is_map_key(given, &1)) do
      require!(function, given, [:access_key_id, :secret_access_key])
      mixed = Enum.find(role, &is_map_key(given, &1))

      if mixed do
        raise ArgumentError,
              "#{name(function)}: with an access key, #{inspect(mixed)} means nothing; give " <>
                "the key, or a role and the file with its token"
      end

      wire(given)
    else
      given =
        from_environment(given,
          role_arn: "AWS_ROLE_ARN",
          token_file: "AWS_WEB_IDENTITY_TOKEN_FILE",
          session_name: "AWS_ROLE_SESSION_NAME"
        )

      require!(function, given, [:role_arn, :token_file])
      given |> Map.put_new(:session_name, "alumiini-git") |> wire()
    end
  end

  @doc "See `Alumiini.Git.Auth.google/1`."
  @spec google!(keyword) :: wire
  def google!(options) do
    function = "google/1"
    known = ~w(service_account endpoint audience token_file impersonation_endpoint)a
    given = given!(function, options, known)

    federated = [:audience, :token_file]

    case Enum.filter([:impersonation_endpoint | federated], &is_map_key(given, &1)) do
      [] -> :ok
      _federation -> require!(function, given, federated)
    end

    if is_map_key(given, :impersonation_endpoint), do: require!(function, given, [:service_account])
    wire(given)
  end

  # The first of two counts, as everywhere with keywords.
  defp given!(function, options, known) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "#{name(function)}: the options must be a keyword list"
    end

    for {key, value} <- Enum.reverse(options), into: %{} do
      if key not in known do
        raise ArgumentError,
              "#{name(function)}: unknown option #{inspect(key)}; the known ones are " <>
                Enum.map_join(known, ", ", &inspect/1)
      end

      {key, kind!(Map.get(@kinds, key, :text), function, key, value)}
    end
  end

  # A GitHub App is known by a number, or by its client id.
  defp kind!(:id, _function, _key, value) when is_integer(value) and value > 0,
    do: Integer.to_string(value)

  defp kind!(:id, function, key, value), do: kind!(:text, function, key, value)

  defp kind!(:number, function, key, value) do
    case value do
      number when is_integer(number) and number > 0 ->
        number

      text when is_binary(text) ->
        case Integer.parse(text) do
          {number, ""} when number > 0 -> number
          _no_number -> wrong!(function, key, "a positive number")
        end

      _other ->
        wrong!(function, key, "a positive number")
    end
  end

  defp kind!(:pem, function, key, value) do
    if not (text?(value) and value =~ "-----BEGIN ") do
      wrong!(function, key, "the PEM text of a key (not the name of its file)")
    end

    value
  end

  defp kind!(:url, function, key, value) do
    if not (text?(value) and value =~ ~r{\Ahttps?://[^/]}) do
      wrong!(function, key, "a URL that begins with https://")
    end

    value
  end

  defp kind!(:text, function, key, value) do
    if not (text?(value) and value != ""), do: wrong!(function, key, "text that is not empty")
    value
  end

  defp text?(value), do: is_binary(value) and String.valid?(value)

  # Of this node, now. Empty counts as absent.
  defp from_environment(given, variables) do
    for {key, variable} <- variables,
        not is_map_key(given, key),
        value = System.get_env(variable),
        value not in [nil, ""],
        into: given,
        do: {key, value}
  end

  defp require!(function, given, keys) do
    case Enum.reject(keys, &is_map_key(given, &1)) do
      [] ->
        :ok

      missing ->
        raise ArgumentError,
              "#{name(function)}: #{Enum.map_join(missing, " and ", &inspect/1)} must be given" <>
                environment(function)
    end
  end

  defp one_of!(function, given, first, second) do
    if is_map_key(given, first) == is_map_key(given, second) do
      raise ArgumentError,
            "#{name(function)}: give either #{inspect(first)} or #{inspect(second)}" <>
              environment(function)
    end
  end

  defp environment("azure/1"),
    do:
      ", or be in the environment as workload identity has it (AZURE_TENANT_ID, " <>
        "AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE)"

  defp environment("codecommit/1"),
    do:
      ", or an access key, or the environment of a role (AWS_ROLE_ARN, " <>
        "AWS_WEB_IDENTITY_TOKEN_FILE)"

  defp environment(_other), do: ""

  # Not the value: it may well be the secret, in the wrong place.
  @spec wrong!(String.t(), atom, String.t()) :: no_return
  defp wrong!(function, key, right) do
    raise ArgumentError, "#{name(function)}: the option #{inspect(key)} must be #{right}"
  end

  defp name(function), do: "Alumiini.Git.Auth.#{function}"
  defp wire(given), do: Map.new(given, fn {key, value} -> {Atom.to_string(key), value} end)
end
