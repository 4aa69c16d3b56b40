defmodule Alumiini.Git.KillSafetyTest do
  # A worker is killed at a moment of a sync. What it leaves is read, and synced, by workers that
  # know nothing of it.
  use Alumiini.Git.Test.KillCase, async: true

  @moduletag timeout: 280_000

  # A moment is {phase, n}: the worker kills itself when it comes to the phase for the n-th time.
  # The bounds are what a sync of `Versions` has at least.
  @once for phase <- ~w(start connect shallow installed marker refs index-written unmark),
            do: {phase, 1}
  @only_clone [{"refs", 2}, {"rename", 1}, {"renamed", 1}]
  # A repair is a clone beside what is damaged, with an exchange of the two.
  @repair [
    {"pack", 2},
    {"installed", 1},
    {"marker", 1},
    {"rename", 1},
    {"renamed", 1},
    {"checkout", 5},
    {"unmark", 1}
  ]

  @short [{"pack", 1}, {"pack", 4}, {"index", 1}, {"index", 20}] ++
           [{"checkout", 1}, {"checkout", 20}, {"checkout", Versions.count()}]
  @long for(n <- 1..6, do: {"pack", n}) ++
          for(n <- 1..Versions.count(), do: {"index", n}) ++
          for(n <- 1..Versions.count(), do: {"checkout", n})

  # From one to the other, with a working tree and without.
  @switch [{"marker", 1}, {"refs", 1}, {"index-written", 1}, {"unmark", 1}]

  # Where the server waits when the worker is killed from outside: at a request, or so far into the
  # pack.
  @gates [:info_refs, :ls_refs, :fetch, {:pack, 11}, {:pack, 100_000}]

  setup [:dir, :versions, :http]

  test "the long form has 200 moments, the short form every phase" do
    phases = fn moments -> moments |> Enum.map(&elem(&1, 0)) |> Enum.uniq() |> Enum.sort() end
    clone = @once ++ @only_clone
    long = length(clone ++ @once) + 2 * length(@long) + length(@repair) + 2 * length(@gates)
    assert long >= 200
    assert phases.(clone ++ @short) == phases.(clone ++ @long)
    assert phases.(clone ++ @short) == documented_phases()
  end

  defp documented_phases do
    [_, list] = "protocol/README.md" |> File.read!() |> String.split("Phases:")
    [list | _] = String.split(list, "A request also emits")

    ~r/`([a-z-]+)`(?= \(|,)/
    |> Regex.scan(list, capture: :all_but_first)
    |> List.flatten()
    # Those of reads and exports, see reads/killed_test.exs.
    |> Kernel.--(~w(object exported replaced))
    |> Enum.sort()
  end

  describe "a clone that is killed" do
    test("once in each phase", context, do: sweep(context, :clone, @once ++ @only_clone, [1]))

    test("while the pack comes and while files are written", context,
      do: sweep(context, :clone, @short, [0])
    )

    @tag :soak
    test("at every step", context, do: sweep(context, :clone, @long, [1, 0]))

    test "from outside, while the server is at work", context do
      for gate <- @gates, do: killed_at_gate(context, :clone, gate)
    end
  end

  describe "a fetch that is killed" do
    test("once in each phase", context, do: sweep(context, :fetch, @once, [1]))

    test("while the pack comes and while files are written", context,
      do: sweep(context, :fetch, @short, [0])
    )

    @tag :soak
    test("at every step", context, do: sweep(context, :fetch, @long, [1, 0]))

    test "from outside, while the server is at work", context do
      for gate <- @gates, do: killed_at_gate(context, :fetch, gate)
    end
  end

  # The pack is made here, of another repository's objects, and goes the same way.
  describe "from a local remote," do
    setup context, do: %{url: "file://" <> context.origin}

    test("a clone that is killed", context,
      do: sweep(context, :clone, @once ++ @only_clone ++ @short, [1, 0])
    )

    test("a fetch that is killed", context, do: sweep(context, :fetch, @once ++ @short, [0, 1]))
    test("a repair that is killed", context, do: sweep(context, :repair, @repair, [1]))
  end

  # Nothing is written there but `.git`, so these phases do not happen.
  @checkout ["checkout", "index-written"]
  defp without_checkout(moments),
    do: for({phase, _n} = moment <- moments, phase not in @checkout, do: moment)

  describe "without a working tree," do
    setup do: %{working_tree: false}

    test("a clone that is killed", context) do
      sweep(context, :clone, without_checkout(@once ++ @only_clone ++ @short), [1, 0])
    end

    test("a fetch that is killed", context) do
      sweep(context, :fetch, without_checkout(@once ++ @short), [0, 1])
    end

    test("a repair that is killed", context,
      do: sweep(context, :repair, without_checkout(@repair), [1])
    )

    test "from outside, while the server is at work", context do
      for gate <- @gates, do: killed_at_gate(context, :fetch, gate)
    end

    test("a sync that takes the working tree away", context) do
      sweep(context, :switch, @switch, [1, 0])
      # With something new, too, the old commit may be what is left.
      sweep(context, :fetch_and_switch, @switch, [1, 0])
    end
  end

  # In two packs: commits and directories, then files.
  @parts @once ++ @short ++ [{"pack", 2}, {"installed", 2}, {"index", 42}]

  describe "a sync of some paths," do
    setup do: %{paths: ["app", "deploy"]}

    test("a clone that is killed", context,
      do: sweep(context, :clone, @parts ++ @only_clone, [1, 0])
    )

    test("a fetch that is killed", context, do: sweep(context, :fetch, @parts, [0, 1]))
    test("a repair that is killed", context, do: sweep(context, :repair, @repair, [1]))

    test("without a working tree, a fetch that is killed", context) do
      context = Map.put(context, :working_tree, false)
      sweep(context, :fetch, without_checkout(@parts), [1, 0])
    end

    test "from outside, while the server is at work", context do
      files = {:request, 2}
      for gate <- @gates ++ [files], do: killed_at_gate(context, :fetch, gate)
    end

    test("a sync that takes other files away", context) do
      sweep(context, :narrow, @switch, [1, 0])
      sweep(context, :fetch_and_narrow, @switch, [1, 0])
    end

    test("a sync that brings other files", context) do
      sweep(context, :widen, @switch ++ [{"installed", 1}, {"checkout", 1}], [1, 0])
      sweep(context, :fetch_and_widen, @switch ++ [{"installed", 2}], [1, 0])
    end
  end

  describe "a sync that brings the working tree back" do
    test("when it is killed", context) do
      sweep(context, :switch, @switch ++ [{"checkout", Versions.count()}], [1, 0])
      sweep(context, :fetch_and_switch, @switch, [1, 0])
    end
  end

  test("a repair that is killed, in each phase", context, do: sweep(context, :repair, @repair, [1]))

  ## One moment

  # The depths take turns. A shallow and a full history leave different things behind.
  defp sweep(context, what, moments, depths) do
    for {{phase, n} = moment, depth} <- Enum.zip(moments, Stream.cycle(depths)) do
      fault = %{"at" => phase, "do" => "kill", "after" => n}

      at(context, what, depth, moment, fn worker, request ->
        # Nobody but the fault kills it, so that this shows that the phase was come to.
        assert RawWorker.call(worker, Map.put(request, "fault", fault)) == {:exited, 137}
      end)
    end
  end

  defp killed_at_gate(context, what, gate) do
    server = context.http

    at(context, what, 1, gate, fn worker, request ->
      rule = gate(server, gate)
      RawWorker.ask(worker, request)
      HttpServer.await(server, {:parked, rule, 1})
      RawWorker.kill!(worker)
      HttpServer.reset(server)
      HttpServer.await(server, {:open, 0})
    end)
  end

  # The worker is a new one: it asks what the server speaks, then for refs, then for a pack.
  defp gate(server, :info_refs), do: HttpServer.rule(server, :hold, on: :info_refs)
  defp gate(server, :ls_refs), do: HttpServer.rule(server, :hold, on: :upload_pack)
  defp gate(server, :fetch), do: gate(server, {:request, 1})

  defp gate(server, {:request, n}),
    do: HttpServer.rule(server, :hold, on: :upload_pack, skip: n)

  defp gate(server, {:pack, n}),
    do: HttpServer.rule(server, {:stop, {:pack, n}, :hold}, on: :upload_pack)

  # Every other moment has full history, so that both shapes of `.git` come to each phase.
  defp at(context, what, depth, moment, kill) do
    path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")
    request = sync_request(context, path, depth)
    before(context, what, request)
    new = if what in [:clone, :switch, :narrow, :widen], do: 1, else: 2
    publish!(context, new)

    RawWorker.with_worker(fn worker -> kill.(worker, request) end)
    # What the killed worker left, once more, for a remote that moves on before anybody looks.
    elsewhere = path <> "-elsewhere"
    if File.dir?(path), do: {_, 0} = System.cmd("cp", ["-a", path, elsewhere])

    RawWorker.with_worker(fn worker ->
      old = if what == :clone, do: [], else: [1]
      # There is another part of it before.
      old = if what in [:widen, :fetch_and_widen], do: old ++ ["part of 1"], else: old
      # Where the objects are all there is, damage shows until it is repaired.
      unread = if what == :repair and not request["working_tree"], do: ["corrupt"], else: []
      expect_whole(worker, path, old ++ [new], "#{what} killed at #{inspect(moment)}", unread)
      synced!(context, worker, path, request, new)
    end)

    publish!(context, 3)
    request = Map.put(request, "path", elsewhere)
    RawWorker.with_worker(fn worker -> synced!(context, worker, elsewhere, request, 3) end)

    for made <- [path, elsewhere], do: TempDir.remove!(made)
  end

  defp before(_context, :clone, _request), do: :ok

  # A reader finds what is there of either end.
  defp before(context, what, request) when what in [:narrow, :fetch_and_narrow] do
    before(context, :fetch, Map.put(request, "paths", ["app", "deploy", "run.sh"]))
  end

  defp before(context, what, request) when what in [:widen, :fetch_and_widen] do
    before(context, :fetch, Map.put(request, "paths", ["app/1.yaml", "deploy"]))
  end

  defp before(context, what, request) when what in [:switch, :fetch_and_switch] do
    before(context, :fetch, Map.update!(request, "working_tree", &not/1))
  end

  defp before(context, what, request) do
    publish!(context, 1)
    RawWorker.with_worker(fn worker -> assert {:ok, _id} = RawWorker.call(worker, request) end)
    if what == :repair, do: damage(request["path"])
  end

  # No object can be read any more, but all that a reader of the working tree sees is there.
  defp damage(path) do
    packs = Path.wildcard(Path.join(path, ".git/objects/pack/*.pack"), match_dot: true)
    assert packs != []

    for pack <- packs do
      File.chmod!(pack, 0o644)
      File.write!(pack, "no pack")
    end
  end

  defp sync_request(context, path, depth) do
    working_tree = Map.get(context, :working_tree, true)

    request = %{
      "op" => "sync",
      "url" => context.url,
      "branch" => "main",
      "path" => path,
      "depth" => depth
    }

    request = Map.put(request, "working_tree", working_tree)
    if paths = context[:paths], do: Map.put(request, "paths", paths), else: request
  end

  ## What must hold

  # One whole commit, or nothing at all and `incomplete` (`path_not_found` where the directory was
  # not even made).
  defp expect_whole(worker, path, versions, moment, unread) do
    case WholeCommit.read(worker, path) do
      {:ok, contents} ->
        assert {moment, WholeCommit.version(contents)} in Enum.map(versions, &{moment, &1})

      {:error, "path_not_found"} ->
        refute File.exists?(path), "#{moment}: path_not_found, but it is there"

      {:error, kind} ->
        assert {moment, kind} in Enum.map(["incomplete" | unread], &{moment, &1})
    end
  end

  defp synced!(context, worker, path, request, version) do
    id = context.commits[version]
    assert RawWorker.call(worker, request) == {:ok, id}
    assert Leftovers.of(path) == []
    assert {:ok, contents} = WholeCommit.read(worker, path)
    assert WholeCommit.version(contents) == version

    if request["working_tree"],
      do: Oracle.assert_synced(path, context.origin, id, request["paths"] || []),
      else: Oracle.assert_synced_bare(path, context.origin, id)
  end
end
