defmodule Alumiini.Git.Bench.Soak.Run do
  @moduledoc """
  Three things at a time, each with a worker of its own, for as long as was asked for: workers are
  killed at random under all operations (`Kills`), repositories are polled as often as in 24 hours
  (`Polls`), and a server sends packs that are damaged at random (`Packs`). What the two workers
  that live hold is looked at all the while (`Samples`).
  """

  alias Alumiini.Git.Bench.{Json, Machine}
  alias Alumiini.Git.Bench.Soak.{Kills, Packs, Plot, Polls, Samples}
  alias Alumiini.Git.Test.HttpServer

  @doc """
  Runs for so many minutes, with so many kills, everything in `dir`; writes its figures and plot
  into each of `to`. Returns what was not as it should be.
  """
  @spec run(number, pos_integer, Path.t(), [Path.t()]) :: [String.t()]
  def run(minutes, kills, dir, to) do
    File.mkdir_p!(dir)

    {parts, samples} =
      try do
        soak(dir, minutes, kills)
      after
        File.rm_rf!(dir)
      end

    machine = Machine.facts()
    wrong = Enum.flat_map(parts, & &1.wrong) ++ Samples.wrong(samples)
    report(parts, samples, wrong)

    document = [
      machine: Enum.sort(machine),
      minutes: minutes,
      parts: for(part <- parts, do: [name: part.name] ++ part.figures),
      samples: Enum.map(samples, &Enum.sort/1),
      wrong: length(wrong)
    ]

    for to <- to do
      File.mkdir_p!(to)
      File.write!(Path.join(to, "soak.json"), Json.document(document))
      File.write!(Path.join(to, "soak.svg"), Plot.svg(parts, samples, machine))
      IO.puts("Written to #{to}: soak.json and soak.svg")
    end

    wrong
  end

  defp soak(dir, minutes, kills) do
    origins = Path.join(dir, "origins")
    File.mkdir_p!(origins)
    {:ok, http} = HttpServer.start_link(root: origins, log: false)
    ms = round(minutes * 60_000)

    [killed, polled, fed] =
      for name <- [:killed, :polled, :fed] do
        options = [name: name, backoff_initial: 10, backoff_max: 100]
        {:ok, _pid} = Alumiini.Git.start_link(options)
        name
      end

    given = %{dir: dir, origins: origins, http: http, until: now() + ms, ms: ms}
    watch = Task.async(fn -> Samples.take([polled, fed], given) end)

    tasks = [
      Task.async(fn -> Kills.run(killed, kills, given) end),
      Task.async(fn -> Polls.run(polled, given) end),
      Task.async(fn -> Packs.run(fed, given) end)
    ]

    parts = Task.await_many(tasks, :infinity)
    {parts, Task.await(watch, :infinity)}
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp report(parts, samples, wrong) do
    for part <- parts do
      IO.puts("\n#{part.name}")
      for {name, value} <- part.figures, do: IO.puts("  #{name}: #{inspect(value)}")
    end

    IO.puts("")
    for line <- Samples.summary(samples), do: IO.puts(line)
    for one <- Enum.take(wrong, 20), do: IO.puts(["not as it should be: ", one])
  end
end
