defmodule Alumiini.Git.Test.StubTest do
  # Stubs of `Alumiini.Git.Test`: each function answers what they say, and raises what they do not.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Change, Commit, Error, Export, Lease, Ops, Ref, Snapshot, Status}
  alias Alumiini.Git.{Test, Update, Url}
  alias Alumiini.Git.Test.NoStubError

  @url "https://git.example.com/shop.git"
  @sha String.duplicate("a1", 20)
  @oid String.duplicate("b2", 20)
  @blank %{tree: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", message: "", author: ""}

  # Of each function: how it is called, what its stub answers, and what it then returns.
  defp cases do
    update = %Update{sha: @sha, previous: @oid, changed?: true, ref: "refs/heads/main", bytes: 7}
    commit = %Commit{sha: @sha, author: "Ada", message: "Add\n", parents: [@oid], timestamp: 5}
    file = %Snapshot.File{path: "a.yaml", oid: @oid, mode: 0o100644, size: 3, content: "a: "}
    snapshot = %Snapshot{commit: @sha, tree: @oid, files: [file]}
    export = %Export{commit: @sha, digest: "sha256:00", files: 2, bytes: 9}
    change = %Change{status: :renamed, path: "b", old_path: "a", score: 90, mode: 0o100644}
    ref = %Ref{name: "refs/tags/v1", sha: @oid, peeled: @sha}
    filled = Map.merge(commit, %{tree: @blank.tree, email: ""})
    filled = %{filled | committer: "", committer_email: ""}

    %{
      sync: {[@url, "main", "/srv"], @sha, @sha},
      update: {[@url, "main", "/srv", []], update, update},
      files: {["/srv", "deploy", []], ["a.yaml"], ["a.yaml"]},
      read: {["/srv", "a.yaml", []], <<0, 255>>, <<0, 255>>},
      head: {["/srv", []], commit, filled},
      checkout: {["/srv", "v1", []], @sha, @sha},
      ls_remote: {[@url, "main", []], @sha, @sha},
      refs: {[@url, []], [ref], [ref]},
      snapshot: {["/srv", nil, []], snapshot, snapshot},
      diff: {["/srv", "a", "b", []], [change], [change]},
      log: {["/srv", []], [commit], [filled]},
      export: {["/srv", "/run/x", []], export, export},
      status: {["/srv", []], [%Status{status: :deleted, path: "a"}], :same},
      lease: {["/srv", @sha, []], true, :lease},
      release: {[:lease, []], true, :ok}
    }
  end

  defp arguments(:release, [_lease, _options], server) do
    lease = %Lease{path: "/srv", sha: @sha, id: "1", server: server, keeper: dead()}
    [lease, []]
  end

  defp arguments(:sync, arguments, server), do: arguments ++ [[server: server]]
  defp arguments(_op, arguments, server), do: List.replace_at(arguments, -1, server: server)

  defp dead do
    {pid, monitor} = spawn_monitor(fn -> :ok end)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 10_000
    pid
  end

  test "each function has a case here, and an answer" do
    assert Enum.sort(Map.keys(cases())) == Enum.sort(Ops.all())
    answers = Map.keys(Alumiini.Git.Test.Answers.returned())
    assert Enum.sort(answers) == Enum.sort([:normalize | Ops.all()])
  end

  for op <- Ops.all() do
    @op op

    test "#{op} returns what its stub answers, and its variant that raises does, too" do
      {arguments, answered, returned} = cases()[@op]
      server = Test.stub([{@op, {:ok, answered}}])
      arguments = arguments(@op, arguments, server)

      case {returned, apply(Git, @op, arguments)} do
        {:ok, :ok} -> assert apply(Git, :"#{@op}!", arguments) == :ok
        {:lease, {:ok, lease}} -> assert %Lease{path: "/srv", sha: @sha} = lease
        {:same, {:ok, value}} -> assert value == answered
        {value, result} -> assert result == {:ok, value}
      end

      if returned not in [:ok, :lease, :same],
        do: assert(apply(Git, :"#{@op}!", arguments) == returned)

      assert [{@op, %{} = first} | _more] = Test.calls(server)
      if @op not in [:ls_remote, :refs], do: assert(first.path == "/srv")
    end

    test "#{op} fails as its stub says, with an event, and its variant raises the error" do
      {arguments, _answered, _returned} = cases()[@op]
      error = Test.error(:io, message: "the disk is full", detail: %{path: "/srv"})
      server = Test.stub([{@op, {:error, error}}])
      arguments = arguments(@op, arguments, server)
      events = telemetry!([[:alumiini_git, @op, :stop]])

      assert {:error, %Error{} = failed} = apply(Git, @op, arguments)
      assert failed == %{error | op: @op}
      assert_received {^events, [:alumiini_git, @op, :stop], _, %{result: :io, server: ^server}}
      assert %Error{op: @op} = catch_error(apply(Git, :"#{@op}!", arguments))
    end

    test "#{op} without a stub raises in its caller, and says how to stub it" do
      {arguments, _answered, _returned} = cases()[@op]
      server = Test.stub(normalize: {:ok, :unused})
      events = telemetry!([[:alumiini_git, @op, :exception]])

      for function <- [@op, :"#{@op}!"] do
        error =
          assert_raise NoStubError, fn ->
            apply(Git, function, arguments(@op, arguments, server))
          end

        assert error.message =~ "Alumiini.Git.#{@op} was called, as\n\n    {:#{@op}, %{"
        assert error.message =~ "Alumiini.Git.Test.stub(server, #{@op}: "
        assert_received {^events, _event, _, %{kind: :error, reason: ^error}}
      end
    end

    test "#{op} whose stub answers what it never returns raises, and says what it can" do
      {arguments, _answered, _returned} = cases()[@op]
      server = Test.stub(fn {_op, _arguments} -> {:ok, {:nothing, "of the kind"}} end)

      error = assert_raise NoStubError, fn -> apply(Git, @op, arguments(@op, arguments, server)) end
      assert error.message =~ ~s({:nothing, "of the kind"})
      assert error.message =~ Alumiini.Git.Test.Answers.returned()[@op]
    end
  end

  test "Url.normalize/2 is answered, too" do
    url = %Url{scheme: "https", host: "h", port: 443, path: "/x", url: "https://h/x", hidden?: true}
    server = Test.stub(normalize: fn %{url: "https://h/x"} -> {:ok, url} end)
    assert Url.normalize("https://u:p@h/x", server: server) == {:ok, url}
    assert_raise NoStubError, fn -> Url.normalize("https://other/x", server: server) end
  end

  test "a lease of a stub is given back to the stub of release" do
    server = Test.stub(lease: :ok, release: :ok)
    assert {:ok, lease} = Git.lease("/srv", @sha, server: server)
    assert Git.release(lease) == :ok
    assert [{:lease, _}, {:release, %{path: "/srv"}}] = Test.calls(server)
  end

  describe "a stub" do
    test "is asked about the arguments, by their names" do
      server = Test.stub(sync: {:ok, @sha}, update: {:ok, @sha}, log: {:ok, []}, read: {:ok, ""})
      auth = Auth.token("s3cr3t", "ann")
      options = [server: server, depth: :infinity, auth: auth, paths: ["deploy"], force: true]

      {:ok, @sha} = Git.sync("https://git.example.com/shop.git?x=1", {:tag, "v1"}, "/srv", options)
      {:ok, %Update{ref: "HEAD"}} = Git.update(@url, :default, "/srv", server: server)
      {:ok, []} = Git.log("/srv", server: server, path: "deploy", from: "main", limit: 5)
      {:ok, ""} = Git.read("relative", "a.yaml", server: server)
      relative = Path.expand("relative")

      assert [
               {:sync, %{url: "https://git.example.com/shop.git?x=1", ref: {:tag, "v1"}} = sync},
               {:update, %{ref: :default, depth: 1, force: false} = update},
               {:log, %{path: "/srv", file: "deploy", from: "main", limit: 5} = log},
               {:read, %{path: ^relative, file: "a.yaml"}}
             ] = Test.calls(server)

      assert %{path: "/srv", depth: :infinity, paths: ["deploy"], force: true} = sync
      assert %{"type" => "basic", "username" => "ann", "password" => "s3cr3t"} = sync.auth
      refute is_map_key(update, :auth)
      assert map_size(log) == 4
    end

    test "gets a version's tags from the stub of refs, as the library chooses among them" do
      refs = for v <- ["1.2.0", "1.3.0", "2.0.0"], do: %Ref{name: "refs/tags/v" <> v, sha: @oid}
      server = Test.stub(refs: {:ok, refs}, update: {:ok, @sha})
      assert {:ok, update} = Git.update(@url, {:semver, "~> 1.2"}, "/srv", server: server)
      assert update.ref == "refs/tags/v1.3.0"
      assert [{:refs, _}, {:update, %{ref: {:tag, "v1.3.0"}}}] = Test.calls(server)
    end

    test "leaves what no clause of it takes to those that were there before" do
      server = Test.stub(fn {:read, %{file: "a"}} -> {:ok, "first"} end)
      ^server = Test.stub(server, read: fn %{file: "b"} -> {:ok, "second"} end)
      assert Git.read!("/srv", "a", server: server) == "first"
      assert Git.read!("/srv", "b", server: server) == "second"
      assert_raise NoStubError, fn -> Git.read("/srv", "c", server: server) end

      Test.stub(server, read: {:ok, "newest"})
      for file <- ["a", "b", "c"], do: assert(Git.read!("/srv", file, server: server) == "newest")
    end

    test "raises, throws and exits in the caller, and its own FunctionClauseError is one" do
      inner = fn :never -> :ok end

      server =
        Test.stub(
          read: fn _ -> raise KeyError, key: :x, term: %{} end,
          head: fn _ -> throw(:thrown) end,
          files: fn _ -> exit(:left) end,
          log: fn _ -> inner.(:other) end,
          status: fn _ -> Process.exit(self(), :kill) end
        )

      assert_raise KeyError, fn -> Git.read("/srv", "a", server: server) end
      assert catch_throw(Git.head("/srv", server: server)) == :thrown
      assert catch_exit(Git.files("/srv", server: server)) == :left
      assert_raise FunctionClauseError, fn -> Git.log("/srv", server: server) end
      assert catch_exit(Git.status("/srv", server: server)) == :killed
    end

    test "that takes too long is a timeout, as a worker is, and others are answered meanwhile" do
      me = self()

      server =
        Test.stub(
          head: fn _ ->
            send(me, {:waits, self()})
            receive do: (:go -> {:ok, @sha})
          end,
          read: {:ok, "read"}
        )

      slow = Task.async(fn -> Git.head("/srv", server: server) end)
      assert_receive {:waits, answering}, 10_000
      assert %{pending: 1, in_flight: 1, workers: 0, hosts: nil} = Git.info!(server, hosts: true)
      assert Git.read!("/srv", "a", server: server) == "read"
      send(answering, :go)
      assert {:ok, %Commit{sha: @sha}} = Task.await(slow)

      assert {:error, error} = Git.head("/srv", server: server, timeout: 20)
      assert {error.reason, error.op, error.retryable?} == {:timeout, :head, true}
      assert error.message == "it did not end within 20 ms; the work was stopped"
      assert_receive {:waits, answering}, 10_000
      monitor = Process.monitor(answering)
      assert_receive {:DOWN, ^monitor, :process, ^answering, _killed}, 10_000
    end

    test "leaves out contents that the caller has, or does not want" do
      files =
        for {path, oid} <- [{"a", @oid}, {"b", @sha}],
            do: %Snapshot.File{path: path, oid: oid, mode: 0o100644, content: path}

      server = Test.stub(snapshot: {:ok, %Snapshot{commit: @sha, tree: @sha, files: files}})
      contents = &for(file <- &1.files, do: {file.content, file.size})
      assert contents.(Git.snapshot!("/srv", server: server)) == [{"a", 1}, {"b", 1}]
      known = Git.snapshot!("/srv", known: [@oid], server: server)
      assert contents.(known) == [{nil, 1}, {"b", 1}]
      without = Git.snapshot!("/srv", content: false, server: server)
      assert contents.(without) == [{nil, 1}, {nil, 1}]
    end

    test "that is none is refused" do
      for wrong <- [[], %{}, "x", [1], fn -> :ok end, [synk: {:ok, @sha}]],
          do: assert_raise(ArgumentError, fn -> Test.stub(wrong) end)

      error = assert_raise ArgumentError, fn -> Test.stub(synk: {:ok, @sha}) end
      assert error.message =~ "no function :synk to stub; those of Alumiini.Git are :normalize, "
    end

    test "shows no secret in an error" do
      server = Test.stub(head: {:ok, @sha})
      options = [auth: Auth.token("s3cr3t"), proxy: "http://u:s3cr3t@proxy:1", server: server]
      url = "https://u:s3cr3t@git.example.com/shop.git?token=s3cr3t"
      error = assert_raise NoStubError, fn -> Git.sync(url, "main", "/srv", options) end
      assert error.message =~ "https://git.example.com/shop.git"
      refute error.message =~ "s3cr3t"
    end

    test "has no answer for the doctor, which says so, and goes on" do
      server = Test.stub(fn {:head, _arguments} -> {:ok, @sha} end)
      error = assert_raise NoStubError, fn -> Git.Doctor.run(nil, server: server) end
      assert error.message =~ "{:request, %{}}"
      Test.stub(server, fn {_op, _arguments} -> {:ok, "x"} end)
      assert_raise NoStubError, fn -> Git.Doctor.run(nil, server: server) end
      assert %Commit{sha: @sha} = Git.head!("/srv", server: Test.stub(server, head: {:ok, @sha}))
    end

    test "goes with its process" do
      me = self()
      owner = spawn(fn -> send(me, {:server, Test.stub(head: {:ok, @sha})}) && hold() end)
      assert_receive {:server, server}, 10_000
      assert %Commit{} = Git.head!("/srv", server: server)
      monitor = Process.monitor(server)
      send(owner, :end)
      assert_receive {:DOWN, ^monitor, :process, ^server, :normal}, 10_000
      assert {:error, %{reason: :worker_unavailable}} = Git.head("/srv", server: server)
    end
  end

  describe "a server with a name" do
    setup do
      name = Module.concat(__MODULE__, "Server#{System.unique_integer([:positive])}")
      start_supervised!({Test, name: name})
      %{name: name, options: [server: name]}
    end

    test "answers each process by its own stubs", %{name: name, options: options} do
      Test.stub(name, head: {:ok, @sha})
      me = self()

      other =
        spawn(fn ->
          Test.stub(name, head: {:ok, @oid})
          send(me, {:other, Git.head!("/other", options).sha, Test.calls(name)})
          hold()
        end)

      assert_receive {:other, @oid, [{:head, %{path: "/other"}}]}, 10_000
      assert Git.head!("/srv", options).sha == @sha
      assert [{:head, %{path: "/srv"}}] = Test.calls(name)
      send(other, :end)
    end

    test "answers processes that the test started", %{name: name, options: options} do
      Test.stub(name, head: {:ok, @sha})
      head = fn -> Git.head!("/srv", options).sha end
      assert Task.await(Task.async(head)) == @sha
      assert Task.await(Task.async(fn -> Task.await(Task.async(head)) end)) == @sha
      agent = start_supervised!({Agent, fn -> nil end})
      assert Agent.get(agent, fn _ -> head.() end) == @sha
    end

    test "answers processes that the test only spawned", %{name: name, options: options} do
      Test.stub(name, head: {:ok, @sha})
      me = self()

      spawn(fn ->
        spawn_link(fn -> send(me, {:head, Git.head!("/srv", options).sha}) end) && hold()
      end)

      assert_receive {:head, @sha}, 10_000
    end

    test "serves a follower of the test", %{name: name, options: options} do
      me = self()
      moved = %Update{sha: @oid, previous: @sha, changed?: true}
      change = %Change{status: :modified, path: "deploy/app.yaml"}
      Test.stub(name, update: {:ok, @sha}, diff: {:ok, [change]})
      settings = [url: @url, ref: "main", path: "/srv", interval: 3_600_000] ++ options
      follower = start_supervised!({Git.Follower, settings})
      {:ok, nil} = Git.Follower.subscribe(follower, :all, since: nil, errors: true)
      assert_receive {:alumiini_git, ^follower, %{sha: @sha}}, 10_000

      Test.stub(name, update: fn _ -> send(me, :asked) && {:ok, moved} end)
      Git.Follower.poke(follower)
      assert_receive {:alumiini_git, ^follower, %{sha: @oid, changes: [^change]}}, 10_000
      assert_received :asked

      Test.stub(name, update: Test.error(:auth))
      Git.Follower.poke(follower)
      assert_receive {:alumiini_git, ^follower, {:error, %{reason: :auth}}}, 10_000
      assert [{:update, %{url: @url, path: "/srv"}} | _] = Test.calls(name)
    end

    test "refuses any other process, until it is allowed", %{name: name, options: options} do
      Test.stub(name, head: {:ok, @sha})
      stranger = stranger(options)
      assert %NoStubError{message: message} = ask(stranger)
      assert message =~ "by #{inspect(stranger)}, and neither it nor a process that started it"
      assert message =~ "Alumiini.Git.Test.allow(#{inspect(name)}, self(), pid)"

      assert Test.allow(name, self(), stranger) == :ok
      assert {:ok, %{sha: @sha}} = ask(stranger)

      # By a name that is taken later.
      registered = Module.concat(name, "Registered")
      Test.allow(name, self(), registered)
      another = stranger(options)
      assert %NoStubError{} = ask(another)
      Process.register(another, registered)
      assert {:ok, %{sha: @sha}} = ask(another)
      for pid <- [stranger, another], do: send(pid, :end)
    end

    test "forgets stubs and allowances with the process that they are of", context do
      %{name: name, options: options} = context
      stranger = stranger(options)
      me = self()

      owner =
        spawn(fn ->
          Test.stub(name, head: {:ok, @sha})
          Test.allow(name, self(), stranger)
          send(me, :stubbed)
          hold()
        end)

      assert_receive :stubbed, 10_000
      assert {:ok, _head} = ask(stranger)
      monitor = Process.monitor(owner)
      send(owner, :end)
      assert_receive {:DOWN, ^monitor, :process, ^owner, _reason}, 10_000
      # It has had the same message by the time that it answers this.
      assert Test.calls(name) == []
      assert %NoStubError{} = ask(stranger)
      send(stranger, :end)
    end

    test "says so where it is none, or none is there", %{name: name} do
      missing = Module.concat(name, "Missing")
      error = assert_raise ArgumentError, fn -> Test.stub(missing, head: {:ok, @sha}) end
      assert error.message =~ "Alumiini.Git.Test.start_link(name: #{inspect(missing)})"
      assert_raise ArgumentError, fn -> Test.start_link(nam: name) end
      assert_raise ArgumentError, fn -> Test.start_link(name: nil) end
    end
  end

  describe "error/2" do
    test "makes each error as the library does" do
      %{retryable: retryable, final: final} = Error.reasons()

      for reason <- retryable ++ final do
        error = Test.error(reason)
        assert {error.reason, error.retryable?} == {reason, reason in retryable}
        server = Test.stub(head: {:error, error})
        assert {:error, answered} = Git.head("/srv", server: server)
        assert answered == %{error | op: :head}
      end
    end

    test "may be one of which nothing changes by itself" do
      error = Test.error(:worker_unavailable, retryable?: false, message: "there is no binary")
      server = Test.stub(head: error)
      assert Git.head("/srv", server: server) == {:error, %{error | op: :head}}
      refute error.retryable?
    end

    test "refuses what no error has" do
      for {reason, options} <- [
            {:nope, []},
            {"network", []},
            {:network, [message: 1]},
            {:network, [detail: %{status_code: 1}]},
            {:network, [detail: "x"]},
            {:network, [op: :nope]},
            {:network, [retryable?: false]},
            {:auth, [retryable?: true]},
            {:network, [other: 1]},
            {:network, "sentence"}
          ],
          do: assert_raise(ArgumentError, fn -> Test.error(reason, options) end)

      assert Test.error(:network, op: :sync, message: "two\nlines").message == "two\\nlines"
    end
  end

  defp hold, do: receive(do: (:end -> :ok))

  # Nobody is left who started it.
  defp stranger(options) do
    me = self()

    {between, monitor} =
      spawn_monitor(fn -> send(me, {:stranger, spawn(fn -> asked(me, options) end)}) end)

    assert_receive {:stranger, stranger}, 10_000
    assert_receive {:DOWN, ^monitor, :process, ^between, :normal}, 10_000
    stranger
  end

  defp asked(test, options) do
    receive do
      :ask ->
        answer =
          try do
            Git.head("/srv", options)
          rescue
            error -> error
          end

        send(test, {self(), answer})
        asked(test, options)

      :end ->
        :ok
    end
  end

  defp ask(stranger) do
    send(stranger, :ask)
    assert_receive {^stranger, answer}, 10_000
    answer
  end

  defp telemetry!(events) do
    ref = make_ref()
    :ok = :telemetry.attach_many(ref, events, &__MODULE__.tell/4, {self(), ref})
    on_exit(fn -> :telemetry.detach(ref) end)
    ref
  end

  # Other tests' calls are executed in their processes.
  def tell(event, measurements, metadata, {test, ref}) do
    if self() == test, do: send(test, {ref, event, measurements, metadata})
  end
end
