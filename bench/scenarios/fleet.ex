defmodule Alumiini.Git.Bench.Scenarios.Fleet do
  @moduledoc "256 repositories with nothing new, all at once, beside as many `git fetch` as `xargs -P` runs best."

  alias Alumiini.Git.Bench.{Fixtures, Floor, Measure, Result, Terminal}
  alias Alumiini.Git.Test.{GitCommand, HttpServer}

  @repositories 256
  @rounds 5
  @target 6.0
  # What -P is tried with, as multiples of the cores.
  @parallel [1, 2, 4, 8]

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    urls = Fixtures.fleet!(fixtures, @repositories)
    [ours, theirs] = for label <- ["fleet", "fleet-git"], do: Fixtures.fresh(fixtures, label)
    pairs = for {url, n} <- Enum.with_index(urls, 1), do: {url, Path.join(ours, "#{n}")}
    port = HttpServer.port(fixtures.http)
    sockets = for url <- urls, do: {Floor.connect!(port), url}

    clone!(urls, theirs)
    parallel = best_parallel(theirs)

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        sync = fn {url, path} -> Fixtures.sync!(server, url, path) end
        all_at_once(pairs, sync)
        # As in `Poll`.
        Process.sleep(4_000)
        all_at_once(pairs, sync)

        Measure.interleave("#{@repositories} repositories", @rounds,
          ours: fn _ -> Measure.time(fn -> all_at_once(pairs, sync) end) end,
          git: fn _ -> Measure.time(fn -> fetch!(theirs, parallel) end) end,
          server: fn _ ->
            Measure.time(fn -> all_at_once(sockets, fn {s, url} -> Floor.ask!(s, url) end) end)
          end
        )
      end)

    for {socket, _url} <- sockets, do: :gen_tcp.close(socket)

    [
      Result.throughput(
        "fleet",
        "#{@repositories} repositories with nothing new, all at once",
        {"git fetch --depth 1, xargs -P #{parallel}", taken.git},
        taken.ours,
        @target,
        [{"of that, the server's answers (the bare requests, all at once)", taken.server}]
      )
    ]
  end

  defp all_at_once(items, fun) do
    items
    |> Task.async_stream(fun, max_concurrency: length(items), ordered: false, timeout: :infinity)
    |> Enum.each(fn {:ok, _} -> :ok end)
  end

  defp clone!(urls, dir) do
    Terminal.progress("cloning #{@repositories} repositories with git")
    File.mkdir_p!(dir)

    for {url, n} <- Enum.with_index(urls, 1) do
      GitCommand.run!(Fixtures.clone_arguments(url, Path.join(dir, "#{n}")))
    end
  end

  defp best_parallel(dir) do
    cores = System.schedulers_online()

    Enum.min_by(Enum.map(@parallel, &(&1 * cores)), fn parallel ->
      Terminal.progress("looking for the best -P: #{parallel}")
      Measure.time(fn -> fetch!(dir, parallel) end)
    end)
  end

  defp fetch!(dir, parallel) do
    arguments = Enum.join(Fixtures.fetch_arguments(), " ")
    script = "seq #{@repositories} | xargs -P #{parallel} -I{} git -C {} #{arguments}"
    env = GitCommand.environment() ++ GitCommand.config([{"safe.directory", "*"}])
    {_, 0} = System.cmd("/bin/sh", ["-c", script], cd: dir, env: env, stderr_to_stdout: true)
  end
end
