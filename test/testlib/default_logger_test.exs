defmodule Alumiini.Git.DefaultLoggerTest do
  # Lines of the default logger, and what a call adds to its events. Not async: the logger is one
  # for all, and the log is everybody's.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Lease, Ops, Telemetry, Test, Update}

  @url "https://git.example.com/shop.git"
  @secret_url "https://u:s3cr3t@git.example.com/shop.git?token=s3cr3t"
  @sha String.duplicate("a", 40)
  @oid String.duplicate("b", 40)

  setup do
    on_exit(&Telemetry.detach_default_logger/0)
    ref = make_ref()

    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: {self(), ref}, level: :all})

    on_exit(fn -> :logger.remove_handler(__MODULE__) end)
    %{ref: ref}
  end

  # Of `:logger`.
  def log(event, %{config: {test, ref}}), do: send(test, {ref, event})

  defp attach!(options \\ []), do: :ok = Telemetry.attach_default_logger(options)

  # The lines of this library, with what belongs to them.
  defp lines(ref) do
    receive do
      {^ref, %{meta: %{domain: [:alumiini_git]}, msg: {:string, line}} = event} ->
        [{event.level, to_string(line), event.meta} | lines(ref)]

      {^ref, _other} ->
        lines(ref)
    after
      0 -> []
    end
  end

  defp shape(line), do: String.replace(line, ~r/\d+\.\d ms$/, "N ms")

  test "there is a line for each call, with what it did and how long it took", %{ref: ref} do
    update = %Update{sha: @sha, changed?: true, bytes: 5120, objects: 3}

    server =
      Test.stub(
        sync: {:ok, update},
        read: {:ok, "abc"},
        head: Test.error(:path_not_found),
        ls_remote: {:ok, @sha}
      )

    attach!()
    options = [server: server]

    capture_log(fn ->
      Git.sync(@secret_url, "main", "/srv/shop", [auth: Auth.token("s3cr3t")] ++ options)
      Git.read("/srv/shop", "a.yaml", [at: "v1", telemetry_metadata: %{tenant: 7}] ++ options)
      Git.head("/srv/shop", options)
      Git.ls_remote(@url, {:tag, "v1\nv2"}, options)
    end)

    lines = lines(ref)

    assert for({level, line, _meta} <- lines, do: {level, shape(line)}) == [
             {:info, "sync #{@url} main /srv/shop: ok (updated, 5120 bytes) in N ms"},
             {:info, "read v1 /srv/shop: ok (3 bytes) in N ms"},
             {:error, "head /srv/shop: path_not_found in N ms"},
             {:info, ~S|ls_remote https://git.example.com/shop.git {:tag, "v1\\nv2"}: ok in N ms|}
           ]

    assert [sync, read, head, _ls_remote] = for({_, _, meta} <- lines, do: meta)
    assert %{op: :sync, result: :ok, duration_us: us, telemetry_metadata: empty} = sync
    assert is_integer(us) and us >= 0 and empty == %{}
    assert %{op: :read, telemetry_metadata: %{tenant: 7}} = read
    assert %{op: :head, result: :path_not_found} = head
    refute inspect(lines, limit: :infinity, printable_limit: :infinity) =~ "s3cr3t"
  end

  test "what was raised is told by its kind alone", %{ref: ref} do
    attach!()
    server = Test.stub(head: {:ok, @sha})

    capture_log(fn ->
      for auth <- [
            fn -> raise "s3cr3t" end,
            fn -> throw("s3cr3t") end,
            fn -> exit("s3cr3t") end,
            fn -> :erlang.error(:s3cr3t) end
          ] do
        try do
          Git.refs(@url, auth: auth, server: server)
        catch
          _kind, _reason -> :ok
        end
      end
    end)

    lines = lines(ref)
    words = ["raised RuntimeError", "threw", "exited", "raised an error"]

    assert for({level, line, _meta} <- lines, do: {level, shape(line)}) ==
             for(word <- words, do: {:error, "refs #{@url}: #{word} after N ms"})

    refute inspect(lines) =~ "s3cr3t"
  end

  test "levels and events are as they are told", %{ref: ref} do
    attach!(level: :debug, error_level: :notice, events: [:head, :worker])
    server = Test.stub(read: {:ok, ""}, head: {:ok, @sha})

    capture_log(fn ->
      Git.head("/srv", server: server)
      Git.read("/srv", "a", server: server)
      Git.head("/srv", server: :nobody_has_this_name)
    end)

    assert [{:debug, "head /srv: ok" <> _, _}, {:notice, "head /srv: worker_unavailable" <> _, _}] =
             lines(ref)

    assert Telemetry.detach_default_logger() == :ok
    assert Telemetry.detach_default_logger() == {:error, :not_found}
    capture_log(fn -> Git.head("/srv", server: server) end)
    assert lines(ref) == []
  end

  test "it is attached once, and refuses options that are none" do
    attach!()
    assert Telemetry.attach_default_logger() == {:error, :already_exists}

    for {options, words} <- [
          {[level: :loud], ":level must be one of [:emergency"},
          {[error_level: nil], ":error_level must be one of"},
          {[events: [:synk]],
           ":events must be :all, or a list of some of [:worker, :repo, :follower, "},
          {[events: []], ":events must be"},
          {[lvl: :info], "unknown option :lvl of attach_default_logger/1"},
          {:info, "must be a keyword list"}
        ] do
      error = assert_raise ArgumentError, fn -> Telemetry.attach_default_logger(options) end
      assert error.message =~ words
    end
  end

  test "workers and repositories have lines", %{ref: ref} do
    attach!()
    worker = %{os_pid: 7, version: "1.2.3", attempt: 1, isolated: false, server: Git}

    capture_log(fn ->
      :telemetry.execute([:alumiini_git, :worker, :up], %{duration: 0}, worker)

      for reason <- [{:exit_status, 137}, :shutdown, :done] do
        down = Map.put(worker, :reason, reason)
        :telemetry.execute([:alumiini_git, :worker, :down], %{uptime: 0}, down)
      end

      repaired = %{server: Git, path: "/srv/a\nb", reason: "an object is damaged"}
      :telemetry.execute([:alumiini_git, :repo, :repaired], %{}, repaired)
      :telemetry.execute([:alumiini_git, :repo, :repaired], %{}, %{repaired | path: nil})
    end)

    damaged = "was damaged and has been built anew: an object is damaged"

    assert for({level, line, _meta} <- lines(ref), do: {level, line}) == [
             {:info, "the worker 7 of Alumiini.Git, version 1.2.3, was up after 0.0 ms"},
             {:error, "the worker 7 of Alumiini.Git is down: {:exit_status, 137}"},
             {:info, "the worker 7 of Alumiini.Git is down: :shutdown"},
             {:info, "the worker 7 of Alumiini.Git is down: :done"},
             {:error, ~S|the repository /srv/a\nb | <> damaged},
             {:error, "the repository of an unknown path " <> damaged}
           ]
  end

  test "a move of a follower has a line, and its polls are those of their calls", %{ref: ref} do
    attach!(events: [:follower])

    move = %{
      server: Git,
      url: @url,
      path: "/srv/shop",
      ref: "main",
      from: @sha,
      to: @oid,
      compared: true
    }

    capture_log(fn ->
      poll = %{server: Git, url: @url, path: "/srv", ref: "main", result: :ok}
      :telemetry.execute([:alumiini_git, :follower, :poll], %{duration: 0}, poll)
      :telemetry.execute([:alumiini_git, :follower, :move], %{changes: 2}, move)

      move = %{move | compared: false}
      :telemetry.execute([:alumiini_git, :follower, :move], %{changes: 0}, move)
    end)

    moved = "follower #{@url} main /srv/shop: moved from #{@sha} to #{@oid}, "

    assert for({level, line, _meta} <- lines(ref), do: {level, line}) ==
             [{:info, moved <> "2 changes"}, {:info, moved <> "anything may have changed"}]
  end

  describe ":telemetry_metadata" do
    test "is in each event of each function's calls" do
      me = self()
      ref = make_ref()

      events =
        for op <- Ops.all(), event <- [:start, :stop, :exception], do: [:alumiini_git, op, event]

      :telemetry.attach_many(ref, events, &__MODULE__.tell/4, {me, ref})
      on_exit(fn -> :telemetry.detach(ref) end)

      server = Test.stub(fn {_op, _arguments} -> Test.error(:io) end)
      options = [telemetry_metadata: %{tenant: "shop"}, server: server]
      {gone, monitor} = spawn_monitor(fn -> :ok end)
      assert_receive {:DOWN, ^monitor, :process, ^gone, _reason}, 10_000
      lease = %Lease{path: "/srv", sha: @sha, id: "1", server: server, keeper: gone}

      calls = %{
        sync: [@url, "main", "/srv", options],
        update: [@url, "main", "/srv", options],
        files: ["/srv", options],
        read: ["/srv", "a", options],
        head: ["/srv", options],
        checkout: ["/srv", "main", options],
        ls_remote: [@url, options],
        refs: [@url, options],
        snapshot: ["/srv", options],
        diff: ["/srv", "a", "b", options],
        log: ["/srv", options],
        export: ["/srv", "/dest", options],
        status: ["/srv", options],
        lease: ["/srv", @sha, options],
        release: [lease, Keyword.delete(options, :server)]
      }

      assert Enum.sort(Map.keys(calls)) == Enum.sort(Ops.all())

      for {op, arguments} <- calls do
        assert {:error, %{op: ^op}} = apply(Git, op, arguments)

        for event <- [:start, :stop] do
          assert_received {^ref, [:alumiini_git, ^op, ^event], metadata}
          assert metadata.telemetry_metadata == %{tenant: "shop"}
        end
      end

      assert_raise RuntimeError, fn -> Git.refs(@url, [auth: fn -> raise "x" end] ++ options) end
      assert_received {^ref, [:alumiini_git, :refs, :exception], metadata}
      assert metadata.telemetry_metadata == %{tenant: "shop"}

      Git.head("/srv", server: server)
      assert_received {^ref, [:alumiini_git, :head, :stop], %{telemetry_metadata: empty}}
      assert empty == %{}
    end

    test "is a map, or raises" do
      for wrong <- ["shop", [tenant: 1], nil, URI.parse("x")] do
        error = assert_raise ArgumentError, fn -> Git.head("/srv", telemetry_metadata: wrong) end

        assert error.message =~ "option :telemetry_metadata must be a map"
      end

      assert_raise ArgumentError, fn -> Git.Url.normalize(@url, telemetry_metadata: %{}) end
    end
  end

  def tell(event, _measurements, metadata, {test, ref}) do
    if self() == test, do: send(test, {ref, event, metadata})
  end
end
