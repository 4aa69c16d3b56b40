defmodule Alumiini.Git.TokensTest do
  # Credentials of which a provider makes tokens: what it is asked, what the remote is sent, and
  # what becomes of a call where something of that fails.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{GithubApi, ScriptedTcp, TokenProvider}

  setup [:dir, :origin, :commit, :http, :git]

  setup context, do: %{options: [server: context.git, allow_insecure: true, timeout: 20_000]}

  defp provider!(answer), do: start_supervised!({TokenProvider, answer})

  defp head(context, auth, more \\ []),
    do: Git.ls_remote(context.url, "main", more ++ [auth: auth] ++ context.options)

  # Tokens `token1`, `token2`, ….
  defp counted do
    counter = :counters.new(1, [])

    fn ->
      :counters.add(counter, 1, 1)
      "token#{:counters.get(counter, 1)}"
    end
  end

  defp app(api, url, which) do
    Auth.github_app([app_id: api.app_id, private_key: api.key.pem, api_url: url] ++ which)
  end

  describe "a GitHub App" do
    setup do
      installations = %{"/users/ann/installation" => 7, "/orgs/acme/installation" => 42}

      %{
        api: %{key: GithubApi.key(), app_id: 123, token: counted(), installations: installations}
      }
    end

    test "gets one token for all repositories of an installation", context do
      provider = provider!(&GithubApi.answer(&1, context.api))
      auth = app(context.api, TokenProvider.url(provider), installation_id: 42)
      HttpServer.rule(context.http, {:require, {:basic, "x-access-token", "token1"}})

      repositories =
        for n <- 1..40 do
          File.ln_s!("origin.git", Path.join(context.dir, "r#{n}.git"))
          HttpServer.url(context.http, "r#{n}.git")
        end

      options = [auth: auth] ++ context.options
      calls = for url <- repositories, do: Task.async(fn -> Git.ls_remote(url, "main", options) end)
      assert Enum.uniq(Task.await_many(calls, 30_000)) == [{:ok, context.commit}]

      assert [request] = TokenProvider.requests(provider)
      assert request.path == "/app/installations/42/access_tokens"
      assert request.method == "POST"
      assert request.headers["accept"] == "application/vnd.github+json"
      assert request.headers["x-github-api-version"] == "2022-11-28"
      assert request.headers["user-agent"] != nil

      # Also for another credential that is the same.
      auth = app(context.api, TokenProvider.url(provider), installation_id: "42")
      assert {:ok, _sha} = head(context, auth)

      assert {:ok, _sha} =
               Git.sync(context.url, "main", context.path, [auth: auth] ++ context.options)

      assert length(TokenProvider.requests(provider)) == 1
    end

    test "finds the installation of an organisation or of a user", context do
      provider = provider!(&GithubApi.answer(&1, context.api))
      url = TokenProvider.url(provider)
      assert {:ok, _sha} = head(context, app(context.api, url, owner: "acme"))
      assert {:ok, _sha} = head(context, app(context.api, url, owner: "ann"))

      assert Enum.map(TokenProvider.requests(provider), &{&1.method, &1.path}) == [
               {"GET", "/orgs/acme/installation"},
               {"POST", "/app/installations/42/access_tokens"},
               {"GET", "/orgs/ann/installation"},
               {"GET", "/users/ann/installation"},
               {"POST", "/app/installations/7/access_tokens"}
             ]

      for which <- [[owner: "nobody"], [installation_id: 1]] do
        assert {:error, error} = head(context, app(context.api, url, which))
        assert %Error{reason: :auth, retryable?: false, detail: %{status: 404}} = error
        assert error.message =~ "GitHub App 123"
        assert error.message =~ url
      end
    end

    for ahead <- [-7200, 7200] do
      test "goes by the clock of GitHub where that is #{ahead} s ahead", context do
        provider = provider!(&GithubApi.answer(&1, Map.put(context.api, :ahead, unquote(ahead))))
        auth = app(context.api, TokenProvider.url(provider), installation_id: 42)
        assert {:ok, _sha} = head(context, auth)
        assert length(TokenProvider.requests(provider)) == 2

        # It is known by then; and the token ends in an hour, whatever our clock says.
        HttpServer.rule(context.http, {:require, {:basic, "x-access-token", "token2"}})
        assert {:ok, _sha} = head(context, auth)
        assert length(TokenProvider.requests(provider)) == 3
      end
    end

    test "is not asked about without end where its clock is not what is wrong", context do
      other = %{context.api | app_id: 124}
      provider = provider!(&GithubApi.answer(&1, Map.put(other, :ahead, 7200)))
      auth = app(context.api, TokenProvider.url(provider), installation_id: 42)
      assert {:error, %Error{reason: :auth} = error} = head(context, auth)
      assert error.message =~ "check app_id, the key and this machine's clock"
      assert length(TokenProvider.requests(provider)) == 2
    end

    test "with a key that is none is told without it", context do
      pem = "-----BEGIN RSA PRIVATE KEY-----\nczNjcjN0\n-----END RSA PRIVATE KEY-----\n"
      auth = app(%{app_id: 1, key: %{pem: pem}}, "http://127.0.0.1:1", installation_id: 42)
      assert {:error, %Error{reason: :invalid} = error} = head(context, auth)
      assert error.message =~ "private_key"
      refute error.message =~ "czNj"
    end

    test "as Flux has its secret", context do
      provider = provider!(&GithubApi.answer(&1, context.api))

      auth =
        Auth.from_secret(%{
          "githubAppID" => "123\n",
          "githubAppInstallationID" => "42",
          "githubAppPrivateKey" => context.api.key.pem,
          "githubAppBaseURL" => TokenProvider.url(provider)
        })

      assert {:ok, _sha} = head(context, auth)
    end
  end

  describe "Azure" do
    test "takes a client secret", context do
      provider = provider!(fn _request -> TokenProvider.access_token("azure-token") end)
      HttpServer.rule(context.http, {:require, {:bearer, "azure-token"}})
      options = [tenant_id: "a tenant", client_id: "client", endpoint: TokenProvider.url(provider)]
      assert {:ok, _sha} = head(context, Auth.azure([client_secret: "s&cr=t"] ++ options))

      assert [%{method: "POST", path: "/a%20tenant/oauth2/v2.0/token", form: form}] =
               TokenProvider.requests(provider)

      assert form == %{
               "grant_type" => "client_credentials",
               "client_id" => "client",
               "client_secret" => "s&cr=t",
               "scope" => "499b84ac-1321-427f-aa17-267ca6975798/.default"
             }
    end

    test "takes the token of a file, as it is by then", context do
      token = counted()
      provider = provider!(fn _request -> TokenProvider.access_token(token.()) end)
      file = Path.join(context.dir, "token")
      File.write!(file, "assertion1\n")
      first = HttpServer.rule(context.http, {:require, {:bearer, "token1"}})

      auth =
        Auth.azure(
          tenant_id: "t",
          client_id: "c",
          token_file: file,
          endpoint: TokenProvider.url(provider)
        )

      assert {:ok, _sha} = head(context, auth)
      # The token is revoked, and what is in the file has changed.
      File.write!(file, "assertion2")
      HttpServer.remove(context.http, first)
      HttpServer.rule(context.http, {:require, {:bearer, "token2"}})
      assert {:ok, _sha} = head(context, auth)

      assertions = Enum.map(TokenProvider.requests(provider), & &1.form["client_assertion"])
      assert assertions == ["assertion1", "assertion2"]

      assert [%{form: form} | _] = TokenProvider.requests(provider)

      assert form["client_assertion_type"] ==
               "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

      File.rm!(file)
      HttpServer.rule(context.http, {:require, {:bearer, "token3"}})
      other = Auth.azure(tenant_id: "t", client_id: "d", token_file: file)
      assert {:error, %Error{reason: :io} = error} = head(context, other)
      assert error.message =~ file
    end
  end

  describe "Google" do
    defp metadata(token) do
      {200, headers, body} = TokenProvider.access_token(token)
      {200, [{"metadata-flavor", "Google"} | headers], body}
    end

    test "has the token of the machine's service account", context do
      provider = provider!(fn _request -> metadata("google-token") end)
      HttpServer.rule(context.http, {:require, {:basic, "git-service-account", "google-token"}})
      url = TokenProvider.url(provider)
      assert {:ok, _sha} = head(context, Auth.google(endpoint: url))
      assert {:ok, _sha} = head(context, Auth.google(endpoint: url, service_account: "a@b.c"))

      assert [%{path: default, headers: headers}, %{path: named}] = TokenProvider.requests(provider)

      assert default == "/computeMetadata/v1/instance/service-accounts/default/token"
      assert named == "/computeMetadata/v1/instance/service-accounts/a%40b.c/token"
      assert headers["metadata-flavor"] == "Google"
    end

    test "is not taken for what answers without its header", context do
      provider = provider!(fn _request -> TokenProvider.access_token("somebody-elses") end)
      auth = Auth.google(endpoint: TokenProvider.url(provider))
      assert {:error, %Error{reason: :protocol} = error} = head(context, auth)
      assert error.message =~ "Metadata-Flavor"
      assert HttpServer.stats(context.http).requests == 0
    end

    test "exchanges the token of a file, and acts as an account with that", context do
      file = Path.join(context.dir, "token")
      File.write!(file, "subject")

      provider =
        provider!(fn
          %{path: "/v1/token"} ->
            TokenProvider.access_token("federated")

          _impersonate ->
            ends = DateTime.utc_now() |> DateTime.add(3600) |> DateTime.to_iso8601()
            {200, [], ~s({"accessToken":"impersonated","expireTime":"#{ends}"})}
        end)

      url = TokenProvider.url(provider)
      options = [audience: "//iam.googleapis.com/p", token_file: file, endpoint: url]
      rule = HttpServer.rule(context.http, {:require, {:basic, "git-service-account", "federated"}})
      assert {:ok, _sha} = head(context, Auth.google(options))
      HttpServer.remove(context.http, rule)
      HttpServer.rule(context.http, {:require, {:basic, "git-service-account", "impersonated"}})
      as = [service_account: "a@b.c", impersonation_endpoint: url]
      assert {:ok, _sha} = head(context, Auth.google(options ++ as))
      assert [exchange, _again, impersonate] = TokenProvider.requests(provider)

      assert exchange.form == %{
               "grant_type" => "urn:ietf:params:oauth:grant-type:token-exchange",
               "audience" => "//iam.googleapis.com/p",
               "scope" => "https://www.googleapis.com/auth/cloud-platform",
               "requested_token_type" => "urn:ietf:params:oauth:token-type:access_token",
               "subject_token_type" => "urn:ietf:params:oauth:token-type:jwt",
               "subject_token" => "subject"
             }

      assert impersonate.path == "/v1/projects/-/serviceAccounts/a%40b.c:generateAccessToken"
      assert impersonate.headers["authorization"] == "Bearer federated"
      assert impersonate.headers["content-type"] == "application/json"
      assert impersonate.body =~ ~s("scope":["https://www.googleapis.com/auth/cloud-platform"])
    end
  end

  describe "CodeCommit" do
    # Its server in the place of the remote: what it is sent is signed, so no rule knows it.
    defp login(request) do
      "Basic " <> encoded = request.headers["authorization"]
      [user, password] = encoded |> Base.decode64!() |> String.split(":", parts: 2)
      {user, password}
    end

    defp signature(secret, region, host, path, time) do
      hmac = fn text, key -> :crypto.mac(:hmac, :sha256, key, text) end
      hex = &Base.encode16(&1, case: :lower)
      date = String.slice(time, 0, 8)
      request = "GIT\n#{path}\n\nhost:#{host}\n\nhost\n"
      scope = "#{date}/#{region}/codecommit/aws4_request"
      digest = hex.(:crypto.hash(:sha256, request))
      text = "AWS4-HMAC-SHA256\n#{time}\n#{scope}\n#{digest}"

      [date, region, "codecommit", "aws4_request", text]
      |> Enum.reduce("AWS4" <> secret, hmac)
      |> hex.()
    end

    defp signed?(request, secret, url) do
      {_user, <<time::binary-15, "Z", signature::binary>>} = login(request)
      "http://" <> host = url
      signature == signature(secret, "eu-west-1", host, "/v1/repos/shop", time)
    end

    test "is sent a signature of host and path", context do
      provider = provider!(fn _request -> {404, [], "no"} end)
      url = TokenProvider.url(provider)

      auth =
        Auth.codecommit(
          access_key_id: "AKID",
          secret_access_key: "secret/key",
          session_token: "session",
          region: "eu-west-1"
        )

      options = [auth: auth] ++ context.options

      assert {:error, %Error{reason: :repo_not_found}} =
               Git.ls_remote(url <> "/v1/repos/shop", "main", options)

      assert [request | _] = TokenProvider.requests(provider)
      assert {"AKID%session", _password} = login(request)
      assert signed?(request, "secret/key", url)

      no_region = Auth.codecommit(access_key_id: "AKID", secret_access_key: "secret/key")

      assert {:error, %Error{reason: :invalid} = error} =
               Git.ls_remote(url <> "/v1/repos/shop", "main", [auth: no_region] ++ context.options)

      assert error.message =~ "option region"
    end

    test "gets the keys of a role for the token of a file", context do
      ends = DateTime.utc_now() |> DateTime.add(3600) |> DateTime.to_iso8601()

      answer = fn
        %{method: "POST", path: "/"} ->
          {200, [{"content-type", "text/xml"}],
           """
           <AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
             <AssumeRoleWithWebIdentityResult>
               <Credentials>
                 <AccessKeyId>ASIA</AccessKeyId>
                 <SecretAccessKey>of/the+role</SecretAccessKey>
                 <SessionToken>a+session</SessionToken>
                 <Expiration>#{ends}</Expiration>
               </Credentials>
             </AssumeRoleWithWebIdentityResult>
           </AssumeRoleWithWebIdentityResponse>
           """}

        _git ->
          {404, [], "no"}
      end

      provider = provider!(answer)
      url = TokenProvider.url(provider)
      file = Path.join(context.dir, "token")
      File.write!(file, "web-identity")

      auth =
        Auth.codecommit(
          role_arn: "arn:aws:iam::1:role/git",
          token_file: file,
          region: "eu-west-1",
          endpoint: url
        )

      options = [auth: auth] ++ context.options
      assert {:error, %Error{}} = Git.ls_remote(url <> "/v1/repos/shop", "main", options)
      assert {:error, %Error{}} = Git.ls_remote(url <> "/v1/repos/shop", "main", options)

      assert {[role], [git | _]} =
               Enum.split_with(TokenProvider.requests(provider), &(&1.path == "/"))

      assert role.form == %{
               "Action" => "AssumeRoleWithWebIdentity",
               "Version" => "2011-06-15",
               "RoleArn" => "arn:aws:iam::1:role/git",
               "RoleSessionName" => "alumiini-git",
               "WebIdentityToken" => "web-identity"
             }

      assert {"ASIA%a+session", _password} = login(git)
      assert signed?(git, "of/the+role", url)
    end
  end

  describe "a provider that" do
    defp azure(url),
      do: Auth.azure(tenant_id: "t", client_id: "c", client_secret: "s3cr3t", endpoint: url)

    test "says no is told, with what it says and without the secret", context do
      answer = fn request ->
        body = ~s({"error":"invalid_client","error_description":"AADSTS7000215: #{request.body}"})
        {401, [], body}
      end

      provider = provider!(answer)
      assert {:error, %Error{} = error} = head(context, azure(TokenProvider.url(provider)))
      assert %{reason: :auth, retryable?: false, op: :ls_remote} = error
      assert error.message =~ "no token for Azure client c of tenant t"
      assert error.message =~ "AADSTS7000215"
      refute error.message =~ "s3cr3t"
      assert error.detail.url == TokenProvider.url(provider) <> "/t/oauth2/v2.0/token"
      # Once, and nobody else.
      assert length(TokenProvider.requests(provider)) == 1
      assert HttpServer.stats(context.http).requests == 0
    end

    test "cannot be reached is told", context do
      {port, _socket} = ScriptedTcp.refusing()
      url = "http://127.0.0.1:#{port}"
      assert {:error, %Error{} = error} = head(context, azure(url))
      assert %{reason: :network, retryable?: true} = error
      assert error.message =~ url
    end

    test "is slow takes a call no longer than it has, and is left then", context do
      provider = provider!(fn _request -> :silent end)
      url = TokenProvider.url(provider)
      assert {:error, %Error{} = error} = head(context, azure(url), timeout: 1_500)
      assert %{reason: :timeout, retryable?: true} = error
      assert error.message =~ url
      assert error.message =~ "a longer timeout"
      assert_receive {TokenProvider, ^provider, :left}, 5_000

      # The same where the caller goes.
      {caller, monitor} = spawn_monitor(fn -> head(context, azure(url)) end)
      await_requests(provider, 2)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
      assert_receive {TokenProvider, ^provider, :left}, 5_000
      assert HttpServer.stats(context.http).requests == 0
    end

    # Each look is a message to it and back.
    defp await_requests(provider, n) do
      if length(TokenProvider.requests(provider)) < n, do: await_requests(provider, n)
    end

    test "is asked by plain http is refused, unless that is allowed", context do
      provider = provider!(fn _request -> TokenProvider.access_token("token") end)
      https = String.replace_prefix(context.url, "http", "https")
      options = [auth: azure(TokenProvider.url(provider)), server: context.git]
      assert {:error, %Error{reason: :invalid} = error} = Git.ls_remote(https, "main", options)
      assert error.message =~ "`endpoint`"
      assert TokenProvider.requests(provider) == []
    end

    test "is at an address that the server may not reach is not asked", context do
      provider = provider!(fn _request -> TokenProvider.access_token("token") end)
      git = start_supervised!({Git, name: nil, addresses: :public}, id: :public)
      options = [auth: azure(TokenProvider.url(provider)), allow_insecure: true, server: git]

      assert {:error, %Error{reason: :unsupported} = error} =
               Git.ls_remote("https://git.example.com/r.git", "main", options)

      assert error.message =~ ":addresses"
      assert TokenProvider.requests(provider) == []
      assert context.git != git
    end
  end

  test "a token that the remote refuses is replaced once, also in the middle of a sync", context do
    token = counted()
    provider = provider!(fn _request -> TokenProvider.access_token(token.()) end)
    auth = azure(TokenProvider.url(provider))
    first = HttpServer.rule(context.http, {:require, {:bearer, "token1"}})
    options = [auth: auth] ++ context.options
    assert {:ok, _sha} = Git.sync(context.url, "main", context.path, options)
    HttpServer.remove(context.http, first)
    second = HttpServer.rule(context.http, {:require, {:bearer, "token2"}})
    sha = Repository.commit!(context.origin, %{"b.yaml" => "b: 1\n"})
    assert {:ok, ^sha} = Git.sync(context.url, "main", context.path, options)
    assert length(TokenProvider.requests(provider)) == 2

    # One that is refused from the beginning is not replaced by the next.
    HttpServer.remove(context.http, second)
    HttpServer.rule(context.http, {:require, {:bearer, "nobody"}})
    assert {:error, %Error{reason: :auth, detail: %{status: 401}}} = head(context, auth)
    assert length(TokenProvider.requests(provider)) == 2
  end

  test "a token goes to no host that the remote redirects to", context do
    other = start_supervised!({HttpServer, root: context.dir})
    provider = provider!(fn _request -> TokenProvider.access_token("token") end)
    away = {:redirect, 301, HttpServer.url(other, "origin.git")}
    HttpServer.rule(context.http, away, path: "away.git")
    options = [auth: azure(TokenProvider.url(provider))] ++ context.options
    url = HttpServer.url(context.http, "away.git")
    assert {:ok, _sha} = Git.sync(url, "main", context.path, options)
    assert [_ | _] = HttpServer.log(other)
    assert Enum.all?(HttpServer.log(other), &(&1.authorization == nil))
    assert Enum.all?(HttpServer.log(context.http), &(&1.authorization == "bearer"))
  end

  test "over SSH such credentials are refused", context do
    auth = Auth.google()

    assert {:error, %Error{reason: :invalid} = error} =
             Git.ls_remote("ssh://git@127.0.0.1:1/r.git", "main", [auth: auth] ++ context.options)

    assert error.message =~ "SSH key"
  end
end
