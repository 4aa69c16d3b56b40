defmodule Alumiini.Git.AuthTokensTest do
  # What the functions of Auth make of credentials of a provider. Not async: they read the
  # environment.
  use ExUnit.Case, async: false

  alias Alumiini.Git.{Auth, Secret}
  alias Alumiini.Git.Test.Vm

  @key "-----BEGIN RSA PRIVATE KEY-----\ns3cr3t\n-----END RSA PRIVATE KEY-----\n"
  @variables ~w(AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_FEDERATED_TOKEN_FILE AZURE_AUTHORITY_HOST) ++
               ~w(AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME)

  defp wire(auth) do
    {:ok, wire} = auth |> Auth.wire("https://h/x") |> Secret.reveal()
    wire
  end

  setup do
    Vm.put_env!(for name <- @variables, do: {name, nil})
  end

  test "credentials are what the wire has" do
    assert wire(Auth.github_app(app_id: 1, private_key: @key, installation_id: 2)) == %{
             "type" => "github_app",
             "app_id" => "1",
             "private_key" => @key,
             "installation_id" => 2
           }

    api = [app_id: "Iv1.a", private_key: @key, owner: "acme", api_url: "https://h/api/v3"]

    assert wire(Auth.github_app(api)) == %{
             "type" => "github_app",
             "app_id" => "Iv1.a",
             "private_key" => @key,
             "owner" => "acme",
             "api_url" => "https://h/api/v3"
           }

    assert wire(Auth.azure(tenant_id: "t", client_id: "c", client_secret: "s")) ==
             %{
               "type" => "azure",
               "tenant_id" => "t",
               "client_id" => "c",
               "client_secret" => "s"
             }

    assert wire(Auth.codecommit(access_key_id: "a", secret_access_key: "s", region: "r")) ==
             %{
               "type" => "codecommit",
               "access_key_id" => "a",
               "secret_access_key" => "s",
               "region" => "r"
             }

    assert wire(Auth.google()) == %{"type" => "google"}

    federation = [audience: "a", token_file: "/t", service_account: "s@x"]

    assert wire(Auth.google(federation)) == %{
             "type" => "google",
             "audience" => "a",
             "token_file" => "/t",
             "service_account" => "s@x"
           }
  end

  test "are those of a secret of Flux" do
    data = %{
      "githubAppID" => "1",
      "githubAppPrivateKey" => @key,
      "githubAppInstallationOwner" => "acme\n"
    }

    assert wire(Auth.from_secret(data)) == %{
             "type" => "github_app",
             "app_id" => "1",
             "private_key" => String.trim(@key),
             "owner" => "acme"
           }
  end

  test "are those of the environment, which an option takes precedence over" do
    Vm.put_env!([
      {"AZURE_TENANT_ID", "t"},
      {"AZURE_CLIENT_ID", "c"},
      {"AZURE_FEDERATED_TOKEN_FILE", "/azure"},
      {"AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"},
      {"AWS_ROLE_ARN", "arn"},
      {"AWS_WEB_IDENTITY_TOKEN_FILE", "/aws"}
    ])

    azure = %{
      "type" => "azure",
      "tenant_id" => "t",
      "client_id" => "c",
      "token_file" => "/azure",
      "endpoint" => "https://login.microsoftonline.us/"
    }

    assert wire(Auth.azure()) == azure
    assert wire(Auth.azure(client_id: "d")) == %{azure | "client_id" => "d"}

    assert wire(Auth.azure(client_secret: "s")) ==
             azure |> Map.delete("token_file") |> Map.put("client_secret", "s")

    role = %{
      "type" => "codecommit",
      "role_arn" => "arn",
      "token_file" => "/aws",
      "session_name" => "alumiini-git"
    }

    assert wire(Auth.codecommit()) == role
    assert wire(Auth.codecommit(session_name: "n")) == %{role | "session_name" => "n"}
    keys = Auth.codecommit(access_key_id: "a", secret_access_key: "s")
    refute Map.has_key?(wire(keys), "role_arn")
  end

  test "that cannot be meant are told, without a value" do
    app = [app_id: 1, private_key: @key]

    for {call, message} <- [
          {fn -> Auth.github_app(app) end, ~r/either :installation_id or :owner/},
          {fn -> Auth.github_app([installation_id: 1, owner: "a"] ++ app) end, ~r/either/},
          {fn -> Auth.github_app(app_id: 1, owner: "a") end, ~r/:private_key must be given/},
          {fn -> Auth.github_app([private_key: "s3cr3t"] ++ app) end, ~r/:private_key must be/},
          {fn -> Auth.github_app([installation_id: "s3cr3t"] ++ app) end, ~r/positive number/},
          {fn -> Auth.github_app([api_url: "s3cr3t"] ++ app) end, ~r/URL that begins with https/},
          {fn -> Auth.github_app([app_key: "s3cr3t"] ++ app) end, ~r/unknown option :app_key/},
          {fn -> Auth.github_app("s3cr3t") end, ~r/keyword list/},
          {fn -> Auth.azure(client_secret: "s3cr3t") end,
           ~r/:tenant_id and :client_id must be given.*AZURE_TENANT_ID/},
          {fn -> Auth.azure(tenant_id: "t", client_id: "c") end, ~r/AZURE_FEDERATED_TOKEN_FILE/},
          {fn -> Auth.azure(client_secret: :s3cr3t) end, ~r/:client_secret must be text/},
          {fn -> Auth.codecommit() end, ~r/:role_arn and :token_file.*AWS_ROLE_ARN/},
          {fn -> Auth.codecommit(secret_access_key: "s3cr3t") end, ~r/:access_key_id must be/},
          {fn ->
             Auth.codecommit(access_key_id: "a", secret_access_key: "s3cr3t", role_arn: "r")
           end, ~r/:role_arn means nothing/},
          {fn -> Auth.google(token_file: "s3cr3t") end, ~r/:audience must be given/},
          {fn ->
             Auth.google(
               audience: "a",
               token_file: "t",
               impersonation_endpoint: "https://s3cr3t.example.com"
             )
           end, ~r/:service_account must be given/}
        ] do
      error = assert_raise ArgumentError, message, call
      refute Exception.message(error) =~ "s3cr3t"
    end
  end
end
