defmodule Alumiini.Git.Test.Demo.Follow do
  @moduledoc """
  `make demo-follow`: one monorepo of many teams, a process for each of them, and who wakes at a
  push. All times are measured while it runs.
  """

  alias Alumiini.Git.Follower
  alias Alumiini.Git.Test.Demo.{Screen, Workers}
  alias Alumiini.Git.Test.{GitCommand, HttpServer, Manifests, Repository}

  @teams 30
  @interval 1_000

  @spec run(Path.t()) :: :ok
  def run(dir) do
    Screen.title(1, "A Git server with a monorepo, and a worker")
    served = Path.join(dir, "served")
    File.mkdir_p!(served)
    monorepo = Repository.create!(served, "monorepo.git")
    Repository.commit!(monorepo, files(), message: "Everything that the teams run\n")
    {:ok, server} = HttpServer.start_link(root: served)
    url = HttpServer.url(server, "monorepo.git")
    Screen.good("git http-backend serves #{url}: #{@teams} teams, #{length(files())} manifests")
    Workers.follow()
    {:ok, supervisor} = Supervisor.start_link([Alumiini.Git], strategy: :one_for_one)
    worker = Workers.await_up()
    Screen.good("worker #{worker.version} is up in #{Screen.time(worker.microseconds)}")

    follower = follow(supervisor, url, Path.join(dir, "monorepo"))
    teams = subscribe(follower)
    workstation = Path.join(dir, "workstation")
    GitCommand.run!(["clone", "--quiet", url, workstation])

    nothing_new(server)
    push(4, "A push to one team's directory", workstation, "team-07", teams, fn _push -> :ok end)

    push(5, "A webhook in place of the interval", workstation, "team-23", teams, fn push ->
      push = Map.put(push, :urls, [url])
      Screen.code("Alumiini.Git.Follower.poke_all(push)")
      Follower.poke_all(push)
    end)

    status = Follower.status(follower)
    Screen.say("")
    Screen.say("#{status.subscribers} subscribers, #{status.followers} follower, one directory")
    Screen.say(Screen.bold("That was it. guides/following.md shows how to use it."))
  end

  defp files do
    for team <- teams(),
        {name, content} <- Manifests.application("app"),
        do: {"#{team}/#{name}", content}
  end

  defp teams, do: for(n <- 1..@teams, do: "team-" <> String.pad_leading("#{n}", 2, "0"))

  defp follow(supervisor, url, path) do
    Screen.title(2, "One follower, and a process for each team")

    Screen.code(
      ~s|{Alumiini.Git.Follower, name: Monorepo, url: "#{url}", | <>
        ~s|ref: "main", interval: #{@interval}, …}|
    )

    child = {Follower, name: Monorepo, url: url, ref: "main", path: path, interval: @interval}
    {:ok, _pid} = Supervisor.start_child(supervisor, child)
    Monorepo
  end

  defp subscribe(follower) do
    Screen.code(~s|Alumiini.Git.Follower.subscribe(Monorepo, "team-01/")|)
    demo = self()

    {time, processes} =
      Screen.measure(fn ->
        processes = for team <- teams(), do: spawn_link(fn -> team(demo, follower, team) end)
        # The first message is the state as a whole.
        for _ <- processes, do: receive(do: ({:told, _team, _update, _at} -> :ok))
        processes
      end)

    Screen.good("#{@teams} processes know the first commit #{Screen.time(time)} later")
    processes
  end

  defp team(demo, follower, team) do
    {:ok, _current} = Follower.subscribe(follower, team <> "/", since: nil)
    wait(demo, team)
  end

  defp wait(demo, team) do
    receive do
      {:alumiini_git, Monorepo, update} -> send(demo, {:told, team, update, now()})
      {:ping, ref} -> send(demo, {:pong, ref})
    end

    wait(demo, team)
  end

  defp nothing_new(server) do
    Screen.title(3, "Nothing new")
    HttpServer.reset(server)
    began = now()
    HttpServer.await(server, {:requests, 3})

    Screen.good(
      "the server saw 3 requests in #{Screen.time(now() - began)}: one in each interval, " <>
        "for all #{@teams} teams"
    )
  end

  defp push(number, title, workstation, team, teams, poke) do
    Screen.title(number, title)
    git = &String.trim(GitCommand.run!(&1, cd: workstation))
    before = git.(["rev-parse", "HEAD"])
    file = "#{team}/deploy/app/deployment.yaml"
    manifest = Manifests.deployment("app", version: "1.5.0", replicas: 3)
    File.write!(Path.join(workstation, file), manifest)
    git.(["commit", "--quiet", "--all", "--message", "Roll out app of #{team}"])
    sha = git.(["rev-parse", "HEAD"])
    Screen.good("git push: #{git.(["log", "-1", "--format=%h %s"])}")
    git.(["push", "--quiet", "origin", "main"])
    pushed = now()
    poke.(%{ref: "refs/heads/main", before: before, after: sha})

    receive do
      {:told, woken, %{sha: ^sha} = update, at} ->
        Screen.good("#{woken} woke #{Screen.time(max(at - pushed, 0))} after the push")
        for change <- update.changes, do: Screen.say("  #{change.status} #{change.path}")
    end

    Follower.status(Monorepo)
    ref = make_ref()
    for pid <- teams, do: send(pid, {:ping, ref})
    for _ <- teams, do: receive(do: ({:pong, ^ref} -> :ok))

    receive do
      {:told, other, _update, _at} -> raise "#{other} woke, too"
    after
      0 -> Screen.good("the #{length(teams) - 1} others heard nothing")
    end
  end

  defp now, do: System.monotonic_time(:microsecond)
end
