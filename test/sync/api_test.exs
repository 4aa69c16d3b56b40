defmodule Alumiini.Git.ApiTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Commit, Error, Ref}
  alias Alumiini.Git.Test.ScriptedWorker

  import ScriptedWorker, only: [hello: 0, synced: 1]

  @moduletag :tmp_dir

  defp start!(%{tmp_dir: directory}, script) do
    binary = ScriptedWorker.write!(directory, [hello() ++ script])
    start_supervised!({Git, name: nil, binary: binary})
  end

  # A worker that takes one request, answers it, and leaves what it took here.
  defp answering!(%{tmp_dir: directory} = context, value) do
    out = Path.join(directory, "frame")

    answer =
      if is_map(value) and is_map_key(value, "id"), do: {:reply, value}, else: {:answer, value}

    server = start!(context, [:read, {:shell, ~s(echo $frame > "#{out}")}, answer, :serve])

    {server,
     fn ->
       out
       |> File.read!()
       |> String.trim()
       |> Base.decode16!(case: :lower)
       |> Msgpax.unpack!(binary: true)
     end}
  end

  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"

  describe "sync/4" do
    test "sends what the wire has, with the defaults", context do
      {server, sent} = answering!(context, synced(@sha))
      assert Git.sync("https://h/x", "main", "/x", server: server) == {:ok, @sha}

      assert %{
               "op" => "sync",
               "url" => "https://h/x",
               "ref" => %{"branch" => "main"},
               "path" => "/x",
               "depth" => 1,
               "force" => false,
               "working_tree" => true,
               "allow_insecure" => false,
               "timeout" => timeout
             } = sent.()

      assert timeout in 295_000..300_001
      refute Map.has_key?(sent.(), "auth")
      refute Map.has_key?(sent.(), "progress")
    end

    test "sends every option", context do
      {server, sent} = answering!(context, synced(@sha))
      told = self()

      assert {:ok, @sha} =
               Git.sync("http://h/x", {:branch, "main"}, "/x",
                 server: server,
                 depth: :infinity,
                 force: true,
                 working_tree: false,
                 allow_insecure: true,
                 auth: Auth.basic("u", "p"),
                 timeout: 1_000_000,
                 progress: &send(told, &1)
               )

      assert %{
               "depth" => 0,
               "force" => true,
               "working_tree" => false,
               "allow_insecure" => true,
               "progress" => true,
               "auth" => %{"type" => "basic", "username" => "u", "password" => "p"}
             } = sent.()
    end

    test "takes the depth as last argument", context do
      {server, sent} = answering!(context, synced(@sha))
      assert {:ok, @sha} = Git.sync("https://h/x", "main", "/x", server: server, depth: 5)
      assert %{"depth" => 5} = sent.()

      # The short form goes to the server of the default name, which nobody started here.
      assert {:error, %Error{reason: :worker_unavailable, op: :sync}} =
               Git.sync("https://h/x", "main", "/x", 5)
    end

    test "takes credentials out of the URL; those of the option stand above", context do
      {server, sent} = answering!(context, synced(@sha))
      assert {:ok, @sha} = Git.sync("https://u:p%40@h/x", "main", "/x", server: server)
      assert %{"url" => "https://h/x", "auth" => %{"username" => "u", "password" => "p@"}} = sent.()

      stop_supervised!(Git)
      {server, sent} = answering!(context, synced(@sha))
      options = [server: server, auth: Auth.bearer("t")]
      assert {:ok, @sha} = Git.sync("https://u:p@h/x", "main", "/x", options)
      assert %{"url" => "https://h/x", "auth" => %{"type" => "bearer", "token" => "t"}} = sent.()
    end

    test "sends each kind of ref as the wire has it", context do
      for {ref, wire} <- [
            {:default, %{"default" => true}},
            {{:tag, "v1"}, %{"tag" => "v1"}},
            {{:commit, @sha}, %{"commit" => @sha}},
            {{:ref, "refs/pull/7/head"}, %{"name" => "refs/pull/7/head"}}
          ] do
        {server, sent} = answering!(context, synced(@sha))
        assert Git.sync("https://h/x", ref, "/x", server: server, keep: 7) == {:ok, @sha}
        assert %{"ref" => ^wire, "keep" => 7, "details" => true} = sent.()
        stop_supervised!(Git)
      end
    end

    test "tells progress in the calling process, and only what it knows", context do
      event = fn fields -> {:reply, Map.merge(%{"id" => :last, "event" => "progress"}, fields)} end
      numbers = %{"done" => 1, "total" => 2, "bytes" => 3}

      server =
        start!(context, [
          :read,
          event.(Map.put(numbers, "phase", "receive")),
          event.(Map.put(numbers, "phase", "of a later version")),
          event.(%{"event" => "of a later version"}),
          event.(Map.put(numbers, "phase", "checkout")),
          {:answer, synced(@sha)},
          :serve
        ])

      progress = fn progress -> Process.put(:told, [progress | Process.get(:told, [])]) end
      assert {:ok, @sha} = Git.sync("https://h/x", "main", "/x", server: server, progress: progress)

      assert Process.get(:told) == [
               %{phase: :checkout, done: 1, total: 2, bytes: 3},
               %{phase: :receive, done: 1, total: 2, bytes: 3}
             ]
    end
  end

  describe "the other calls" do
    test "files/3", context do
      {server, sent} = answering!(context, ["a.yaml", Msgpax.Bin.new(<<"b", 255, ".yml">>)])
      assert Git.files("/x", "deploy/", server: server) == {:ok, ["a.yaml", <<"b", 255, ".yml">>]}
      assert %{"op" => "files", "path" => "/x", "subpath" => "deploy/"} = sent.()
    end

    test "files/3 of the top", context do
      {server, sent} = answering!(context, [])
      assert Git.files("/x", nil, server: server) == {:ok, []}
      refute Map.has_key?(sent.(), "subpath")
    end

    test "read/3", context do
      content = <<0, 255, "text">>
      {server, sent} = answering!(context, Msgpax.Bin.new(content))
      assert Git.read(<<"/x", 255>>, "a.yaml", server: server, max_bytes: 10) == {:ok, content}

      sent = sent.()
      assert %{"op" => "read", "file" => "a.yaml", "raw" => true, "max_bytes" => 10} = sent
      assert sent["path"] == Msgpax.Bin.new(<<"/x", 255>>)
    end

    test "head/2", context do
      commit = %{
        "sha" => @sha,
        "tree" => @sha,
        "parents" => [],
        "author" => "A",
        "email" => "a@example.com",
        "timestamp" => 1,
        "offset" => 60,
        "committer" => "C",
        "committer_email" => "c@example.com",
        "committed_at" => 2,
        "committed_offset" => 0,
        "message" => "m",
        "branch" => nil,
        "of a later version" => 1
      }

      {server, sent} = answering!(context, commit)

      assert {:ok, %Commit{sha: @sha, author: "A", timestamp: 1, offset: 60, branch: nil}} =
               Git.head("/x", server: server)

      assert %{"op" => "head", "path" => "/x"} = sent.()
    end

    test "checkout/3", context do
      {server, sent} = answering!(context, @sha)
      assert Git.checkout("/x", "HEAD~1", server: server, force: true) == {:ok, @sha}
      assert %{"op" => "checkout", "path" => "/x", "rev" => "HEAD~1", "force" => true} = sent.()
    end

    test "ls_remote/3", context do
      for {ref, wire} <- [
            {"HEAD", "HEAD"},
            {"refs/heads/x", "refs/heads/x"},
            {{:branch, "main"}, %{"branch" => "main"}},
            {{:tag, "v1"}, %{"tag" => "v1"}},
            {{:ref, "refs/pull/7/head"}, %{"name" => "refs/pull/7/head"}}
          ] do
        {server, sent} = answering!(context, @sha)
        assert Git.ls_remote("https://u:p@h/x", ref, server: server) == {:ok, @sha}

        assert %{
                 "op" => "ls_remote",
                 "ref" => ^wire,
                 "url" => "https://h/x",
                 "auth" => %{"username" => "u"}
               } = sent.()

        stop_supervised!(Git)
      end

      assert {:error, %Error{reason: :unsupported, op: :ls_remote}} =
               Git.ls_remote("https://h/x", {:commit, @sha})
    end

    test "refs/2", context do
      wire = [
        %{"name" => "HEAD", "sha" => @sha, "peeled" => nil, "symref_target" => "refs/heads/main"},
        %{
          "name" => Msgpax.Bin.new(<<"refs/heads/", 255>>),
          "sha" => @sha,
          "peeled" => nil,
          "symref_target" => nil
        },
        %{"name" => "refs/tags/v1", "sha" => @sha, "peeled" => @sha, "of a later version" => 1}
      ]

      refs = [
        %Ref{name: "HEAD", sha: @sha, symref_target: "refs/heads/main"},
        %Ref{name: <<"refs/heads/", 255>>, sha: @sha},
        %Ref{name: "refs/tags/v1", sha: @sha, peeled: @sha}
      ]

      for {prefix, sent_prefixes} <- [
            {[], nil},
            {[prefix: []], nil},
            {[prefix: "refs/tags/"], ["refs/tags/"]},
            {[prefix: ["HEAD", "refs/heads/"]], ["HEAD", "refs/heads/"]}
          ] do
        {server, sent} = answering!(context, wire)
        assert Git.refs("https://u:p@h/x", [server: server] ++ prefix) == {:ok, refs}

        assert %{"op" => "refs", "url" => "https://h/x", "auth" => %{"username" => "u"}} =
                 frame = sent.()

        assert frame["prefixes"] == sent_prefixes
        stop_supervised!(Git)
      end
    end

    test "answers of another form are a defect, not a crash", context do
      for {call, value} <- [
            {&Git.files("/x", nil, &1), "text"},
            {&Git.read("/x", "f", &1), 1},
            {&Git.head("/x", &1), %{"sha" => 1}},
            {&Git.checkout("/x", "r", &1), nil},
            {&Git.refs("https://h/x", &1), %{}},
            {&Git.refs("https://h/x", &1), [%{"name" => "HEAD"}]},
            {&Git.sync("https://h/x", "main", "/x", &1), []}
          ] do
        {server, _sent} = answering!(context, value)
        assert {:error, %Error{reason: :internal, message: message}} = call.(server: server)
        assert message =~ "report"
        stop_supervised!(Git)
      end
    end

    test "relative paths are the caller's", context do
      {server, sent} = answering!(context, [])
      assert {:ok, []} = Git.files("repo", nil, server: server)
      assert sent.()["path"] == File.cwd!() <> "/repo"
    end
  end

  describe "start_link/1 and child_spec/1" do
    test "several servers fit under one supervisor, each under its name", %{tmp_dir: directory} do
      binary = ScriptedWorker.write!(directory, [hello() ++ [:serve]])
      registry = :"#{__MODULE__}.Registry"
      start_supervised!({Registry, keys: :unique, name: registry})

      names = [:"#{__MODULE__}.A", {:global, {__MODULE__, :b}}, {:via, Registry, {registry, :c}}]
      children = for name <- names, do: {Git, name: name, binary: binary}
      {:ok, _supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      for name <- names, do: assert({:ok, "served"} = Git.checkout("/x", "main", server: name))
      assert {:ok, "served"} = Git.checkout("/x", "main", server: {hd(names), node()})
    end

    test "the default name is the module", %{tmp_dir: directory} do
      assert %{id: Git, start: {Git, :start_link, [[]]}} = Git.child_spec([])
      assert Alumiini.Git.Options.Check.start!([]).name == Git
      assert directory
    end

    test "a binary that is missing does not take the supervisor down", %{tmp_dir: directory} do
      children = [
        {Git,
         name: nil, binary: Path.join(directory, "nothing"), backoff_initial: 1, backoff_max: 1}
      ]

      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 0)
      [{_id, server, _type, _modules}] = Supervisor.which_children(supervisor)

      for _ <- 1..20,
          do: assert({:error, %Error{reason: :worker_unavailable}} = Git.head("/x", server: server))

      assert [{_id, ^server, _type, _modules}] = Supervisor.which_children(supervisor)
    end
  end

  describe "options in the place of what may be left out" do
    test "files/2 and ls_remote/2 take them", context do
      {server, sent} = answering!(context, [])
      assert Git.files("/x", server: server) == {:ok, []}
      assert %{"op" => "files", "path" => "/x"} = sent.()
      refute Map.has_key?(sent.(), "subpath")
    end

    test "ls_remote/2", context do
      {server, sent} = answering!(context, @sha)
      assert Git.ls_remote("https://h/x", server: server) == {:ok, @sha}
      assert %{"op" => "ls_remote", "ref" => "HEAD"} = sent.()
    end

    test "and refuse unknown ones" do
      assert_raise ArgumentError, ~r/unknown option :nothing/, fn -> Git.files("/x", nothing: 1) end

      assert_raise ArgumentError, ~r/unknown option :nothing/, fn ->
        Git.ls_remote("/x", nothing: 1)
      end
    end
  end

  describe "Alumiini.Git.Error" do
    test "is raised with a sentence, with fields, and as it is" do
      assert_raise Error, "boom", fn -> raise Error, "boom" end

      assert_raise Error, "sync: gone", fn ->
        raise Error, reason: :network, op: :sync, message: "gone"
      end

      assert Exception.message(%Error{reason: :auth}) == "it failed (:auth)"
      assert Exception.message(Error.new(:auth, :sync, "no")) == "sync: no"
    end
  end
end
