defmodule Alumiini.Git.SecretsEndToEndTest do
  # Credentials go everywhere that a call can go, and are then looked for in all that was printed,
  # told or stored. Not async: the logger and the events of the whole VM are watched.
  use Alumiini.Git.Test.SecretCase, async: false

  alias Alumiini.Git.Secret

  @moduletag timeout: 120_000

  setup [:dir, :origin, :commits, :work, :own_stderr, :secret, :http, :other, :recorder]

  defp commits(context) do
    Repository.commit!(context.origin, %{
      "deploy/app.yaml" => "app",
      "big.bin" => :crypto.strong_rand_bytes(100_000)
    })

    Repository.create!(context.dir, "empty.git")
    :ok
  end

  defp other(context), do: %{other: start_supervised!({HttpServer, root: context.dir})}

  # The secret with what has to be escaped in a URL around it.
  defp password(secret), do: "p:@/%ä?#{secret}#&="

  # The URL and the options that give the credentials, and what a server has to require to see them.
  defp credentials(:url, url, secret) do
    encoded = URI.encode(password(secret), &URI.char_unreserved?/1)
    {String.replace(url, "://", "://ann:#{encoded}@"), [], {:basic, "ann", password(secret)}}
  end

  defp credentials(:basic, url, secret) do
    {url, [auth: Auth.basic("ann", password(secret))], {:basic, "ann", password(secret)}}
  end

  defp credentials(:token, url, secret) do
    {url, [auth: Auth.token(password(secret))], {:basic, "git", password(secret)}}
  end

  # A bearer token stands in its header as it is, and not every character may.
  defp credentials(:bearer, url, secret), do: {url, [auth: Auth.bearer(secret)], {:bearer, secret}}

  for kind <- [:url, :basic, :token, :bearer] do
    test "credentials given as #{kind} are nowhere, whatever became of the call", context do
      %{recorder: recorder, secret: secret, http: http, other: other, work: work} = context
      kind = unquote(kind)
      git = start_supervised!({Git, name: nil, binary: context.binary})
      {url, given, required} = credentials(kind, HttpServer.url(http, "origin.git"), secret)
      base = [server: git, allow_insecure: true, timeout: 20_000] ++ given
      os_pid = fn -> Server.info(git).os_pid end

      note = fn name, result ->
        LeakRecorder.note(recorder, name, result)
        LeakRecorder.note(recorder, name, OsProcess.visible_strings(os_pid.()))
        {name, reason(result)}
      end

      told = self()
      progress = fn progress -> send(told, {:progress, progress}) end

      # What a server does, by rules, and what becomes of the call. Each begins with a repository
      # that is not there.
      outcomes =
        for {name, rules, options} <- [
              {:ok, [{:require, required}], [progress: progress]},
              {:auth, [{:require, {:basic, "someone", "else"}}], []},
              {:auth, [{:status, 403, "no"}], []},
              {:repo_not_found, [{:status, 404, "no"}], []},
              {:network, [{:status, 500, "no"}], []},
              {:rate_limited, [{:status, 429, "no"}], []},
              {:auth, [:html], []},
              {:protocol, [{:redirect, 302, HttpServer.url(http, "origin.git")}], []},
              {:protocol, [{:status, 302, [{"location", "/login?then=#{secret}"}], ""}], []},
              {:network, [{:cut, :close}], []},
              {:network, [{:cut, :reset}], []},
              {:network, [{:stop, {:pack, 5_000}, :reset}], []},
              {:corrupt, [{:corrupt, 3_000}], []},
              {:timeout, [:silent], [timeout: 300]},
              {:timeout, [{:stop, {:pack, 5_000}, :stall}], [timeout: 500]}
            ] do
          for rule <- rules, do: HttpServer.rule(http, rule)
          path = Path.join(work, "#{name}-#{System.unique_integer([:positive])}")
          result = Git.sync(url, "main", path, Keyword.merge(base, options))
          assert note.("sync #{inspect(rules)}", result) == {"sync #{inspect(rules)}", name}

          note.(
            "again",
            Git.sync(url, "main", path, Keyword.merge(base, [timeout: 300] ++ options))
          )

          note.(
            "ls_remote",
            Git.ls_remote(
              url,
              "main",
              Keyword.merge([timeout: 300], Keyword.drop(base, [:timeout]))
            )
          )

          for call <- [&Git.head/2, &Git.files(&1, nil, &2), &Git.checkout(&1, "none", &2)] do
            note.("local", call.(path, server: git))
          end

          HttpServer.reset(http)
          name
        end

      assert length(outcomes) == 15
      assert_received {:progress, _}

      # It did arrive: the same rule lets the right one in, and was obeyed above.
      HttpServer.rule(http, {:require, required})
      assert {_, :ok} = note.("required", Git.ls_remote(url, "main", base))

      # A redirect on the same host takes the credentials along, one to another host does not.
      HttpServer.rule(http, {:redirect, 301, "/origin.git"}, path: "moved.git")
      {moved, _, _} = credentials(kind, HttpServer.url(http, "moved.git"), secret)
      assert {:ok, _sha} = Git.sync(moved, "main", Path.join(work, "moved"), base)

      for code <- [301, 302, 307, 308] do
        HttpServer.rule(http, {:redirect, code, HttpServer.url(other, "origin.git")},
          path: "away#{code}.git"
        )

        {away, _, _} = credentials(kind, HttpServer.url(http, "away#{code}.git"), secret)
        assert {:ok, _sha} = Git.sync(away, "main", Path.join(work, "away#{code}"), base)
      end

      assert [_, _ | _] = HttpServer.log(other)
      assert Enum.all?(HttpServer.log(other), &(&1.authorization == nil))
      LeakRecorder.note(recorder, "what the other host was sent", HttpServer.log(other))
      HttpServer.rule(other, {:require, required})
      {away, _, _} = credentials(kind, HttpServer.url(http, "away301.git"), secret)
      assert {_, :auth} = note.("away, refused there", Git.ls_remote(away, "main", base))

      # Names that are not there, an empty remote, a refused connection, a host that is none.
      HttpServer.reset(http)
      {empty, _, _} = credentials(kind, HttpServer.url(http, "empty.git"), secret)

      assert {_, :ref_not_found} =
               note.("empty", Git.sync(empty, "main", Path.join(work, "e"), base))

      assert {_, :ref_not_found} = note.("mian", Git.sync(url, "mian", Path.join(work, "m"), base))
      {port, _socket} = ScriptedTcp.refusing()
      {refused, _, _} = credentials(kind, "http://127.0.0.1:#{port}/x.git", secret)
      assert {_, :network} = note.("refused", Git.sync(refused, "main", Path.join(work, "r"), base))

      # Without allow_insecure nothing is sent at all.
      before = HttpServer.stats(http).requests
      plain = Keyword.delete(base, :allow_insecure)
      assert {_, :invalid} = note.("insecure", Git.sync(url, "main", Path.join(work, "i"), plain))

      assert {_, :invalid} =
               note.("insecure", Git.ls_remote(url, "main", [allow_insecure: false] ++ plain))

      assert HttpServer.stats(http).requests == before

      # In flight: what the server, its writer and the worker show of themselves; then the worker
      # dies, and the caller.
      gate = HttpServer.rule(http, :hold)
      call = Task.async(fn -> Git.sync(url, "main", Path.join(work, "held"), base) end)
      HttpServer.await(http, {:parked, gate, 1})
      note_server(recorder, git)
      asked = HttpServer.stats(http).requests
      assert :ok = OsProcess.kill(os_pid.(), :KILL)
      HttpServer.await(http, {:requests, asked + 1})
      note_server(recorder, git)
      HttpServer.release(http, gate)
      assert {_, :ok} = note.("replayed", Task.await(call, 20_000))

      HttpServer.reset(http)
      HttpServer.rule(http, :silent)

      {caller, monitor} =
        spawn_monitor(fn -> Git.sync(url, "main", Path.join(work, "left"), base) end)

      HttpServer.await(http, {:parked, 1})
      open = HttpServer.stats(http).open
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}
      HttpServer.await(http, {:open, open - 1})
      HttpServer.reset(http)

      # A request that ends every worker it is given to.
      poison = %{
        "op" => "sync",
        "url" => Secret.seal(url),
        "auth" => given[:auth] && Auth.wire(given[:auth], url),
        "allow_insecure" => true,
        "ref" => %{"branch" => "main"},
        "path" => Path.join(work, "poison"),
        "fault" => %{"at" => "connect", "do" => "kill"}
      }

      assert {_, :worker_exited} = note.("poison", Server.call(git, poison))
      stop_supervised!(Git)

      # All places were looked at, and it is in none.
      assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :sync, :stop]")
      assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :worker, :down]")
      assert [_ | _] = LeakRecorder.notes(recorder, "log")
      files = LeakRecorder.note_files(recorder, work)
      assert Enum.any?(files, &String.ends_with?(&1, ".git/config"))

      note_stderr(recorder, context.stderr)

      assert LeakRecorder.places(recorder, secret) == []
    end
  end

  test "keys, passphrases, certificates and proxies are not quoted by the worker that cannot " <>
         "use them",
       context do
    %{recorder: recorder, secret: secret, http: http, work: work} = context
    git = start_supervised!({Git, name: nil, binary: context.binary})
    os_pid = Server.info(git).os_pid
    {closed, _socket} = ScriptedTcp.refusing()
    {:ok, hangs_up} = ScriptedTcp.start_link([:close])
    hangs_up = ScriptedTcp.url(hangs_up) |> URI.parse() |> Map.fetch!(:port)

    pem = fn kind ->
      "-----BEGIN #{kind}-----\n#{Base.encode64(secret)}\n-----END #{kind}-----\n"
    end

    plain = fn kind -> "-----BEGIN #{kind}-----\n#{secret}\n-----END #{kind}-----\n" end
    https = "https://127.0.0.1:#{closed}/origin.git"
    ssh = "ssh://git@127.0.0.1:#{closed}/origin.git"
    http_url = HttpServer.url(http, "origin.git")

    calls =
      for key <- [pem, plain],
          kind <- ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] do
        options = [passphrase: secret, username: secret, known_hosts: secret]
        {ssh, [auth: Auth.ssh_key(key.(kind), options)]}
      end ++
        for pem <- [pem, plain], key <- ["PRIVATE KEY", "EC PRIVATE KEY", "CERTIFICATE"] do
          {https, [tls: [ca: pem.("CERTIFICATE"), cert: pem.("CERTIFICATE"), key: pem.(key)]]}
        end ++
        for scheme <- ["http", "https", "socks5", "socks5h"], port <- [closed, hangs_up] do
          {http_url, [proxy: "#{scheme}://ann:#{secret}@127.0.0.1:#{port}"]}
        end ++
        [
          {http_url, [proxy: "http://ann:#{secret}@"]},
          {http_url, [proxy: "http://ann:#{secret}@not a host:x/"]},
          {ssh, [auth: Auth.ssh_agent(socket: "/nowhere/#{secret}")]},
          {"ssh://git:#{secret}@127.0.0.1:#{closed}/origin.git",
           [auth: Auth.ssh_agent(socket: "/nowhere")]},
          {"git:#{secret}@127.0.0.1:origin.git", [auth: Auth.ssh_agent(socket: "/nowhere")]}
        ]

    for {{url, options}, n} <- Enum.with_index(calls) do
      options = [server: git, timeout: 5_000] ++ options
      assert {:error, %Error{}} = LeakRecorder.note(recorder, "refs #{n}", Git.refs(url, options))

      assert {:error, _error} =
               LeakRecorder.note(
                 recorder,
                 "sync",
                 Git.sync(url, "main", Path.join(work, "#{n}"), options)
               )
    end

    LeakRecorder.note(recorder, "worker", OsProcess.visible_strings(os_pid))
    assert Server.info(git).os_pid == os_pid
    LeakRecorder.note_files(recorder, work)

    note_stderr(recorder, context.stderr)

    assert LeakRecorder.places(recorder, secret) == []
  end

  test "a server that repeats what it was told is not quoted with it", context do
    %{recorder: recorder, secret: secret, http: http, work: work} = context
    git = start_supervised!({Git, name: nil, binary: context.binary})

    pkt = fn text ->
      [
        text |> byte_size() |> Kernel.+(4) |> Integer.to_string(16) |> String.pad_leading(4, "0"),
        text
      ]
    end

    type = fn type -> [{"content-type", type}] end
    git_type = type.("application/x-git-upload-pack-advertisement")
    percent = for <<byte <- secret>>, into: "", do: "%" <> Base.encode16(<<byte>>, case: :lower)
    # One letter less: what it is near to.
    {head, tail} = String.split_at(secret, 9)
    near = head <> String.slice(tail, 1..-1//1)
    GitCommand.run!(["-C", context.origin, "branch", secret, "main"])
    GitCommand.run!(["-C", context.origin, "branch", "other", "main"])
    # Where a redirect leads that repeats it.
    File.mkdir_p!(Path.join(context.dir, secret))
    File.ln_s!(context.origin, Path.join([context.dir, secret, "origin.git"]))

    for {user, password} <- [
          {"ann", secret},
          {secret, "x-oauth-basic"},
          {secret, ""},
          {secret, "open sesame"}
        ],
        base64 = Base.encode64("#{user}:#{password}"),
        {rule, n} <-
          Enum.with_index([
            {:status, 200, git_type, pkt.("ERR token #{secret} is expired")},
            {:status, 200, git_type, pkt.("ERR token #{String.upcase(secret)} is expired")},
            {:status, 200, git_type,
             pkt.("ERR token #{percent} or #{String.upcase(percent)} is expired")},
            {:status, 200, git_type,
             pkt.("ERR #{String.duplicate("x", 490)} #{secret} is expired")},
            {:status, 200, git_type, pkt.("ERR no access with Basic #{base64}")},
            {:status, 200, git_type,
             pkt.("ERR no access with #{Base.url_encode64("{token: #{secret}}")}")},
            {:status, 200, type.("text/#{secret}"), ""},
            {:status, 403, type.("text/plain"), "#{secret} may not"},
            {:status, 302, [{"location", "/login/#{secret}/now"}], ""},
            {:status, 302, [{"location", "https://#{secret}.example/login"}], ""},
            {:status, 302,
             [
               {"location", "https://ann:#{secret}@127.0.0.1:1/x/info/refs?service=git-upload-pack"}
             ], ""},
            {:status, 302, [{"location", "ftp://#{secret}/"}], ""},
            {:redirect, 302, "/#{secret}/origin.git"},
            {:header, "x-echo", secret}
          ]) do
      HttpServer.rule(http, rule, path: "origin.git")
      url = HttpServer.url(http, "origin.git")
      auth = Auth.basic(user, password)
      options = [server: git, allow_insecure: true, auth: auth]
      note = fn what, result -> LeakRecorder.note(recorder, "echo #{n} #{what}", result) end

      note.(
        "sync",
        Git.sync(url, "main", Path.join(work, "#{System.unique_integer([:positive])}"), options)
      )

      assert {:error, error} = note.("near", Git.ls_remote(url, near, options))
      if match?({:header, _, _}, rule), do: assert(error.detail.near == ["[hidden]"])

      # In the URL, the user without a password.
      in_url =
        String.replace(
          url,
          "://",
          "://#{URI.encode_www_form(user)}:#{URI.encode_www_form(password)}@"
        )

      note.("URL", Git.ls_remote(in_url, near, Keyword.delete(options, :auth)))

      probe = %{
        "op" => "probe",
        "url" => url,
        "allow_insecure" => true,
        "auth" => Auth.wire(auth, url)
      }

      assert {:ok, %{"ok" => steps}} = note.("probe", Server.call(git, probe))

      if match?({:redirect, _, _}, rule),
        do: assert(inspect(steps) =~ "redirected to #{HttpServer.url(http)}[hidden]/origin.git")

      HttpServer.reset(http)
    end

    assert [_ | _] = LeakRecorder.notes(recorder, "echo 0 sync")

    for form <- [secret, String.upcase(secret)],
        do: assert(LeakRecorder.places(recorder, form) == [])
  end
end
