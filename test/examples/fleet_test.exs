Alumiini.Git.Test.FleetExample.load!()

# The example's own tests, as its users run them, are a part of these.
for file <- ["share_test.exs", "fleet_test.exs"],
    do: Code.require_file("../../examples/fleet/test/" <> file, __DIR__)

defmodule Alumiini.Git.FleetExampleTest do
  # Three nodes, and a thousand repositories. It makes this node a distributed one.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Test, as: Fixtures
  alias Alumiini.Git.Test.{FleetReporter, OsProcess, PeerNode}

  @moduletag :tmp_dir
  @moduletag timeout: 300_000

  @repositories 1_000
  @names ["one", "two", "three"]
  # Until a thing has happened, however busy the machine is.
  @waited 120_000

  setup do
    PeerNode.distribute!("fleet_observer")
    on_exit(fn -> :net_kernel.stop() end)
  end

  defp repositories(context, count) do
    fixtures =
      for n <- 1..count, into: %{} do
        files = %{"deploy/app.yaml" => "number: #{n}\n"}
        path = Path.join(context.tmp_dir, "origins/#{n}.git")
        fixture = Fixtures.repository(files, path: path)
        {fixture.url, fixture}
      end

    Map.merge(context, %{fixtures: fixtures, urls: Map.keys(fixtures)})
  end

  defp full(name), do: PeerNode.full("fleet_" <> name)

  # A node as an application of a user's is one: it is told which others there may be.
  defp start!(name, context, fleet \\ [], more \\ []) do
    {:ok, _peer, node} =
      :peer.start(%{
        name: PeerNode.short("fleet_" <> name),
        host: ~c"127.0.0.1",
        args: PeerNode.args() ++ more,
        wait_boot: 60_000
      })

    {:ok, _started} = :erpc.call(node, :application, :ensure_all_started, [:telemetry])
    os_pid = node |> :erpc.call(System, :pid, []) |> String.to_integer()
    on_exit(fn -> OsProcess.kill(os_pid, :KILL) end)

    :ok = :erpc.call(node, FleetReporter, :report, [self()])
    hosts = Enum.map(@names, &full/1)

    options = [
      directory: Path.join([context.tmp_dir, "nodes", name]),
      repositories: context.urls,
      worker: FleetReporter,
      server: [schemes: [:file]],
      follower: [ref: "main", interval: 2_000],
      topologies: [test: [strategy: Cluster.Strategy.Epmd, config: [hosts: hosts]]]
    ]

    :ok = :erpc.call(node, FleetReporter, :run, [Keyword.merge(options, fleet)], @waited)
    %{node: node, os_pid: os_pid}
  end

  ## What is told

  # Takes messages until `done?` says of what was told that it is enough. What was told is
  # url => {node, sha}, the newest. Of the rest, each is noted.
  defp watch(watched, done?) do
    if done?.(watched.told) do
      watched
    else
      receive do
        {:told, node, url, sha} ->
          watch(%{watched | told: Map.put(watched.told, url, {node, sha})}, done?)

        {:tenure, what, node, url, at} ->
          watch(%{watched | log: [{what, node, url, at} | watched.log]}, done?)
      after
        @waited -> flunk("only #{map_size(watched.told)} repositories were told of")
      end
    end
  end

  defp all_by?(nodes, count) do
    by? = fn {_url, {node, _sha}} -> node in nodes end
    &(map_size(&1) == count and Enum.all?(&1, by?))
  end

  # As soon as each node says of itself and of the others what the watcher was told.
  defp agreed!(nodes, told) do
    expected = Map.new(told, fn {url, {node, _sha}} -> {url, node} end)
    shares = Enum.group_by(expected, &elem(&1, 1), &elem(&1, 0))

    for node <- nodes do
      until(fn -> Enum.sort(:erpc.call(node, Fleet, :local, [])) == Enum.sort(shares[node]) end)
      until(fn -> :erpc.call(node, FleetReporter, :known, [Map.keys(expected)]) == expected end)
    end
  end

  defp until(true?, deadline \\ System.monotonic_time(:millisecond) + @waited) do
    assert System.monotonic_time(:millisecond) < deadline
    if true?.(), do: :ok, else: until(true?, deadline)
  end

  # A commit to one repository of each node, and who tells of them.
  defp push!(watched, fixtures, round) do
    files = %{"deploy/app.yaml" => "round: #{round}\n"}

    pushed =
      for {_node, [{url, {node, _sha}} | _]} <- Enum.group_by(watched.told, &elem(elem(&1, 1), 0)),
          into: %{} do
        fixture = Fixtures.commit(fixtures[url], files)
        {url, {node, List.last(fixture.commits)}}
      end

    watch(watched, fn told -> Map.take(told, Map.keys(pushed)) == pushed end)
  end

  ## Who had what when

  # `{from, to, node}` of each repository, in the order of time. What a killed node had, it had
  # until then; what is had still has no end.
  defp tenures(log) do
    log
    |> Enum.sort_by(&elem(&1, tuple_size(&1) - 1))
    |> Enum.reduce({%{}, []}, fn
      {:start, node, url, at}, {open, closed} ->
        refute is_map_key(open, {url, node})
        {Map.put(open, {url, node}, at), closed}

      {:stop, node, url, at}, {open, closed} ->
        {from, open} = Map.pop!(open, {url, node})
        {open, [{url, {from, at, node}} | closed]}

      {:killed, node, at}, {open, closed} ->
        {its, open} = Map.split(open, for({_url, ^node} = key <- Map.keys(open), do: key))
        {open, for({{url, _node}, from} <- its, do: {url, {from, at, node}}) ++ closed}
    end)
    |> then(fn {open, closed} ->
      for({{url, node}, from} <- open, do: {url, {from, :still, node}}) ++ closed
    end)
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
  end

  defp overlap?({_from, to, _node}, {from, _to, _other}), do: to == :still or to > from

  defp overlaps(tenures) do
    for {url, tenures} <- tenures,
        [one, next] <- tenures |> Enum.sort() |> Enum.chunk_every(2, 1, :discard),
        overlap?(one, next),
        do: {url, one, next}
  end

  defp repositories_of(watched, node),
    do: for({url, {^node, _sha}} <- watched.told, do: url)

  defp since(from), do: div(FleetReporter.now() - from, 1_000_000)

  test "a thousand repositories on three nodes: one node at a time follows each, whichever dies",
       context do
    context = repositories(context, @repositories)
    [one, two, three] = for name <- @names, do: start!(name, context)
    nodes = for %{node: node} <- [one, two, three], do: node
    watched = watch(%{told: %{}, log: []}, all_by?(nodes, @repositories))
    agreed!(nodes, watched.told)
    watched = push!(watched, context.fixtures, 1)

    for node <- nodes,
        do: assert_in_delta(length(repositories_of(watched, node)), div(@repositories, 3), 80)

    # One dies: its repositories, and no others, move.
    before = watched.told
    its = repositories_of(watched, two.node)
    killed_at = FleetReporter.now()
    :ok = OsProcess.kill(two.os_pid, :KILL)
    watched = watch(watched, all_by?(nodes -- [two.node], @repositories))
    moved_in = since(killed_at)
    assert moved_in < 30_000
    left = nodes -- [two.node]
    agreed!(left, watched.told)

    assert Enum.sort(for({url, told} <- watched.told, before[url] != told, do: url)) ==
             Enum.sort(its)

    assert its |> Enum.map(&elem(watched.told[&1], 0)) |> Enum.uniq() |> length() == 2
    watched = push!(watched, context.fixtures, 2)
    watched = %{watched | log: [{:killed, two.node, killed_at} | watched.log]}

    # It comes back, with nothing: its share returns to it, and nothing else moves.
    before = watched.told
    two = start!("two", context)
    back? = fn told -> Enum.all?(its, &(elem(told[&1], 0) == two.node)) end
    watched = watch(watched, back?)
    agreed!(nodes, watched.told)
    assert for({url, told} <- watched.told, before[url] != told, url not in its, do: url) == []
    watched = push!(watched, context.fixtures, 3)

    # One is stopped, as for an upgrade.
    its = repositories_of(watched, one.node)
    :ok = :erpc.call(one.node, :init, :stop, [])
    watched = watch(watched, all_by?(nodes -- [one.node], @repositories))
    agreed!([two.node, three.node], watched.told)
    stopped = for {:stop, node, url, _at} <- watched.log, node == one.node, do: url
    assert its -- stopped == []
    watched = push!(watched, context.fixtures, 4)

    tenures = tenures(watched.log)
    assert map_size(tenures) == @repositories
    assert overlaps(tenures) == []
    # Else this says nothing.
    assert [_overlap] = overlaps(%{"u" => [{1, 3, :a}, {2, :still, :b}]})
    assert Enum.count(tenures, fn {_url, tenures} -> length(tenures) > 1 end) > @repositories / 2
  end

  ## A netsplit

  @few 60

  # Nodes that OTP does not connect, or disconnect, beside libcluster.
  defp start_apart!(context, fleet) do
    apart = [~c"-connect_all", ~c"false", ~c"-kernel", ~c"logger_level", ~c"none"]
    for name <- @names, do: start!(name, context, fleet, apart).node
  end

  # With another cookie neither gets through to the other, however often it tries.
  defp split!(node, others) do
    for other <- others do
      true = :erpc.call(node, :erlang, :set_cookie, [other, :split])
      true = :erpc.call(node, :erlang, :disconnect_node, [other])
    end
  end

  defp heal!(node, others) do
    for other <- others do
      true = :erpc.call(node, :erlang, :set_cookie, [other, Node.get_cookie()])
      until(fn -> :erpc.call(node, Node, :connect, [other]) end)
    end
  end

  defp shares(nodes), do: for(node <- nodes, do: :erpc.call(node, Fleet, :local, []))

  defp followed_once?(nodes, urls),
    do: nodes |> shares() |> Enum.concat() |> Enum.sort() == Enum.sort(urls)

  test "the sides of a netsplit follow all, and when it heals one node each", context do
    context = repositories(context, @few)
    [one | others] = nodes = start_apart!(context, [])
    until(fn -> followed_once?(nodes, context.urls) end)
    split!(one, others)
    until(fn -> followed_once?([one], context.urls) end)
    until(fn -> followed_once?(others, context.urls) end)

    heal!(one, others)
    until(fn -> followed_once?(nodes, context.urls) end)
    told = for {node, urls} <- Enum.zip(nodes, shares(nodes)), url <- urls, do: {url, {node, nil}}
    agreed!(nodes, Map.new(told))
    assert length(told) == @few
  end

  test "with a quorum, the smaller side of a netsplit follows nothing", context do
    context = repositories(context, @few)
    [one | others] = nodes = start_apart!(context, quorum: 2)
    until(fn -> followed_once?(nodes, context.urls) end)
    split!(one, others)
    until(fn -> followed_once?(others, context.urls) end)
    until(fn -> shares([one]) == [[]] end)

    heal!(one, others)
    until(fn -> followed_once?(nodes, context.urls) and shares([one]) != [[]] end)
  end
end
