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
  # Of one follower, its source and what the server keeps of the two.
  @bytes_each 16 * 1024
  # An interval that never comes.
  @never 86_400_000
  @teams 30
  # Two for each round, near and far, and those that warm up.
  @commits 200
  # Most of it is the server, which runs Git twice for each of the two.
  @target 0.6
  @beside "git fetch --depth 1 and git diff --name-only"

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    monorepo = monorepo!(fixtures)

    [near(fixtures, monorepo), far(fixtures, monorepo), requests(fixtures, monorepo)] ++
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

  # A branch is moved to one commit after another, each of which changes a file of one team.
  defp monorepo!(fixtures) do
    Terminal.progress("making a monorepo of #{@teams} teams")
    name = "monorepo.git"
    repository = Repository.create!(fixtures.origins, name)

    files =
      for n <- 1..@teams, {file, content} <- Manifests.many(100, bytes: 1_024, seed: n) do
        {"team-#{n}/#{file}", content}
      end

    first = Repository.commit!(repository, files)

    later =
      for n <- 1..@commits do
        from = if n == 1, do: %{from: first}, else: %{}
        files = %{"team-7/app.yaml" => Manifests.configmap("app-#{n}")}
        Map.merge(from, %{branch: "later", files: files})
      end

    commits = Repository.commits!(repository, later)
    Repository.repack!(repository)
    %{name: name, commits: List.to_tuple(commits), pushed: :counters.new(1, [])}
  end

  defp push!(fixtures, %{name: name, commits: commits, pushed: pushed}) do
    :counters.add(pushed, 1, 1)
    commit = elem(commits, :counters.get(pushed, 1) - 1)
    File.write!(Path.join([fixtures.origins, name, "refs/heads/main"]), commit <> "\n")
    commit
  end

  defp near(fixtures, monorepo) do
    url = Way.url(Way.http_backend(fixtures), monorepo.name)
    taken = pushes(fixtures, url, monorepo, "from a push to its message")

    Result.time(
      "follow-poke",
      "from a push to its message, by webhook",
      {@beside, taken.git},
      taken.ours,
      @target
    )
  end

  defp pushes(fixtures, url, monorepo, title) do
    theirs = Fixtures.fresh(fixtures, "followed-git")
    GitCommand.run!(Fixtures.clone_arguments(url, theirs))
    diff = ["diff", "--name-only", "HEAD", "FETCH_HEAD", "--", "team-7"]

    followed(fixtures, url, fn follower ->
      Measure.interleave(title, @rounds,
        ours: fn _round ->
          commit = push!(fixtures, monorepo)

          Measure.time(fn ->
            Follower.poke(follower, commit)
            receive(do: ({:alumiini_git, ^follower, %{sha: ^commit}} -> :ok))
          end)
        end,
        git: fn _round ->
          push!(fixtures, monorepo)

          Measure.time(fn ->
            GitCommand.run!(Fixtures.fetch_arguments(), cd: theirs)
            GitCommand.run!(diff, cd: theirs)
          end)
        end
      )
    end)
  end

  # A question and a fetch are two round trips; what the server takes for both is in ours, too.
  defp far(fixtures, monorepo) do
    way = Way.http_backend(fixtures)
    {:ok, relay} = Relay.start_link(to: way.port, delay: @delay, log: false)
    url = way.url.(monorepo.name, Relay.port(relay))
    taken = pushes(fixtures, url, monorepo, "from a push to its message, from far away")
    GenServer.stop(relay)
    round_trips = Statistics.summary([2 * 2 * @delay * 1_000_000])

    Result.time(
      "follow-far",
      "from a push to its message, 50 ms away",
      {@beside, taken.git},
      taken.ours,
      @target,
      [{"two round trips", round_trips}]
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

  defp requests(fixtures, monorepo) do
    {:ok, http} = HttpServer.start_link(root: fixtures.origins, stderr: :inherit)
    url = HttpServer.url(http, monorepo.name)

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

      before = memory(server, [])

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
      each = div(memory(server, followers ++ sources) - before, count)
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

  # As followers are between polls; the server is not at rest, and has what it had to do before.
  defp memory(server, pids) do
    :erlang.garbage_collect(server)

    for pid <- [server | pids], reduce: 0 do
      sum -> sum + elem(Process.info(pid, :memory), 1)
    end
  end
end
