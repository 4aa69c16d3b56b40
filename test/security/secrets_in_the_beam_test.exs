defmodule Alumiini.Git.SecretsInTheBeamTest do
  # What can be seen of credentials without any remote: in what misuse raises, in crashes, in
  # processes that wait. Not async: the logger and the events of the whole VM are watched.
  use Alumiini.Git.Test.SecretCase, async: false

  alias Alumiini.Git.Test.ScriptedWorker

  import ExUnit.CaptureLog

  setup [:dir, :origin, :secret, :recorder]

  defp server!,
    do: start_supervised!(Supervisor.child_spec({Git, name: nil}, restart: :temporary))

  defp raised(function) do
    function.()
  catch
    kind, reason -> {kind, reason, __STACKTRACE__}
  end

  test "the search finds what it looks for" do
    recorder = LeakRecorder.start!()
    secret = "s3cr3tAZ09"

    for {shown, n} <-
          Enum.with_index([
            "ann:#{secret}@",
            URI.encode(secret, fn _ -> false end),
            Base.encode64("a:" <> secret),
            Base.encode64("ab:#{secret}!"),
            "Basic " <> Base.encode64("abc:#{secret}!!"),
            Base.url_encode64("ä" <> secret),
            %{secret => 1},
            [secret <> <<255>>],
            %{Auth.bearer("x") | http: secret},
            String.to_charlist(secret <> "ä"),
            Base.encode16("x" <> secret)
          ]) do
      LeakRecorder.note(recorder, "#{n}", shown)

      assert [_ | _] =
               for(
                 {^n, _} = found <-
                   Enum.map(LeakRecorder.places(recorder, secret), fn {p, t} ->
                     {String.to_integer(p), t}
                   end),
                 do: found
               ),
             inspect(shown)
    end
  end

  test "misuse does not show them", context do
    %{recorder: recorder, secret: secret} = context
    url = "https://ann:#{secret}@127.0.0.1:1/x.git"

    for call <- [
          fn -> Git.sync(url, "main", "/x", auth: secret) end,
          fn -> Git.sync(url, "main", "/x", auth: {"ann", secret}) end,
          fn -> Git.sync(url, "main", "/x", auth: %{type: :basic, wire: secret}) end,
          fn -> Git.sync(url, "main", "/x", auth: [password: secret]) end,
          fn -> Git.sync(url, "main", "/x", password: secret) end,
          fn -> Git.sync(url, "main", "/x", [secret]) end,
          fn -> Git.sync(url, "main", "/x", %{auth: secret}) end,
          fn -> Git.sync(url, "main", "/x", allow_insecure: secret) end,
          fn -> Git.sync({url, secret}, "main", "/x") end,
          fn -> Git.sync(String.to_charlist(url), "main", "/x") end,
          fn -> Git.ls_remote([url], "main") end,
          # Arguments in the wrong order.
          fn -> Git.sync("main", {:url, url}, "/x") end,
          fn -> Git.sync("main", String.to_charlist(url), "/x") end,
          fn -> Git.sync("main", "/x", String.to_charlist(url)) end,
          fn -> Git.sync("main", "/x", URI.parse(url)) end,
          fn -> Git.read("/x", {url}) end,
          fn -> Git.files("/x", URI.parse(url)) end,
          fn -> Git.checkout("/x", [url]) end,
          fn -> Git.head(URI.parse(url)) end,
          fn -> Git.head("/x", server: url) end,
          fn -> Git.head("/x", timeout: url) end,
          fn -> Auth.basic("ann", [secret]) end,
          fn -> Auth.basic(secret, nil) end,
          fn -> Auth.token({:ok, secret}) end,
          fn -> Auth.bearer(secret <> <<255>>) end,
          fn -> Git.start_link(name: url) end,
          fn -> Git.start_link(auth: secret) end,
          # Keys, certificates and proxies.
          fn -> Git.sync(url, "main", "/x", auth: {secret, :f, []}) end,
          fn -> Git.sync(url, "main", "/x", auth: fn _ -> secret end) end,
          fn -> Git.ls_remote(url, "main", auth: fn -> secret end) end,
          fn -> Git.ls_remote(url, "main", auth: {Function, :identity, [secret]}) end,
          fn -> Git.sync(url, "main", "/x", tls: secret) end,
          fn -> Git.sync(url, "main", "/x", tls: [key: pem(secret)]) end,
          fn -> Git.sync(url, "main", "/x", tls: [cert: pem(secret), key: secret]) end,
          fn -> Git.sync(url, "main", "/x", tls: %{secret => pem(secret)}) end,
          fn -> Git.sync(url, "main", "/x", proxy: "ann:#{secret}@proxy:3128") end,
          fn -> Git.sync(url, "main", "/x", proxy: {"http://proxy", secret}) end,
          fn -> Git.sync(url, "main", "/x", no_proxy: {url}) end,
          fn -> Git.refs(url, prefix: {url}) end,
          fn -> Git.refs({url, secret}) end,
          fn -> Git.start_link(tls: [key: pem(secret)]) end,
          fn -> Git.start_link(proxy: "ann:#{secret}@proxy:3128") end,
          fn -> Git.start_link(Git.child_spec(proxy: secret).start |> elem(2) |> hd()) end,
          fn -> Auth.ssh_key([secret]) end,
          fn -> Auth.ssh_key(pem(secret), passphrase: [secret]) end,
          fn -> Auth.ssh_key(pem(secret), secret) end,
          fn -> Auth.ssh_agent(password: secret) end,
          fn -> Auth.from_secret(%{"password" => secret}) end,
          fn -> Auth.from_secret(%{"identity" => secret}) end,
          fn -> Auth.from_secret(%{"tls.key" => pem(secret)}) end,
          fn -> Auth.from_secret(%{"user" => secret}) end,
          fn -> Auth.from_secret(%{username: secret}) end,
          fn -> Auth.from_secret([{"username", secret}]) end
        ] do
      error = assert_raise ArgumentError, call
      LeakRecorder.note(recorder, "misuse", error)
    end

    # Strings in the wrong order are no misuse that anyone could see; they are just not there.
    git = server!()

    for call <- [
          fn -> Git.sync("/nowhere", url, "/x", server: git) end,
          fn -> Git.sync("/nowhere", "main", context.dir <> "/" <> url, server: git) end,
          fn -> Git.ls_remote("/nowhere", url, server: git) end,
          fn -> Git.ls_remote(context.origin, url, server: git) end,
          fn -> Git.head(url, server: git) end,
          fn -> Git.files(context.dir, url, server: git) end,
          fn -> Git.read(context.dir, url, server: git) end,
          fn -> Git.checkout(context.origin, url, server: git) end
        ] do
      assert {:error, %Error{}} = LeakRecorder.note(recorder, "order", call.())
    end

    assert LeakRecorder.places(recorder, secret) == []
  end

  defp pem(secret), do: "-----BEGIN PRIVATE KEY-----\n#{secret}\n-----END PRIVATE KEY-----\n"

  test "keys, passphrases, certificates and the passwords of proxies are in nothing that a " <>
         "server shows",
       context do
    %{recorder: recorder, secret: secret, dir: dir} = context

    refusal =
      "no way through http://ann:#{secret}@proxy:3128 to ann:#{secret}@h:x, ssh://git:#{secret}@h/x"

    refused =
      {:reply,
       %{
         "id" => :last,
         "err" => refusal,
         "kind" => "host_key",
         "detail" => %{
           "url" => "ssh://git:#{secret}@h/x",
           "line" => "ann:#{secret}@h:x ssh-ed25519 AAAA",
           "fingerprint" => "http://:#{secret}@proxy"
         }
       }}

    hello = ScriptedWorker.hello()
    binary = ScriptedWorker.write!(dir, [hello ++ [:read, refused, :hang]])
    proxy = "http://ann:#{secret}@proxy:3128"
    tls = [cert: pem("cert"), key: pem(secret)]
    options = [name: nil, binary: binary, proxy: proxy, tls: tls]

    # A supervisor of its own tells in the log what it starts, and what of that crashes, with all
    # arguments.
    {:ok, supervisor} = Supervisor.start_link([{Git, options}], strategy: :one_for_one)
    LeakRecorder.note(recorder, "specification", Git.child_spec(options))
    LeakRecorder.note(recorder, "children", Supervisor.which_children(supervisor))
    LeakRecorder.note(recorder, "supervisor", :sys.get_state(supervisor))
    [{_id, git, _type, _modules}] = Supervisor.which_children(supervisor)

    credentials = [
      [auth: Auth.ssh_key(pem(secret), passphrase: secret, known_hosts: secret)],
      [auth: Auth.ssh_agent(username: secret)],
      [
        auth:
          Auth.from_secret(%{
            "username" => "ann",
            "password" => secret,
            "tls.crt" => pem(secret),
            "tls.key" => pem(secret)
          })
      ],
      [auth: fn -> Auth.bearer(secret) end],
      [auth: {Auth, :bearer, [secret]}],
      [tls: tls],
      [proxy: proxy],
      [proxy: "socks5h://ann:#{secret}@proxy:1080"]
    ]

    LeakRecorder.note(recorder, "inspect", for([auth: %Auth{} = auth] <- credentials, do: auth))
    ssh = "ssh://git:#{secret}@h/x"

    assert {:error, %Error{reason: :host_key} = error} =
             LeakRecorder.note(recorder, "refused", Git.ls_remote(ssh, "main", server: git))

    assert error.message =~ "no way through http://proxy:3128 to [hidden], ssh:[hidden]"
    assert error.detail.url == "ssh:[hidden]"

    # No such function: its arguments are in the stack trace.
    for mfa <- [
          {Auth, :bearer, [secret, secret]},
          {Auth, :from_secret, [secret]},
          {Base, :decode16!, [[secret]]}
        ] do
      raised = raised(fn -> Git.ls_remote(ssh, "main", server: git, auth: mfa) end)
      assert {:error, _reason, [_ | _]} = LeakRecorder.note(recorder, "raised", raised)
    end

    assert [_ | _] =
             LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :ls_remote, :exception]")

    waiting =
      for options <- credentials do
        Task.async(fn -> Git.refs(ssh, [server: git] ++ options) end)
      end

    in_flight = length(credentials)
    assert :ok = OsProcess.await(fn -> Server.info(git).in_flight == in_flight end, 5_000)
    note_server(recorder, git)
    for task <- waiting, do: LeakRecorder.note_process(recorder, "caller", task.pid)

    capture_log(fn ->
      monitor = Process.monitor(git)

      :sys.replace_state(
        git,
        &%{&1 | pending: nil, options: Map.put(&1.options, :kept, &1.pending)}
      )

      assert {:error, _down} = LeakRecorder.note(recorder, "crash", Git.refs(ssh, server: git))
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 5_000

      for task <- waiting,
          do: assert({:error, %Error{}} = LeakRecorder.note(recorder, "crash", Task.await(task)))

      Logger.flush()
    end)

    Supervisor.stop(supervisor)
    assert Enum.any?(LeakRecorder.notes(recorder, "log"), &(&1 =~ "start_link"))
    assert Enum.any?(LeakRecorder.notes(recorder, "log"), &(&1 =~ "terminating"))
    assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :refs, :stop]")
    assert LeakRecorder.places(recorder, secret) == []
  end

  test "what a function that raises was given, or closes over, is not in the trace", context do
    %{recorder: recorder, secret: secret, dir: dir, origin: origin} = context
    Repository.commit!(origin, %{"a.yaml" => "a"})
    git = server!()
    path = Path.join(dir, "work")

    # No clause of it matches: its arguments are in the trace, and the values that it closes over
    # are among them.
    progress = fn _name, %{"phase" => ^secret} -> :ok end
    ref = %{"branch" => "main"}
    request = %{"op" => "sync", "url" => origin, "ref" => ref, "path" => path, "progress" => true}

    # Where nothing else of the library's is around the call, and where there is.
    for call <- [
          fn -> Server.call(git, request, on_event: progress) end,
          fn -> Git.sync(origin, "main", path, server: git, progress: &progress.("", &1)) end
        ] do
      raised = LeakRecorder.note(recorder, "raised", raised(call))
      assert {:error, :function_clause, [{_module, _function, arity, place} | _]} = raised
      assert is_integer(arity) and is_integer(place[:line])
    end

    assert LeakRecorder.places(recorder, secret) == []
  end

  test "a server that crashes with requests in it tells nothing of them", context do
    %{recorder: recorder, secret: secret, dir: dir} = context
    {:ok, silent} = ScriptedTcp.start_link([:hold])
    url = String.replace(ScriptedTcp.url(silent), "://", "://ann:#{secret}@")
    options = [allow_insecure: true]

    # Killed, and stopped by an exception in itself with a request as its last message and others in
    # its state.
    for {crash, n} <-
          Enum.with_index([
            fn git -> Process.exit(git, :kill) end,
            fn git ->
              :sys.replace_state(
                git,
                &%{&1 | pending: nil, options: Map.put(&1.options, :kept, &1.pending)}
              )

              Git.ls_remote(url, "main", [server: git, timeout: 1_000] ++ options)
            end
          ]) do
      log =
        capture_log(fn ->
          git = server!()
          monitor = Process.monitor(git)

          call =
            Task.async(fn ->
              Git.sync(url, "main", Path.join(dir, "c#{n}"), [server: git] ++ options)
            end)

          assert_receive {ScriptedTcp, ^silent, :accepted}, 5_000
          # More of them in its mailbox.
          :sys.suspend(git)

          late =
            Task.async(fn ->
              Git.ls_remote(url, "main", [server: git, timeout: 1_000] ++ options)
            end)

          assert :ok =
                   OsProcess.await(
                     fn -> match?({_key, n} when n > 0, Process.info(git, :message_queue_len)) end,
                     5_000
                   )

          LeakRecorder.note_process(recorder, "suspended server", git)
          :sys.resume(git)
          crash.(git)
          assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 5_000

          for task <- [call, late] do
            assert {:error, %Error{reason: reason}} =
                     LeakRecorder.note(recorder, "crash", Task.await(task))

            assert reason in [:worker_unavailable, :timeout]
          end

          Logger.flush()
        end)

      LeakRecorder.note(recorder, "captured log", log)
      stop_supervised(Git)
    end

    assert Enum.any?(LeakRecorder.notes(recorder, "log"), &(&1 =~ "crash_report"))
    assert Enum.any?(LeakRecorder.notes(recorder, "log"), &(&1 =~ "terminating"))
    LeakRecorder.note_files(recorder, dir)
    assert LeakRecorder.places(recorder, secret) == []
  end

  test "a writer that waits for a worker which does not read shows no frame", context do
    %{recorder: recorder, secret: secret} = context
    git = server!()
    assert {:error, _not_there} = Git.head("/nowhere", server: git)
    %{os_pid: os_pid} = Server.info(git)
    assert :ok = OsProcess.kill(os_pid, :STOP)
    assert :ok = OsProcess.await_state(os_pid, ["T"])
    auth = Auth.basic(String.duplicate("x", 500_000), secret)

    for _ <- 1..4 do
      spawn_link(fn -> Git.ls_remote("https://127.0.0.1:1/x", "main", server: git, auth: auth) end)
    end

    [worker] = Map.values(:sys.get_state(git).workers)

    assert :ok =
             OsProcess.await(
               fn -> Process.info(worker.writer, :status) == {:status, :suspended} end,
               5_000
             )

    note_server(recorder, git)
    assert [_ | _] = LeakRecorder.notes(recorder, "writer")
    stop_supervised!(Git)
    assert LeakRecorder.places(recorder, secret) == []
  end
end
