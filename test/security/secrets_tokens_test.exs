defmodule Alumiini.Git.SecretsTokensTest do
  # Credentials of providers, and the tokens that these make, go everywhere that a call can go, and
  # are then looked for in all that was printed, told or stored. Not async: the logger and the
  # events of the whole VM are watched.
  use Alumiini.Git.Test.SecretCase, async: false

  alias Alumiini.Git.Secret
  alias Alumiini.Git.Test.{GithubApi, TokenProvider}

  @moduletag timeout: 120_000

  setup [:dir, :origin, :commit, :work, :own_stderr, :secret, :http, :recorder]

  # A provider that gives a token with the secret in it, and the credentials for it, which have the
  # secret in all that they keep to themselves.
  defp provider(:github_app, context) do
    key = GithubApi.key()
    # Of a key there is nothing that could be chosen: this is looked for beside the secret.
    [_begin, line | _] = String.split(key.pem, "\n")

    api = %{
      key: key,
      app_id: "app",
      installations: %{"/orgs/acme/installation" => 7},
      token: fn -> context.secret end
    }

    provider = start_supervised!({TokenProvider, &GithubApi.answer(&1, api)}, id: :provider)
    url = TokenProvider.url(provider)
    options = [app_id: "app", private_key: key.pem, owner: "acme", api_url: url]
    {provider, Auth.github_app(options), {:basic, "x-access-token", context.secret}, [line]}
  end

  defp provider(:azure, context) do
    token = "t0k3n" <> String.reverse(context.secret)
    answer = fn _request -> TokenProvider.access_token(token) end
    provider = start_supervised!({TokenProvider, answer}, id: :provider)
    endpoint = TokenProvider.url(provider)
    proof = [tenant_id: "t", client_id: "c", client_secret: context.secret, endpoint: endpoint]
    {provider, Auth.azure(proof), {:bearer, token}, [token]}
  end

  defp provider(:google, context) do
    file = Path.join(context.dir, "subject")
    File.write!(file, "subject" <> context.secret)
    token = "t0k3n" <> String.reverse(context.secret)
    answer = fn _request -> TokenProvider.access_token(token) end
    provider = start_supervised!({TokenProvider, answer}, id: :provider)
    endpoint = TokenProvider.url(provider)
    auth = Auth.google(audience: "a", token_file: file, endpoint: endpoint)
    {provider, auth, {:basic, "git-service-account", token}, [token]}
  end

  # Signed, so no rule knows what it is to be: a server that only answers is asked.
  defp provider(:codecommit, context) do
    session = "s3ss10n" <> String.reverse(context.secret)
    keys = [access_key_id: "AKID", secret_access_key: context.secret, session_token: session]
    {nil, Auth.codecommit([region: "r"] ++ keys), nil, [session]}
  end

  # What a provider may answer, the secret of the request repeated in it.
  defp refusals do
    echo = fn request -> inspect({request.headers["authorization"], request.body}) end

    [
      {:auth, fn request -> {400, [], echo.(request)} end},
      {:auth, fn request -> {401, [], echo.(request)} end},
      {:auth, fn request -> {404, [], echo.(request)} end},
      {:network, fn request -> {500, [], echo.(request)} end},
      {:rate_limited, fn request -> {429, [], echo.(request)} end},
      {:protocol, fn request -> {200, [], echo.(request)} end},
      {:protocol, fn request -> {302, [{"location", "/#{URI.encode(echo.(request))}"}], ""} end},
      {:timeout, fn _request -> :silent end}
    ]
  end

  for kind <- [:github_app, :azure, :google, :codecommit] do
    test "of #{kind} are nowhere, whatever became of the call", context do
      %{recorder: recorder, http: http, work: work} = context
      {provider, auth, required, more} = provider(unquote(kind), context)
      LeakRecorder.note(recorder, "auth", auth)
      by_url = Auth.for_urls([{HttpServer.base_url(http), auth}])
      LeakRecorder.note(recorder, "by URL", by_url)
      child = {Git, name: nil, binary: context.binary, auth: by_url}
      LeakRecorder.note(recorder, "child", Supervisor.child_spec(child, []))
      git = start_supervised!(child)
      base = [server: git, allow_insecure: true, timeout: 20_000]

      # Before there is a token, each of the ways in which there may be none.
      if provider do
        for {reason, answer} <- refusals() do
          TokenProvider.answer(provider, answer)
          options = if reason == :timeout, do: Keyword.put(base, :timeout, 400), else: base
          # Each with credentials of its own, since a host that asked to be left alone is.
          stop_supervised!(Git)
          git = start_supervised!(child)
          options = Keyword.put(options, :server, git)
          result = Git.ls_remote(HttpServer.url(http, "origin.git"), "main", options)
          LeakRecorder.note(recorder, "refused", result)
          assert {reason, reason(result)} == {reason, reason}
          note_server(recorder, git)
        end

        assert HttpServer.stats(http).requests == 0
      end

      stop_supervised!(Git)
      if provider, do: stop_supervised!(:provider)
      # Anew, on another port.
      {provider, auth, required, more} =
        if provider, do: provider(unquote(kind), context), else: {provider, auth, required, more}

      git = start_supervised!({Git, name: nil, binary: context.binary})
      base = [server: git, auth: auth] ++ Keyword.delete(base, :server)

      note = fn name, result ->
        LeakRecorder.note(recorder, name, result)
        LeakRecorder.note(recorder, name, OsProcess.visible_strings(Server.info(git).os_pid))
        reason(result)
      end

      url = HttpServer.url(http, "origin.git")
      if required, do: HttpServer.rule(http, {:require, required})
      assert note.("sync", Git.sync(url, "main", Path.join(work, "ok"), base)) == :ok

      # In flight, then with a worker that dies.
      gate = HttpServer.rule(http, :hold)
      call = Task.async(fn -> Git.sync(url, "main", Path.join(work, "held"), base) end)
      HttpServer.await(http, {:parked, gate, 1})
      note_server(recorder, git)
      asked = HttpServer.stats(http).requests
      assert :ok = OsProcess.kill(Server.info(git).os_pid, :KILL)
      HttpServer.await(http, {:requests, asked + 1})
      note_server(recorder, git)
      HttpServer.release(http, gate)
      assert note.("replayed", Task.await(call, 20_000)) == :ok
      HttpServer.reset(http)

      # A remote that repeats what it was sent.
      remote =
        start_supervised!(
          {TokenProvider,
           fn request ->
             said = inspect(request.headers["authorization"])

             decoded =
               with "Basic " <> login <- request.headers["authorization"], do: Base.decode64!(login)

             {403, [], "no #{said} #{decoded}"}
           end},
          id: :remote
        )

      away = TokenProvider.url(remote) <> "/r.git"
      assert note.("repeated", Git.ls_remote(away, "main", base)) == :auth
      assert [_ | _] = TokenProvider.requests(remote)

      # A request that ends every worker that it is given to.
      poison = %{
        "op" => "sync",
        "url" => Secret.seal(url),
        "auth" => Auth.wire(auth, url),
        "allow_insecure" => true,
        "ref" => %{"branch" => "main"},
        "path" => Path.join(work, "poison"),
        "fault" => %{"at" => "connect", "do" => "kill"}
      }

      assert note.("poison", Server.call(git, poison)) == :worker_exited
      stop_supervised!(Git)

      files =
        LeakRecorder.note_files(recorder, work) ++ LeakRecorder.note_files(recorder, context.tmp)

      assert Enum.any?(files, &String.ends_with?(&1, ".git/config"))
      note_stderr(recorder, context.stderr)
      assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :ls_remote, :stop]")

      for secret <- [context.secret | more] do
        assert LeakRecorder.places(recorder, secret) == []
      end

      assert provider == nil or TokenProvider.requests(provider) != []
    end
  end

  test "in what misuse raises are nowhere", context do
    %{recorder: recorder, secret: secret} = context

    for call <- [
          fn -> Auth.github_app(secret) end,
          fn -> Auth.github_app(app_id: 1, private_key: secret, owner: "a") end,
          fn -> Auth.github_app(app_id: 1, private_key: [secret], owner: "a") end,
          fn -> Auth.github_app(app_id: {secret}, private_key: "-----BEGIN ", owner: "a") end,
          fn -> Auth.azure(tenant_id: "t", client_id: "c", client_secret: [secret]) end,
          fn -> Auth.azure(client_secret: secret, endpoint: secret) end,
          fn -> Auth.codecommit(secret_access_key: secret) end,
          fn -> Auth.codecommit(access_key_id: [secret], secret_access_key: secret) end,
          fn -> Auth.google(audience: [secret]) end,
          fn -> Auth.google([secret]) end,
          fn -> Auth.for_urls([{"https://ann:#{secret}@h/", Auth.bearer("x")}]) end,
          fn -> Auth.for_urls([{"https://h/", secret}]) end,
          fn -> Auth.for_urls(secret) end,
          fn -> Git.start_link(auth: secret) end,
          fn -> Git.start_link(auth: Auth.bearer(secret)) end,
          fn -> Git.start_link(Git.child_spec(auth: secret).start |> elem(2) |> hd()) end,
          fn -> Auth.from_secret(%{"githubAppPrivateKey" => secret}) end
        ] do
      error = assert_raise ArgumentError, call
      LeakRecorder.note(recorder, "misuse", error)
    end

    LeakRecorder.note(recorder, "child", Git.child_spec(auth: secret))
    assert LeakRecorder.places(recorder, secret) == []
  end
end
