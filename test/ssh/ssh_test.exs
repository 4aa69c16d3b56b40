defmodule Alumiini.Git.SshTest do
  # A real sshd: what is fetched, and how few connections that takes.
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.Relay

  @moduletag timeout: 120_000

  setup_all do
    dir = TempDir.create!("ssh-keys")
    %{key: SshKeys.generate!(dir, :ed25519), other: SshKeys.generate!(dir, :ed25519)}
  end

  setup [:dir, :origin, :long_history, :commit, :git]

  defp long_history(context) do
    Repository.history!(context.origin, 30)
    :ok
  end

  def tell(_event, measurements, %{server: server}, {test, server}),
    do: send(test, {:stopped, measurements})

  def tell(_event, _measurements, _of_another_server, _config), do: :ok

  test "a call tells how often the server was asked, whatever the connection", context do
    server = sshd!(context)
    id = make_ref()
    event = [:alumiini_git, :ls_remote, :stop]
    :ok = :telemetry.attach(id, event, &__MODULE__.tell/4, {self(), context.git})
    on_exit(fn -> :telemetry.detach(id) end)

    # The first asks what the server speaks, too.
    for least <- [2, 1] do
      assert ls_remote(context, server, auth(server, context.key)) == {:ok, context.commit}
      assert_receive {:stopped, %{requests: requests, retries: 0}}
      assert requests in least..3
    end
  end

  describe "a repository" do
    test "that is not there", context do
      server = sshd!(context)

      for absent <- ["absent.git", "origin.git/refs", "../absent"] do
        url = SshServer.url(server, Path.join(context.dir, absent))
        result = ls_remote(context, server, auth(server, context.key), url: url)
        error = assert_refused(result, :repo_not_found, [absent])
        refute error.retryable?
      end

      # The connection is as good as before.
      assert ls_remote(context, server, auth(server, context.key)) == {:ok, context.commit}
      assert SshServer.count(server, :connections) == 1
    end

    test "that has a name for shells to stumble over", context do
      server = sshd!(context)

      for name <- [
            "it's $(touch pwned) \"so\" `x`.git",
            "ünïcode.git",
            "-dash.git",
            "a b;c&d|e.git",
            "100%25.git"
          ] do
        origin = Repository.create!(context.dir, name)
        commit = Repository.commit!(origin, %{"name" => name})
        url = SshServer.url(server, URI.encode(origin, &(&1 == ?/ or URI.char_unreserved?(&1))))

        assert {name, ls_remote(context, server, auth(server, context.key), url: url)} ==
                 {name, {:ok, commit}}
      end

      refute File.exists?(Path.join(context.dir, "pwned"))
    end

    test "is fetched as git fetches it, shallow and whole", context do
      server = sshd!(context)
      url = SshServer.url(server, context.origin)
      env = git_env!(context, SshServer.known_hosts(server))

      for depth <- [1, 3, :infinity] do
        ours = Path.join(context.dir, "ours-#{depth}")
        theirs = Path.join(context.dir, "theirs-#{depth}")
        arguments = if depth == :infinity, do: [], else: ["--depth", "#{depth}"]

        GitCommand.run!(
          ["clone", "-q", "--single-branch", "--no-tags"] ++ arguments ++ [url, theirs],
          env: env
        )

        options = [server: context.git, auth: auth(server, context.key), depth: depth]
        assert {:ok, commit} = Git.sync(url, "main", ours, options)
        Oracle.assert_synced(ours, context.origin, commit)
        assert {depth, history(ours)} == {depth, history(theirs)}

        new = Repository.commit!(context.origin, %{"new.yaml" => "#{depth}\n"})
        assert Git.sync(url, "main", ours, options) == {:ok, new}
        GitCommand.run!(["fetch", "-q"] ++ arguments ++ ["origin", "main"], env: env, cd: theirs)
        Oracle.assert_synced(ours, context.origin, new)
        assert {depth, history(ours, new)} == {depth, history(theirs, new)}
      end
    end

    defp history(path, revision \\ "HEAD") do
      file = Path.join(path, ".git/shallow")
      shallow = if File.exists?(file), do: file |> File.read!() |> String.split() |> Enum.sort()
      {shallow, GitCommand.run!(["rev-list", revision], cd: path)}
    end

    test "is the same by protocol v2 and by v0", context do
      for accept? <- [true, false] do
        server = sshd!(context, accept_env: accept?)
        path = Path.join(context.dir, "work-#{accept?}")
        options = [server: context.git, auth: auth(server, context.key)]
        url = SshServer.url(server, context.origin)
        assert {:ok, first} = Git.sync(url, "main", path, options)
        Oracle.assert_synced(path, context.origin, first)
        new = Repository.commit!(context.origin, %{"new.yaml" => "#{accept?}\n"})
        for _ <- 1..2, do: assert(Git.sync(url, "main", path, options) == {:ok, new})
        Oracle.assert_synced(path, context.origin, new)
        assert {:ok, refs} = Git.refs(url, options)
        assert Enum.map(refs, & &1.name) == ["HEAD", "refs/heads/main"]
        assert {:error, %Error{reason: :ref_not_found}} = Git.sync(url, "mian", path, options)
      end
    end

    test "behind a server that greets is the same", context do
      banner = Path.join(context.dir, "banner")
      File.write!(banner, String.duplicate("Authorized use only!\n", 100))
      server = sshd!(context, config: ["Banner #{banner}"])
      assert ls_remote(context, server, auth(server, context.key)) == {:ok, context.commit}
    end
  end

  describe "a connection" do
    test "is shared by polls, and by repositories of the same host and account", context do
      server = sshd!(context)
      auth = auth(server, context.key)
      other = Repository.create!(context.dir, "other.git")
      commit = Repository.commit!(other, %{"b.yaml" => "b: 1\n"})

      for _ <- 1..3 do
        assert ls_remote(context, server, auth) == {:ok, context.commit}
        assert ls_remote(context, server, auth, url: SshServer.url(server, other)) == {:ok, commit}
      end

      assert SshServer.count(server, :connections) == 1
    end

    test "is for those credentials only", context do
      server = sshd!(context, authorized: [context.key, context.other])

      for _ <- 1..2, key <- [context.key, context.other] do
        assert ls_remote(context, server, auth(server, key)) == {:ok, context.commit}
      end

      # The same key with other host keys is other credentials: what was verified for some is not
      # for others.
      assert SshServer.count(server, :connections) == 2
      stranger = SshKeys.known_hosts("127.0.0.1", SshServer.port(server), [context.other])
      refused = ls_remote(context, server, Auth.ssh_key(context.key.private, known_hosts: stranger))
      assert_refused(refused, :host_key)
    end

    test "that the server has dropped is replaced", context do
      server = sshd!(context)
      auth = auth(server, context.key)
      assert ls_remote(context, server, auth) == {:ok, context.commit}

      for n <- 2..4 do
        SshServer.drop(server)
        assert ls_remote(context, server, auth) == {:ok, context.commit}
        assert SshServer.count(server, :connections) == n
      end

      # A server that was away.
      SshServer.stop(server)
      error = assert_refused(ls_remote(context, server, auth), :network)
      assert error.retryable?
      SshServer.start(server)
      assert ls_remote(context, server, auth) == {:ok, context.commit}
      assert SshServer.count(server, :connections) == 1
    end

    test "that is cut while a pack comes is an error, and the next sync makes another", context do
      server = sshd!(context)
      relay = start_supervised!({Relay, to: SshServer.port(server)})
      url = SshServer.url(server, context.origin, port: Relay.port(relay))
      known_hosts = SshServer.known_hosts(server, port: Relay.port(relay))
      options = [server: context.git, auth: auth(server, context.key, known_hosts: known_hosts)]

      Repository.commit!(context.origin, %{
        "large" => :rand.bytes_s(400_000, :rand.seed_s(:exsss, 1)) |> elem(0)
      })

      for how <- [:close, :reset] do
        Relay.stall_after(relay, 100_000)
        git = start_supervised!({Git, name: nil}, id: make_ref())
        sync = fn -> Git.sync(url, "main", context.path, Keyword.put(options, :server, git)) end
        call = Task.async(sync)
        Relay.await(relay, {:stalled, 1})
        Relay.cut(relay, how)
        error = assert_refused(Task.await(call, 20_000), :network)
        assert error.retryable?
        Relay.stall_after(relay, :never)
        assert {:ok, commit} = sync.()
        Oracle.assert_synced(context.path, context.origin, commit)
        TempDir.remove!(context.path)
      end
    end

    test "30 repositories polled at once share few, and are within MaxSessions", context do
      server = sshd!(context, config: ["MaxSessions 10"])
      auth = auth(server, context.key)

      fleet =
        for n <- 1..30 do
          origin = Path.join(context.dir, "app#{n}.git")
          File.ln_s!("origin.git", origin)
          {SshServer.url(server, origin), Path.join(context.dir, "work#{n}")}
        end

      poll = fn ->
        fleet
        |> Enum.map(fn {url, path} ->
          Task.async(fn -> Git.sync(url, "main", path, server: context.git, auth: auth) end)
        end)
        |> Task.await_many(60_000)
        |> Enum.uniq()
      end

      # The packs first; those may have a connection each.
      assert poll.() == [{:ok, context.commit}]
      cloned = SshServer.count(server, :connections)
      assert cloned <= 32
      for _ <- 1..3, do: assert(poll.() == [{:ok, context.commit}])
      assert SshServer.count(server, :connections) - cloned <= 4

      # From nothing: no packs.
      git = start_supervised!({Git, name: nil}, id: :fresh)
      before = SshServer.count(server, :connections)

      calls =
        for {url, _} <- fleet,
            do: Task.async(fn -> Git.ls_remote(url, "main", server: git, auth: auth) end)

      assert calls |> Task.await_many(60_000) |> Enum.uniq() == [{:ok, context.commit}]
      assert SshServer.count(server, :connections) - before <= 6

      # A session counts with the server for a moment after it has ended with us: then it says no,
      # and another is asked.
      assert Enum.count(SshServer.log(server), &(&1 =~ "no more sessions")) <= 10
      assert %{attempts: 1, pending: 0} = Server.info(context.git)
    end

    test "is used for fewer sessions where the server allows no more, also one and none", context do
      for {sessions, result} <- [{3, :ok}, {1, :ok}, {0, :error}] do
        server = sshd!(context, config: ["MaxSessions #{sessions}"])
        auth = auth(server, context.key)

        results =
          for(_ <- 1..12, do: Task.async(fn -> ls_remote(context, server, auth) end))
          |> Task.await_many(60_000)

        assert {sessions, results |> Enum.map(&elem(&1, 0)) |> Enum.uniq()} == {sessions, [result]}
      end
    end

    test "is not one of too many that knock at once", context do
      # Past two that have not logged in, it drops every other one.
      server = sshd!(context, config: ["MaxStartups 2:100:2"])
      auth = auth(server, context.key)

      results =
        for(_ <- 1..40, do: Task.async(fn -> ls_remote(context, server, auth) end))
        |> Task.await_many(60_000)

      assert Enum.uniq(results) == [{:ok, context.commit}]
      refute Enum.any?(SshServer.log(server), &(&1 =~ "drop connection"))
    end
  end

  describe "a poll" do
    test "with nothing new takes one round trip, and at most 1 KiB each way", context do
      server = sshd!(context)
      relay = start_supervised!({Relay, to: SshServer.port(server)})
      url = SshServer.url(server, context.origin, port: Relay.port(relay))
      known_hosts = SshServer.known_hosts(server, port: Relay.port(relay))
      options = [server: context.git, auth: auth(server, context.key, known_hosts: known_hosts)]

      lines = for n <- 1..5_000, do: "create refs/pull/#{n}/head #{context.commit}\n"

      GitCommand.converse!(
        ["update-ref", "--stdin"],
        ["start\n", lines, "commit\n"],
        &(&1 =~ "commit: ok"),
        cd: context.origin
      )

      assert Git.sync(url, "main", context.path, options) == {:ok, context.commit}
      assert Git.sync(url, "main", context.path, options) == {:ok, context.commit}
      sessions = SshServer.count(server, :sessions)

      bytes =
        for n <- 1..3 do
          Relay.reset(relay)
          assert Git.sync(url, "main", context.path, options) == {:ok, context.commit}
          assert %{connections: 0, up: up, down: down} = Relay.stats(relay)
          SshServer.await(server, :sessions, sessions + n)
          max(up, down)
        end

      # How many packets sshd makes of what Git says, and so how much padding, is for it to say:
      # what counts is what it can be.
      assert Enum.min(bytes) <= 1024 and Enum.max(bytes) <= 2048

      assert SshServer.count(server, :sessions) == sessions + 3
    end
  end
end
