# `make bench`: measures this library beside the `git` command, prints a table, and writes it as
# JSON and as a plot.
#
#   ONLY=clone,read   runs a part, and leaves the committed results alone
#   ROUNDS=3          takes fewer samples
#   SIZES=300,3000    measures growth at these numbers of files only, and as many followers as the
#                     largest of them
#   BENCH_DIR=/dev/shm   has everything there, rather than on the disk of this directory

# No environment but that of the tests compiles what is below test/support.
support =
  ~w(certificates daemon fast_import free_port git_command http_server http_server/* manifests) ++
    ~w(nginx os_process relay relay/* repository ssh_keys ssh_server)

files =
  Enum.flat_map(support, &Path.wildcard("test/support/#{&1}.ex")) ++
    Path.wildcard("bench/*.ex") ++ Path.wildcard("bench/scenarios/*.ex")

{:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile(files)

defmodule Alumiini.Git.Bench do
  @moduledoc false

  alias Alumiini.Git.Bench.{Fixtures, GrowthPlot, Json, Machine, Plot, Scenarios, Terminal}

  @scenarios [
    poll: Scenarios.Poll,
    distance: Scenarios.Distance,
    clone: Scenarios.Clone,
    paths: Scenarios.Paths,
    growth: Scenarios.Growth,
    history: Scenarios.History,
    fleet: Scenarios.Fleet,
    many: Scenarios.Many,
    read: Scenarios.Read,
    commits: Scenarios.Commits,
    follow: Scenarios.Follow,
    memory: Scenarios.Memory,
    size: Scenarios.Size
  ]

  @out "bench/out"

  def run do
    chosen = chosen()
    File.mkdir_p!(@out)

    dir =
      Path.expand(
        Path.join(System.get_env("BENCH_DIR", @out), "alumiini-git-bench-#{System.pid()}")
      )

    File.mkdir_p!(dir)

    results =
      try do
        fixtures = Fixtures.start!(dir, binary!(dir))
        Enum.flat_map(chosen, fn {_name, scenario} -> scenario.run(fixtures) end)
      after
        Terminal.clear()
        Fixtures.remove!(dir)
      end

    machine = Machine.facts()
    Terminal.table(results, machine)
    write(@out, results, machine)

    if chosen == @scenarios and Mix.env() == :prod do
      write("bench/results", results, machine)
    end
  end

  defp chosen do
    case System.get_env("ONLY", "") do
      "" ->
        @scenarios

      only ->
        names = String.split(only, ",", trim: true)
        known = Keyword.keys(@scenarios)

        for name <- names, name not in Enum.map(known, &Atom.to_string/1) do
          Mix.raise("ONLY takes some of #{Enum.join(known, ",")}, not #{name}")
        end

        Enum.filter(@scenarios, fn {name, _} -> Atom.to_string(name) in names end)
    end
  end

  # A copy: a build may put another one there while this runs.
  defp binary!(dir) do
    {:ok, built} = Alumiini.Git.Server.Binary.locate(nil)
    binary = Path.join(dir, Path.basename(built))
    File.cp!(built, binary)
    binary
  end

  defp write(dir, results, machine) do
    File.write!(Path.join(dir, "results.json"), Json.encode(results, machine))
    File.write!(Path.join(dir, "results.svg"), Plot.svg(results, machine))
    growth = GrowthPlot.svg(results, machine)
    if growth, do: File.write!(Path.join(dir, "growth.svg"), growth)
    IO.puts("Written to #{dir}: results.json, results.svg#{if growth, do: " and growth.svg"}")
  end
end

Alumiini.Git.Bench.run()
