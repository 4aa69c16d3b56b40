defmodule Alumiini.Git.Bench.Soak.Kills do
  @moduledoc """
  Workers are killed, at any moment, while every operation is under way. Each answer is held against
  what was pushed; at the end each repository is synced and held against Git.
  """

  alias Alumiini.Git
  alias Alumiini.Git.Bench.Soak.Origin
  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{GitCommand, Leftovers, Oracle, OsProcess}

  @runners 6
  # Between two calls of one runner at most, ms: the machine is to have time for the others.
  @pause 60
  @files 60
  @handler "soak-kills"
  # What a call may come to when its worker is killed again and again; all others are wrong.
  @expected [:worker_exited, :worker_unavailable, :timeout, :overloaded]

  @spec run(atom, pos_integer, map) :: map
  def run(server, kills, given) do
    origins = for n <- 1..div(@runners, 2), do: Origin.create!(given, "killed#{n}.git", @files)
    for origin <- origins, do: Origin.push!(origin)
    killer = Task.async(fn -> killer(server, kills, given) end)

    runners =
      for n <- 1..@runners do
        origin = Enum.at(origins, rem(n, length(origins)))
        bare? = n > div(@runners, 2)
        runner = %{server: server, origin: origin, bare?: bare?, given: given}
        runner = Map.put(runner, :path, Path.join(given.dir, "killed-#{n}"))
        Task.async(fn -> loop(runner, %{calls: %{}, errors: %{}, wrong: [], held: nil}) end)
      end

    told = Task.await_many(runners, :infinity)
    killed = Task.await(killer, :infinity)
    calls = told |> Enum.map(& &1.calls) |> sum()
    errors = told |> Enum.map(& &1.errors) |> sum()

    %{
      name: "kills of workers under all operations",
      wrong: Enum.flat_map(told, & &1.wrong),
      figures: [
        kills: killed,
        calls: calls |> Map.values() |> Enum.sum(),
        calls_by_operation: Enum.sort(calls),
        errors: Enum.sort(errors)
      ]
    }
  end

  defp sum(maps), do: Enum.reduce(maps, %{}, &Map.merge(&1, &2, fn _key, a, b -> a + b end))

  ## The killer

  defp killer(server, kills, given) do
    config = %{server: server, to: self()}
    event = [:alumiini_git, :worker, :up]
    :ok = :telemetry.attach(@handler, event, &__MODULE__.up/4, config)
    killed = kill(server, nil, 0, kills, given)
    :telemetry.detach(@handler)
    killed
  end

  @doc false
  def up(
        _event,
        _measurements,
        %{server: server, isolated: true, os_pid: pid},
        %{server: server} = to
      ),
      do: send(to.to, {:isolated, pid})

  def up(_event, _measurements, _metadata, _config), do: :ok

  # So that the last one comes at the end, and the time between two is any.
  defp kill(server, last, killed, kills, given) do
    left = given.until - now()

    if killed >= kills or left <= 0 do
      killed
    else
      pause = :rand.uniform(max(1, div(2 * left, kills - killed)))
      receive after: (min(pause, left) -> :ok)
      pid = target(server, last)
      # One that ended by itself, with the only call that it was there for, is not counted.
      more = if pid && OsProcess.kill(pid, :KILL) == :ok, do: 1, else: 0
      kill(server, pid || last, killed + more, kills, given)
    end
  end

  # One that runs a single call, where there is one: a call may be killed there, too. Else the one
  # that runs all others; none while the next is starting.
  defp target(server, last) do
    receive do
      {:isolated, pid} -> pid
    after
      0 ->
        case Server.info(server) do
          %{os_pid: ^last} -> nil
          %{os_pid: pid} -> pid
        end
    end
  end

  ## The calls

  @operations ~w(sync sync update paths push files read head checkout ls_remote refs snapshot)a ++
                ~w(diff log export status lease)a

  defp loop(runner, told) do
    if now() < runner.given.until do
      receive after: (:rand.uniform(@pause) -> :ok)
      operation = Enum.random(@operations)
      loop(runner, operation |> call(runner, told) |> note(operation, runner, told))
    else
      %{told | wrong: told.wrong ++ at_the_end(runner)}
    end
  end

  defp note({result, told}, operation, _runner, _before) do
    told = update_in(told.calls[operation], &((&1 || 0) + 1))

    case result do
      :ok ->
        told

      {:wrong, what} ->
        %{told | wrong: ["#{operation}: #{what}" | told.wrong]}

      {:error, %Git.Error{reason: reason}} when reason in @expected ->
        update_in(told.errors[reason], &((&1 || 0) + 1))

      {:error, error} ->
        %{told | wrong: ["#{operation}: #{inspect(error)}" | told.wrong]}
    end
  end

  # One runner of each repository pushes: two could be in each other's way.
  defp call(:push, %{bare?: true}, told), do: {:ok, told}

  defp call(:push, runner, told) do
    Origin.push!(runner.origin)
    {:ok, told}
  end

  defp call(operation, runner, told) when operation in [:sync, :paths] do
    # Now and then to a part of it, and back.
    paths = if operation == :paths, do: [paths: ["deploy/team1/", "version"]], else: []

    case Git.sync(runner.origin.url, "main", runner.path, options(runner) ++ paths) do
      {:ok, sha} -> {pushed(runner, sha), %{told | held: sha}}
      # What was done of it before the worker was killed is not known.
      error -> {error, %{told | held: nil}}
    end
  end

  defp call(:update, runner, told) do
    case Git.update(runner.origin.url, "main", runner.path, options(runner)) do
      {:ok, update} -> {pushed(runner, update.sha), %{told | held: update.sha}}
      error -> {error, %{told | held: nil}}
    end
  end

  defp call(:ls_remote, runner, told) do
    with_ok(Git.ls_remote(runner.origin.url, "main", server: runner.server), told, fn sha ->
      if Origin.version(runner.origin, sha), do: :ok, else: {:wrong, "#{sha} was never pushed"}
    end)
  end

  defp call(:refs, runner, told) do
    with_ok(Git.refs(runner.origin.url, server: runner.server), told, fn refs ->
      if Enum.any?(refs, &(&1.name == "refs/heads/main")), do: :ok, else: {:wrong, inspect(refs)}
    end)
  end

  # The others need a commit that is there, and some a working tree.
  defp call(_operation, _runner, %{held: nil} = told), do: {:ok, told}
  defp call(tree, %{bare?: true}, told) when tree in [:status, :checkout], do: {:ok, told}

  defp call(operation, runner, %{held: held} = told) do
    on = [server: runner.server]

    {result, check} =
      case operation do
        :files -> {Git.files(runner.path, "deploy/team1", on), &(&1 != [])}
        :read -> {Git.read(runner.path, "version", [at: held] ++ on), &version?(runner, held, &1)}
        :head -> {Git.head(runner.path, on), &(&1.sha == held)}
        :log -> {Git.log(runner.path, [limit: 3] ++ on), &(hd(&1).sha == held)}
        :status -> {Git.status(runner.path, on), &(&1 == [])}
        :checkout -> {Git.checkout(runner.path, held, on), &(&1 == held)}
        :snapshot -> {Git.snapshot(runner.path, nil, on), &snapshot?(runner, held, &1)}
        :diff -> {Git.diff(runner.path, held, held, on), &(&1 == [])}
        :export -> {export(runner, on), &exported?(runner, held, &1)}
        :lease -> {lease(runner, held, on), &(&1 == :held)}
      end

    with_ok(result, told, fn value ->
      if check.(value), do: :ok, else: {:wrong, "#{inspect(value, limit: 20)} at #{held}"}
    end)
  end

  defp with_ok({:ok, value}, told, check), do: {check.(value), told}
  defp with_ok(error, told, _check), do: {error, told}

  defp options(runner), do: [server: runner.server, working_tree: not runner.bare?]

  defp export(runner, on) do
    to = runner.path <> "-export"
    with {:ok, exported} <- Git.export(runner.path, to, on), do: {:ok, {to, exported}}
  end

  defp exported?(runner, held, {to, exported}) do
    exported.commit == held and version?(runner, held, File.read!(Path.join(to, "version")))
  end

  defp lease(runner, held, on) do
    with {:ok, lease} <- Git.lease(runner.path, held, on),
         :ok <- Git.release(lease),
         do: {:ok, :held}
  end

  defp pushed(runner, sha) do
    case Origin.version(runner.origin, sha) do
      nil -> {:wrong, "#{sha} was never pushed"}
      version -> unless_bare(runner, version)
    end
  end

  defp unless_bare(%{bare?: true}, _version), do: :ok

  defp unless_bare(runner, version) do
    case File.read(Path.join(runner.path, "version")) do
      {:ok, ^version} -> :ok
      other -> {:wrong, "the working tree has #{inspect(other)}, not #{inspect(version)}"}
    end
  end

  defp snapshot?(runner, held, snapshot) do
    file = Enum.find(snapshot.files, &(&1.path == "version"))
    snapshot.commit == held and file != nil and version?(runner, held, file.content)
  end

  defp version?(runner, sha, content), do: Origin.version(runner.origin, sha) == content

  ## The end

  defp at_the_end(runner) do
    {:ok, sha} = Git.sync(runner.origin.url, "main", runner.path, options(runner))

    check = if runner.bare?, do: &Oracle.assert_synced_bare/3, else: &Oracle.assert_synced/3

    check.(runner.path, runner.origin.path, sha)
    GitCommand.run!(["fsck", "--strict"], cd: Path.join(runner.path, ".git"))
    for left <- Leftovers.of(runner.path), do: "#{left} was left behind"
  rescue
    error -> ["at the end: #{Exception.message(error)}"]
  end

  defp now, do: System.monotonic_time(:millisecond)
end
