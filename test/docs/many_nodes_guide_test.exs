Alumiini.Git.Test.FleetExample.load!()

defmodule Alumiini.Git.ManyNodesGuideTest do
  # Runs the examples of guides/many-nodes.md, one after the other, as a reader does, on one node;
  # test/examples/fleet_test.exs has three. Not async: a node has one fleet.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Test, as: Fixtures
  alias Alumiini.Git.Test.Document

  @guide "guides/many-nodes.md"
  @url "https://git.example.com/team-a.git"
  @soon 20_000

  # What a reader has of their own.
  defmodule Elixir.Shop.Repositories do
    def urls, do: [:persistent_term.get(__MODULE__)]
  end

  defmodule Elixir.Shop.Clusters do
    def apply(url, files), do: send(:persistent_term.get(__MODULE__), {:applied, url, files})
  end

  @tag :tmp_dir
  test "every block runs after those before it", context do
    fixture = Fixtures.repository(%{"deploy/app.yaml" => "kind: Deployment\n", "b" => "b"})
    :persistent_term.put(Shop.Repositories, fixture.url)
    :persistent_term.put(Shop.Clusters, self())

    on_exit(fn ->
      Enum.each([Shop.Repositories, Shop.Clusters], &:persistent_term.erase/1)
    end)

    blocks = for %{language: "elixir"} = block <- Document.blocks(@guide), do: block.code
    {[deps], blocks} = Enum.split_with(blocks, &(&1 =~ "def deps"))
    {[applier], blocks} = Enum.split_with(blocks, &(&1 =~ "defmodule"))
    Code.compile_string(applier)

    bindings =
      Enum.reduce(blocks, [], fn code, bindings ->
        code =
          code
          |> String.replace("/var/lib/fleet", context.tmp_dir)
          |> String.replace(@url, fixture.url)

        # Nobody else is there to be connected to.
        code = String.replace(code, ~r/hosts: \[.*\]\]/, "hosts: []]")
        bindings = before(code, bindings, fixture)
        {_value, bindings} = Code.eval_string(code, bindings)
        bindings
      end)

    assert bindings[:node] == node()
    assert bindings[:status].url == fixture.url
    assert bindings[:owner] in bindings[:nodes]
    # The poke.
    pushed = bindings[:pushed_commit]
    assert_receive {:applied, url, [%{content: "kind: Pod\n"}]}, @soon
    assert url == fixture.url
    assert %{sha: ^pushed} = Alumiini.Git.Follower.status(Fleet.follower(url))
    Supervisor.stop(bindings[:_supervisor] || fleet_supervisor())
    assert deps_of(deps) == deps_of_example()
  end

  # What happens elsewhere, between two blocks.
  defp before(code, bindings, fixture) do
    if code =~ "pushed_commit" do
      assert_receive {:applied, _url, [%{content: "kind: Deployment\n"}]}, @soon
      fixture = Fixtures.commit(fixture, %{"deploy/app.yaml" => "kind: Pod\n"})
      [pushed_commit: List.last(fixture.commits)] ++ bindings
    else
      bindings
    end
  end

  defp fleet_supervisor do
    {:dictionary, dictionary} = Process.info(Process.whereis(Fleet), :dictionary)
    hd(dictionary[:"$ancestors"])
  end

  # Of the example's mix.exs, all but this library, which is beside it.
  defp deps_of(code) do
    {deps, _bindings} = code |> String.replace(~r/\A.*?do\n|end\n\z/s, "") |> Code.eval_string()
    assert [{:alumiini_git, "~> 0.1"} | others] = deps
    others
  end

  defp deps_of_example do
    text = File.read!("examples/fleet/mix.exs")

    for [_all, name, requirement] <- Regex.scan(~r/\{:(\w+), "(~> [\d.]+)"\}/, text),
        String.to_atom(name) != :alumiini_git,
        do: {String.to_atom(name), requirement}
  end

  ## The figures

  test "the figures are those of the benchmark" do
    # Of results.json a line each, without a decoder: `"id": "…"` to the first median.
    text = File.read!("bench/results/results.json")

    median = fn id ->
      [_all, found] = Regex.run(~r/"id": *"#{id}".*?"median": *([\d.]+)/s, text)
      found |> Float.parse() |> elem(0)
    end

    guide = File.read!(@guide)
    row = fn start, value -> assert guide =~ "| #{start} | #{value} |" end
    kib = &:erlang.float_to_binary(&1 / 1024, decimals: 1)
    ms = fn ns, decimals -> :erlang.float_to_binary(ns / 1.0e6, decimals: decimals) end

    polls = round(10_000 / (median.("many") / 1.0e9))

    rest = polls |> rem(1000) |> Integer.to_string() |> String.pad_leading(3, "0")
    shown = "#{div(polls, 1000)},#{rest}"

    row.("polls with nothing new, of 10,000 repositories", "#{shown} a second")
    row.("processor time of one, of 10,000 followers", "#{ms.(median.("follow-cpu"), 1)} ms")
    worker = median.("many-memory") / 10_000
    follower = median.("follow-memory")
    row.("memory of a repository, in the worker", "#{kib.(worker)} KiB")
    row.("memory of a follower, in the BEAM", "#{kib.(follower)} KiB")
    row.("from a push to its message, by webhook", "#{ms.(median.("follow-poke"), 0)} ms")

    assert guide =~ "and #{round((worker + follower) * 10_000 / 1_048_576)} MiB"
    cores = median.("follow-cpu") / 1.0e9 * 10_000 / 30
    assert_in_delta cores, 0.5, 0.1
  end
end
