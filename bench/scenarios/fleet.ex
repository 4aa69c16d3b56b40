defmodule Alumiini.Git.Bench.Scenarios.Fleet do
  @moduledoc """
  256 repositories with nothing new: all at once, beside as many `git fetch` as `xargs -P` runs
  best; and 1,000 questions to them, beside as many `git ls-remote`.
  """

  alias Alumiini.Git.Bench.{Baseline, Fixtures, Measure, Result, Terminal, Way}
  alias Alumiini.Git.Test.GitCommand

  @repositories 256
  @rounds 5
  @target 6.0
  @polls 1_000
  @polls_target 8.0
  @polls_rounds 3
  # What -P is tried with, as multiples of the cores.
  @parallel [1, 2, 4, 8]

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    names = Fixtures.fleet!(fixtures, @repositories)
    taken = measure(fixtures, Way.http(fixtures), names, [])
    backend = beside_a_server(fixtures, names)
    beside = "with git http-backend on the same cores"

    [
      Result.throughput(
        "fleet",
        "#{@repositories} repositories with nothing new, all at once",
        {"git fetch --depth 1, xargs -P #{taken.fetches}", taken.sync.git},
        taken.sync.ours,
        @target,
        [
          {"#{beside}, ours", backend.sync.ours},
          {"#{beside}, git fetch, xargs -P #{backend.fetches}", backend.sync.git},
          {"the bare requests to git http-backend, all at once", backend.sync.server}
        ]
      ),
      Result.throughput(
        "polls",
        "1,000 syncs with nothing new of #{@repositories} repositories",
        {"git ls-remote, xargs -P #{taken.questions}", taken.polls.git},
        taken.polls.ours,
        @polls_target,
        [
          {"#{beside}, ours", backend.polls.ours},
          {"#{beside}, git ls-remote, xargs -P #{backend.questions}", backend.polls.git}
        ]
      )
    ]
  end

  # As in `Poll`.
  defp beside_a_server(fixtures, names) do
    way = Way.http_backend(fixtures)
    sockets = for name <- names, do: {Baseline.connect!(way.port), Way.url(way, name)}

    server = fn _ ->
      Measure.time(fn ->
        all_at_once(sockets, fn {socket, url} -> Baseline.ask!(socket, url) end)
      end)
    end

    taken = measure(fixtures, way, names, server: server)
    for {socket, _url} <- sockets, do: :gen_tcp.close(socket)
    taken
  end

  defp measure(fixtures, way, names, more) do
    urls = for name <- names, do: Way.url(way, name)
    [ours, theirs] = for label <- ["fleet", "fleet-git"], do: Fixtures.fresh(fixtures, label)
    pairs = for {url, n} <- Enum.with_index(urls, 1), do: {url, Path.join(ours, "#{n}")}
    polls = pairs |> Stream.cycle() |> Enum.take(@polls)

    clone!(urls, theirs)
    fetches = best_parallel(&fetch!(theirs, &1))
    questions = best_parallel(&ls_remote!(urls, &1))

    Fixtures.with_worker(fixtures, fn server ->
      sync = fn {url, path} -> Fixtures.sync!(server, url, path) end
      Fixtures.settle(fn -> all_at_once(pairs, sync) end)

      contenders = [
        ours: fn _ -> Measure.time(fn -> all_at_once(pairs, sync) end) end,
        git: fn _ -> Measure.time(fn -> fetch!(theirs, fetches) end) end
      ]

      of_polls = [
        ours: fn _ -> Measure.time(fn -> all_at_once(polls, sync, @repositories) end) end,
        git: fn _ -> Measure.time(fn -> ls_remote!(urls, questions) end) end
      ]

      %{
        fetches: fetches,
        questions: questions,
        sync:
          Measure.interleave(
            "#{@repositories} repositories, #{way.name}",
            @rounds,
            contenders ++ more
          ),
        polls: Measure.interleave("#{@polls} polls, #{way.name}", @polls_rounds, of_polls)
      }
    end)
  end

  defp all_at_once(items, fun, at_once \\ nil) do
    Fixtures.all_at_once(items, fun, at_once || length(items))
  end

  defp clone!(urls, dir) do
    Terminal.progress("cloning #{@repositories} repositories with git")
    File.mkdir_p!(dir)

    for {url, n} <- Enum.with_index(urls, 1) do
      GitCommand.run!(Fixtures.clone_arguments(url, Path.join(dir, "#{n}")))
    end
  end

  defp best_parallel(run) do
    cores = System.schedulers_online()

    Enum.min_by(Enum.map(@parallel, &(&1 * cores)), fn parallel ->
      Terminal.progress("looking for the best -P: #{parallel}")
      Measure.time(fn -> run.(parallel) end)
    end)
  end

  defp fetch!(dir, parallel) do
    arguments = Enum.join(Fixtures.fetch_arguments(), " ")
    Fixtures.xargs!("seq #{@repositories}", parallel, "git -C {} #{arguments}", dir)
  end

  defp ls_remote!([url | _], parallel) do
    [base, _] = String.split(url, "fleet-1.git")
    numbers = "seq #{@polls} | awk '{ print $1 % #{@repositories} + 1 }'"

    Fixtures.xargs!(
      numbers,
      parallel,
      "git ls-remote --exit-code #{base}fleet-{}.git refs/heads/main",
      "."
    )
  end
end
