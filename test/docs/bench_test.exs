for file <- ~w(statistics result format json svg growth plot growth_plot) do
  Code.require_file("../../bench/#{file}.ex", __DIR__)
end

defmodule Alumiini.Git.BenchTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Bench.{Format, Growth, GrowthPlot, Json, Plot, Result, Statistics}

  @machine %{
    date: "2024-05-01",
    cores: 2,
    processor: "A <B> & \"C\"",
    memory: "8 GiB of memory",
    kernel: "Linux 6.1",
    git: "git version 2.47.3",
    elixir: "1.14.0",
    otp: "25",
    worker: "release"
  }

  defp results do
    times = Statistics.summary([1_000_000, 2_000_000, 4_000_000])
    slow = Statistics.summary([20_000_000])
    bytes = Statistics.summary([10 * 1_048_576, 30 * 1_048_576])

    [
      Result.time("poll", "sync", {"git fetch", slow}, times, 0.15, [{"the server", times}]),
      Result.throughput("fleet", "many", {"git fetch, xargs", slow}, times, 6.0),
      Result.time("read", "read", {"an echo", times}, slow, 2.0),
      Result.limit("memory", "memory", bytes, 20 * 1_048_576)
    ]
  end

  describe "statistics" do
    test "of one sample are that sample" do
      assert %{samples: 1, min: 7, q1: 7, median: 7, q3: 7, max: 7} = Statistics.summary([7])
    end

    test "do not depend on the order of the samples" do
      assert %{samples: 5, min: 1, q1: 2.0, median: 3.0, q3: 4.0, max: 5} =
               Statistics.summary([5, 1, 4, 2, 3])
    end

    test "lie between two samples where none is at the place" do
      assert %{q1: 1.75, median: 2.5, q3: 3.25} = Statistics.summary([4, 3, 2, 1])
    end
  end

  describe "a result" do
    test "is reached by its kind" do
      assert [%{reached: true, ratio: 0.1}, %{reached: true, ratio: 10.0}, slow, memory] = results()
      assert %{reached: false, ratio: 10.0} = slow
      # The median would be just right, the worst is not.
      assert %{reached: false, ratio: 1.5} = memory
    end

    test "has figures that people can read" do
      figures = &{Format.value(&1, &1.ours), Format.ratio(&1), Format.target(&1)}

      assert Enum.map(results(), figures) ==
               [
                 {"2.00 ms", "0.100 ×", "≤ 0.150 ×"},
                 {"2.00 ms", "10.0 × faster", "≥ 6.00 ×"},
                 {"20.0 ms", "10.0 ×", "≤ 2.00 ×"},
                 {"30.0 MiB", "150 %", "≤ 20 MiB"}
               ]

      assert Format.count(999) == "999"
      assert Format.count(1_020_003) == "1,020,003"
    end
  end

  test "the plot is XML with a bar for each result" do
    svg = results() |> Plot.svg(@machine) |> IO.iodata_to_binary()
    assert {{:xmlElement, :svg, _, _, _, _, _, _, _, _, _, _}, []} = scan(svg)
    assert length(Regex.scan(~r/class="(reached|missed)"/, svg)) == 4
    refute svg =~ "NaN"
  end

  test "the names in the plot have room before the bars" do
    times = Statistics.summary([1_000_000])
    name = String.duplicate("nothing new ", 8)

    svg =
      [Result.time("long", name, {"git", times}, times, 1.0)]
      |> Plot.svg(@machine)
      |> IO.iodata_to_binary()

    [_, end_of_name] = Regex.run(~r/<text x="([\d.]+)" y="[\d.]+" text-anchor="end">nothing/, svg)
    assert String.to_float(end_of_name) > 6.8 * String.length(name)
  end

  describe "growth" do
    defp grown(way, size, ms) do
      time = &Statistics.summary([&1 * 1_000_000])
      id = "growth-clone-#{way}-#{size}-30"
      Result.time(id, "clone of #{size}", {"git clone", time.(10)}, time.(ms), 0.5)
    end

    test "is an alarm where a ratio rises by more than half, and is not as good as asked" do
      grown = [grown(:tree, 300, 4), grown(:tree, 3_000, 6), grown(:tree, 15_000, 7)]

      assert Growth.rising(grown) ==
               ["clone of 15000: 0.700 ×, and 0.400 × for clone of 300: the ratio rises with size"]

      assert Growth.rising([grown(:tree, 300, 1), grown(:tree, 3_000, 4)]) == []
    end

    test "has a plot with a line for each contender, and is not in the other one" do
      results = for way <- [:tree, :bare], size <- [300, 3_000], do: grown(way, size, 5)
      svg = results |> GrowthPlot.svg(@machine) |> IO.iodata_to_binary()
      assert {{:xmlElement, :svg, _, _, _, _, _, _, _, _, _, _}, []} = scan(svg)

      assert for([_, class] <- Regex.scan(~r/<path class="(\w+)"/, svg), do: class) ==
               ~w(git ours bare)

      assert length(Regex.scan(~r/<circle/, svg)) == 6
      refute Plot.svg(results, @machine) |> IO.iodata_to_binary() =~ "clone of 300"
      assert GrowthPlot.svg(results(), @machine) == nil
    end
  end

  test "the plot of a part is a plot" do
    for result <- results() do
      assert {{:xmlElement, :svg, _, _, _, _, _, _, _, _, _, _}, []} =
               scan(Plot.svg([result], @machine))
    end
  end

  test "the file of results keeps every figure, and quotes what has to be quoted" do
    json = results() |> Json.encode(@machine) |> IO.iodata_to_binary()
    assert json =~ ~S("processor": "A <B> & \"C\"")
    assert json =~ ~S("q3": 3000000)
    assert length(Regex.scan(~r/"reached"/, json)) == 4

    # Near enough to a map of ours to be read as one.
    assert {%{"results" => [first | _], "machine" => %{"cores" => 2}}, []} =
             json
             |> String.replace("{", "%{")
             |> String.replace("\": ", "\" => ")
             |> Code.eval_string()

    assert %{"ours" => %{"median" => 2_000_000}, "others" => [%{"name" => "the server"}]} = first
  end

  defp scan(svg) do
    svg |> IO.iodata_to_binary() |> :binary.bin_to_list() |> :xmerl_scan.string(quiet: true)
  end
end
