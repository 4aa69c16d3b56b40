defmodule Alumiini.Git.Bench.Scenarios.Follow do
  @moduledoc """
  Followers: how long after a push a subscriber has its message, where a webhook pokes, beside the
  commands that find out the same, and from 50 ms away beside round trips; how many requests 1,000
  subscribers cost; and what 10,000 followers of as many repositories take (or as many as `SIZES`
  says).
  """

  alias Alumiini.Git.Bench.{Fixtures, Format, Measure, Result, Statistics, Terminal, Way}
  alias Alumiini.Git.Follower
  alias Alumiini.Git.Test.{GitCommand, HttpServer, Manifests, Relay, Repository}

  # Each way: a round trip is 50 ms longer.
  @delay 25
  @rounds 20
  @subscribers 1_000
  @polls 10
  @followers 10_000
  @interval 30_000
  # Of one follower, its source and what the server keeps of both.
  @bytes_each 9 * 1024
  # An interval that never comes.
  @never 86_400_000
  @teams 30

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    {name, commits} = monorepo!(fixtures)

    [near(fixtures, name, commits), far(fixtures, name, commits), requests(fixtures, name)] ++
      many(fixtures, followers())
  end

  defp followers do
    case System.get_env("SIZES", "") do
      "" ->
        @followers

      sizes ->
        sizes |> String.split(",", trim: true) |> Enum.map(&String.to_integer/1) |> Enum.max()
    end
  end

  # Two commits that are pushed in turn.
  defp monorepo!(fixtures) do
    Terminal.progress("making a monorepo of #{@teams} teams")
    repository = Repository.create!(fixtures.origins, "monorepo.git")

    files =
      for n <- 1..@teams, {name, content} <- Manifests.many(100, bytes: 1_024, seed: n) do
        {"team-#{n}/#{name}", content}
      end

    first = Repository.commit!(repository, files)
    second = Repository.commit!(repository, %{"team-7/app.yaml" => Manifests.configmap("app")})
    Repository.repack!(repository)
    {"monorepo.git", [first, second]}
  end

  defp push!(fixtures, name, commit),
    do: File.write!(Path.join([fixtures.origins, name, "refs/heads/main"]), commit <> "\n")

  defp near(fixtures, name, commits) do
    way = Way.http_backend(fixtures)
    url = Way.url(way, name)
    theirs = Fixtures.fresh(fixtures, "followed-git")
    GitCommand.run!(Fixtures.clone_arguments(url, theirs))

    taken =
      followed(fixtures, url, fn follower ->
        Measure.interleave("from a push to its message", @rounds,
          ours: fn round -> told(fixtures, name, commits, follower, round) end,
          git: fn round ->
            push!(fixtures, name, Enum.at(commits, rem(round, 2)))

            Measure.time(fn ->
              GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs)

              GitCommand.run!(["diff", "--name-only", "HEAD", "FETCH_HEAD", "--", "team-7"],
                cd: theirs
              )
            end)
          end
        )
      end)

    Result.time(
      "follow-poke",
      "from a push to its message, by webhook",
      {"git fetch --depth 1 and git diff --name-only", taken.git},
      taken.ours,
      0.5
    )
  end

  # A question and a fetch are two round trips.
  defp far(fixtures, name, commits) do
    way = Way.http_backend(fixtures)
    {:ok, relay} = Relay.start_link(to: way.port, delay: @delay, log: false)

    taken =
      followed(fixtures, way.url.(name, Relay.port(relay)), fn follower ->
        Measure.interleave("from a push to its message, from far away", @rounds,
          ours: fn round -> told(fixtures, name, commits, follower, round) end
        )
      end)

    GenServer.stop(relay)
    round_trips = Statistics.summary([2 * 2 * @delay * 1_000_000])

    Result.time(
      "follow-far",
      "from a push to its message, 50 ms away",
      {"two round trips", round_trips},
      taken.ours,
      1.5
    )
  end

  defp followed(fixtures, url, measure) do
    Fixtures.with_worker(fixtures, fn server ->
      {:ok, follower} =
        Follower.start_link(
          url: url,
          ref: "main",
          path: Fixtures.fresh(fixtures, "followed"),
          server: server,
          interval: @never
        )

      {:ok, _current} = Follower.subscribe(follower, "team-7", since: nil)
      receive(do: ({:alumiini_git, ^follower, _first} -> :ok))
      result = measure.(follower)
      GenServer.stop(follower)
      result
    end)
  end

  # From the other of the two commits to this one, until the message is there.
  defp told(fixtures, name, commits, follower, round) do
    commit = Enum.at(commits, rem(round, 2))
    other = Enum.at(commits, rem(round + 1, 2))
    if Follower.status(follower).sha != other, do: move!(fixtures, name, follower, other)
    Measure.time(fn -> move!(fixtures, name, follower, commit) end)
  end

  defp move!(fixtures, name, follower, commit) do
    push!(fixtures, name, commit)
    Follower.poke(follower, commit)
    receive(do: ({:alumiini_git, ^follower, %{sha: ^commit}} -> :ok))
  end

  defp requests(fixtures, name) do
    {:ok, http} = HttpServer.start_link(root: fixtures.origins, stderr: :inherit)
    url = HttpServer.url(http, name)

    counts =
      followed(fixtures, url, fn follower ->
        for n <- 1..@subscribers do
          spawn_link(fn ->
            {:ok, _current} = Follower.subscribe(follower, "team-#{n}")
            receive(do: (:never -> :ok))
          end)
        end

        for _ <- 1..@polls do
          HttpServer.reset(http)
          Follower.poke(follower)
          rested(follower)
          HttpServer.stats(http).requests
        end
      end)

    GenServer.stop(http)
    count = Format.count(@subscribers)

    Result.count(
      "follow-requests",
      "requests of a poll for #{count} subscribers",
      Statistics.summary(counts),
      1
    )
  end

  defp rested(follower) do
    case Follower.status(follower) do
      %{pokes: 0, polling?: false} -> :ok
      _polling -> rested(follower)
    end
  end

  ## Many followers

  defp many(fixtures, count) do
    Fixtures.fleet!(fixtures, 2)
    way = Way.http(fixtures)
    dir = Fixtures.fresh(fixtures, "followers")

    Fixtures.with_worker(fixtures, fn server ->
      polls = :counters.new(1, [])
      handler = {__MODULE__, make_ref()}

      :ok =
        :telemetry.attach(handler, [:alumiini_git, :follower, :poll], &__MODULE__.count/4, polls)

      before = memory([server])

      followers =
        for n <- 1..count do
          {:ok, follower} =
            Follower.start_link(
              url: Way.url(way, "many-#{n}.git"),
              ref: "main",
              path: Path.join(dir, "#{n}"),
              server: server,
              interval: @interval
            )

          {:ok, _current} = Follower.subscribe(follower, "deploy")
          follower
        end

      await(polls, count, "first polls")
      # What is seconds old is looked at more closely (as in `Fixtures.settle/1`).
      Process.sleep(2 * @interval)
      sources = for {_path, %{pid: pid}} <- :sys.get_state(server).shared.entries, do: pid
      each = div(memory([server | followers ++ sources]) - before, count)
      os_pid = Alumiini.Git.Server.info(server).os_pid
      {cpu, polled, worker} = over(@interval, polls, os_pid)
      :telemetry.detach(handler)
      for follower <- followers, do: GenServer.stop(follower)
      results(count, each, cpu, polled, worker)
    end)
  end

  defp results(count, each, cpu, polled, worker) do
    # What there is of one core for each of that many polls in an interval.
    share = div(@interval * 1_000_000, count)
    shown = Format.count(count)

    [
      Result.limit(
        "follow-memory",
        "memory of one of #{shown} followers, in the BEAM",
        Statistics.summary([each]),
        @bytes_each
      ),
      Result.time(
        "follow-cpu",
        "processor time of one poll of #{shown} followers",
        {"what one core has for each of them in 30 s", Statistics.summary([share])},
        Statistics.summary([div(cpu + worker, max(polled, 1))]),
        0.5,
        [
          {"the BEAM's part", Statistics.summary([div(cpu, max(polled, 1))])},
          {"the worker's part", Statistics.summary([div(worker, max(polled, 1))])}
        ]
      )
    ]
  end

  def count(_event, _measurements, _metadata, polls), do: :counters.add(polls, 1, 1)

  defp await(polls, count, what) do
    polled = :counters.get(polls, 1)
    Terminal.progress("#{what}: #{polled} of #{count}")

    if polled < count do
      Process.sleep(1_000)
      await(polls, count, what)
    end
  end

  # Processor time in ns, and polls, of a while.
  defp over(milliseconds, polls, os_pid) do
    Terminal.progress("polls of #{div(milliseconds, 1_000)} s")
    {beam, worker, polled} = {beam_cpu(), cpu(os_pid), :counters.get(polls, 1)}
    Process.sleep(milliseconds)
    {beam_cpu() - beam, :counters.get(polls, 1) - polled, cpu(os_pid) - worker}
  end

  defp beam_cpu do
    {milliseconds, _since} = :erlang.statistics(:runtime)
    milliseconds * 1_000_000
  end

  # User and system time are the 14th and 15th field, in ticks of 10 ms; 0 where there is no /proc.
  defp cpu(os_pid) do
    with {:ok, stat} <- File.read("/proc/#{os_pid}/stat"),
         [_pid_and_name, rest] <- String.split(stat, ") ", parts: 2) do
      [user, system] =
        rest |> String.split(" ") |> Enum.slice(11, 2) |> Enum.map(&String.to_integer/1)

      (user + system) * 10_000_000
    else
      _no_proc -> 0
    end
  end

  # Of what lives, not of what the next collection takes.
  defp memory(pids) do
    for pid <- pids, reduce: 0 do
      sum ->
        :erlang.garbage_collect(pid)
        {:memory, bytes} = Process.info(pid, :memory)
        sum + bytes
    end
  end
end
