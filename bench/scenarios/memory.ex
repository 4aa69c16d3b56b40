defmodule Alumiini.Git.Bench.Scenarios.Memory do
  @moduledoc """
  What the worker keeps resident: when it has nothing to do, and at its most while 64 clones run.
  """

  alias Alumiini.Git.Bench.{Fixtures, Result, Statistics, Terminal}
  alias Alumiini.Git.Test.{HttpServer, OsProcess}

  @idle 20 * 1024 * 1024
  @peak 256 * 1024 * 1024
  @clones 64
  @rounds 2

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    url = HttpServer.url(fixtures.http, Fixtures.manifests!(fixtures, 10))
    runs = for round <- 1..@rounds, do: run(fixtures, url, round)
    [started, cloned, peak] = for key <- [:started, :cloned, :peak], do: summary(runs, key)

    [
      Result.limit("memory-started", "memory, idle after the start", started, @idle),
      Result.limit("memory-cloned", "memory, idle after a clone of 3,000 files", cloned, @idle),
      Result.limit(
        "memory-peak",
        "memory, at most during #{@clones} such clones at once",
        peak,
        @peak
      )
    ]
  end

  defp summary(runs, key), do: runs |> Enum.map(& &1[key]) |> Statistics.summary()

  defp run(fixtures, url, round) do
    Terminal.progress("memory, idle: round #{round} of #{@rounds}")

    idle =
      Fixtures.with_worker(fixtures, fn server ->
        started = OsProcess.memory(os_pid!(fixtures, server))
        clones!(fixtures, server, url, 1)
        %{started: started, cloned: OsProcess.memory(os_pid!(fixtures, server))}
      end)

    Terminal.progress("memory, #{@clones} clones at once: round #{round} of #{@rounds}")

    peak =
      Fixtures.with_worker(fixtures, fn server ->
        clones!(fixtures, server, url, @clones)
        OsProcess.memory(os_pid!(fixtures, server), :peak)
      end)

    Map.put(idle, :peak, peak)
  end

  defp clones!(fixtures, server, url, count) do
    paths = for _ <- 1..count, do: Fixtures.fresh(fixtures, "memory")

    paths
    |> Task.async_stream(&Fixtures.sync!(server, url, &1),
      max_concurrency: count,
      timeout: :infinity
    )
    |> Enum.each(fn {:ok, _id} -> :ok end)
  end

  # Once it has answered something it is up.
  defp os_pid!(fixtures, server) do
    {:ok, _names} = Alumiini.Git.files(fixtures.origins, nil, server: server)
    Alumiini.Git.Server.info(server).os_pid
  end
end
