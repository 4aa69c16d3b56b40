defmodule Alumiini.Git.Test.Demo do
  @moduledoc """
  `make demo`: the main job of the library, before one's eyes. All times are measured while it runs.

  `sample/1` serves repositories of its own and pushes to them; `remote/2` works on any repository
  and only reads.
  """

  alias Alumiini.Git.Error
  alias Alumiini.Git.Test.Demo.{Screen, Workers}
  alias Alumiini.Git.Test.{GitCommand, HttpServer, Manifests, Repository}

  @again 20

  ## The sample

  @spec sample(Path.t()) :: :ok
  def sample(dir) do
    Screen.title(1, "A Git server, and a worker")
    served = Path.join(dir, "served")
    File.mkdir_p!(served)
    shop = Repository.create!(served, "shop.git")
    Repository.commit!(shop, Manifests.shop(), message: "Everything that runs in the shop\n")
    tenants = Repository.create!(served, "tenants.git")
    Repository.commit!(tenants, Manifests.many(4_000, bytes: 6_000), message: "4,000 tenants\n")
    Repository.repack!(tenants)

    {:ok, server} = HttpServer.start_link(root: served)

    [shop_url, tenants_url] =
      for name <- ["shop.git", "tenants.git"], do: HttpServer.url(server, name)

    Screen.good("git http-backend serves #{shop_url} and #{tenants_url}")
    worker = start()

    here = Path.join(dir, "shop")
    first_sync(shop_url, "main", here)
    look(here, "deploy/cart", 12)
    long_sync(tenants_url, Path.join(dir, "tenants"))
    push(shop_url, here, Path.join(dir, "workstation"))
    nothing_new(shop_url, "main", here, server)
    kill_in_sample(worker, server, shop_url, tenants_url, dir)
    finish()
  end

  defp long_sync(url, path) do
    Screen.title(4, "Sync 4,000 manifests")
    sync!(url, "main", path)
    {:ok, names} = Alumiini.Git.files(path, "tenants/0000")

    Screen.say(
      "tenants/0000 holds #{length(names)} of them: #{names |> Enum.take(3) |> Enum.join(", ")} …"
    )
  end

  defp push(url, here, workstation) do
    Screen.title(5, "Somebody pushes, and the next sync brings it")

    files = [
      "deploy/cart/deployment.yaml",
      "deploy/cart/autoscaler.yaml",
      "deploy/catalog/configmap.yaml"
    ]

    before = contents(here, files)

    git = &GitCommand.run!(&1, cd: workstation)
    GitCommand.run!(["clone", "--quiet", url, workstation])
    at = &Path.join(workstation, &1)

    File.write!(
      at.("deploy/cart/deployment.yaml"),
      Manifests.deployment("cart", version: "1.5.0", replicas: 3)
    )

    File.write!(at.("deploy/cart/autoscaler.yaml"), Manifests.autoscaler("cart"))
    File.rm!(at.("deploy/catalog/configmap.yaml"))
    git.(["add", "--all"])
    git.(["commit", "--quiet", "--message", "Roll out cart 1.5.0"])
    git.(["push", "--quiet", "origin", "main"])
    Screen.good("git push: #{String.trim(git.(["log", "-1", "--format=%h %s"]))}")

    sync!(url, "main", here)
    later = contents(here, files)
    for file <- files, before[file] != later[file], do: Screen.diff(file, before[file], later[file])
  end

  defp contents(path, files) do
    for file <- files,
        {:ok, content} <- [Alumiini.Git.read(path, file)],
        into: %{},
        do: {file, content}
  end

  defp kill_in_sample(worker, server, shop_url, tenants_url, dir) do
    Screen.title(7, "Kill the worker in the middle of a clone")

    # Identical questions are shared, but each directory gets a pack of its own. So the server stops
    # in the middle of each pack, which is the middle of each clone, also on a fast machine.
    hold = fn repository, bytes ->
      HttpServer.rule(server, {:stop, {:pack, bytes}, :hold}, path: repository)
    end

    gate = hold.("tenants.git", 8_000_000)
    waiting = hold.("shop.git", 1_000)
    path = &Path.join(dir, "again/#{&1}")

    calls =
      [{"clone tenants.git", fn -> Alumiini.Git.sync(tenants_url, "main", path.("tenants")) end}] ++
        for n <- 1..7 do
          {"clone shop.git, #{n}",
           fn -> Alumiini.Git.sync(shop_url, "main", path.("shop-#{n}")) end}
        end

    tasks = start_calls(calls)

    for condition <- [{:parked, gate, 1}, {:parked, waiting, 7}],
        do: await_held(server, condition, tasks)

    Screen.say("8 clones are under way, #{Screen.size(8_000_000)} of one pack have arrived")

    kill(worker)
    HttpServer.remove(server, gate)
    HttpServer.remove(server, waiting)
    for rule <- [gate, waiting], do: HttpServer.release(server, rule)
    answers(tasks)
  end

  # However long that takes on a busy machine: a call that cannot get there ends by its own
  # deadline, and says why.
  defp await_held(server, condition, tasks) do
    reached = HttpServer.notify(server, condition)
    titles = Map.new(tasks, fn {title, task} -> {task.ref, title} end)

    receive do
      {^reached, :reached} ->
        :ok

      {ref, result} when is_map_key(titles, ref) ->
        raise "#{titles[ref]} ended before the worker was killed: #{ok!(result)}"
    end
  end

  ## Any repository

  @doc "Options: `:branch`, and `:dir`, a directory of the repository."
  @spec remote(Path.t(), keyword) :: :ok
  def remote(dir, options) do
    url = Keyword.fetch!(options, :url)
    Screen.title(1, "A worker")
    worker = start()

    here = Path.join(dir, "clone")
    branch = first_sync(url, options[:branch], here)
    look(here, options[:dir], 20)
    nothing_new(url, branch, here, nil, 4)
    kill_in_remote(worker, url, branch, here, Path.join(dir, "again"), options[:dir])
    finish()
  end

  defp kill_in_remote(worker, url, branch, here, again, subpath) do
    Screen.title(5, "Kill the worker in the middle of a clone")
    me = self()

    # The first sign that data arrives is the moment.
    progress = fn %{phase: phase} ->
      if phase != :connect and Process.put(:told, true) == nil, do: send(me, {:under_way, phase})
      :ok
    end

    clone = fn -> Alumiini.Git.sync(url, branch, again, progress: progress, timeout: 120_000) end

    tasks =
      start_calls([
        {"clone into another directory", clone},
        {"the remote's #{branch}", fn -> Alumiini.Git.ls_remote(url, branch) end},
        {"HEAD of the first clone", fn -> Alumiini.Git.head(here) end},
        {"list #{subpath || "/"}", fn -> Alumiini.Git.files(here, subpath) end}
      ])

    [{_, %{ref: ref}} | _] = tasks

    receive do
      {:under_way, phase} ->
        Screen.say("the clone is in its phase #{phase}")
        kill(worker)

      # Left for `answers/1`.
      {^ref, result} ->
        send(me, {ref, result})

        Screen.say(
          "this repository is so small that the clone was over before the worker could be killed"
        )
    after
      120_000 -> Screen.say("no data arrived in two minutes")
    end

    answers(tasks)
  end

  ## Steps of both

  defp start do
    Workers.follow()
    {:ok, _supervisor} = Supervisor.start_link([{Alumiini.Git, []}], strategy: :one_for_one)
    worker = Workers.await_up()
    Screen.code("Supervisor.start_link([{Alumiini.Git, []}], strategy: :one_for_one)")

    Screen.good(
      "worker #{worker.version} is up in #{Screen.time(worker.microseconds)}, process " <>
        "#{worker.os_pid}"
    )

    worker
  end

  defp first_sync(url, branch, path) do
    Screen.title(2, "First sync")
    branch = branch || default_branch(url)
    sync!(url, branch, path)
    {:ok, commit} = Alumiini.Git.head(path)
    subject = commit.message |> String.split("\n") |> hd()

    Screen.say(
      "#{Screen.bold(binary_part(commit.sha, 0, 12))} #{subject} " <>
        "#{Screen.faint("by #{commit.author}")}"
    )

    branch
  end

  # A remote names the commit of its HEAD and not the branch; the usual ones are tried.
  defp default_branch(url) do
    Enum.find(
      ["main", "master", "trunk", "develop"],
      "main",
      &match?({:ok, _}, Alumiini.Git.ls_remote(url, &1))
    )
  end

  defp sync!(url, branch, path) do
    Screen.code(~s|Alumiini.Git.sync("#{shown(url)}", "#{branch}", "#{Path.basename(path)}")|)

    {time, result} =
      Screen.measure(fn -> Alumiini.Git.sync(url, branch, path, progress: Screen.bar()) end)

    Screen.finish_bar()
    Screen.good("#{ok!(result)} in #{Screen.time(time)}")
  end

  defp look(path, subpath, lines) do
    Screen.title(3, "List and read manifests")
    Screen.code(~s|Alumiini.Git.files("#{Path.basename(path)}", #{inspect(subpath)})|)
    {time, names} = Screen.measure(fn -> ok!(Alumiini.Git.files(path, subpath)) end)
    Screen.good("#{count(names)} in #{Screen.time(time)}")
    if names == [], do: Screen.say("DIR=… names a directory that holds some")
    for name <- Enum.take(names, 12), do: Screen.say(["  ", printable(name)])
    if length(names) > 12, do: Screen.say("  … #{length(names) - 12} more")

    with [first | _] <- names do
      file = if subpath, do: Path.join(subpath, first), else: first
      {time, content} = Screen.measure(fn -> ok!(Alumiini.Git.read(path, file)) end)
      Screen.good("read #{Screen.size(byte_size(content))} in #{Screen.time(time)}")
      Screen.file(printable(file), content, lines)
    end
  end

  defp count([]), do: "no YAML file"
  defp count([_]), do: "1 YAML file"
  defp count(names), do: "#{length(names)} YAML files"

  defp printable(name), do: if(String.valid?(name), do: name, else: inspect(name))

  defp nothing_new(url, branch, path, server, number \\ 6) do
    Screen.title(number, "Nothing new")
    if server, do: HttpServer.reset(server)

    times =
      for _ <- 1..@again do
        {time, _sha} = Screen.measure(fn -> ok!(Alumiini.Git.sync(url, branch, path)) end)
        time
      end

    median = times |> Enum.sort() |> Enum.at(div(@again, 2))
    Screen.good("#{@again} syncs, the one in the middle took #{Screen.time(median)}")

    if server do
      %{requests: requests, connections: connections} = HttpServer.stats(server)
      Screen.say("the server saw #{requests} requests on #{connections} new connections")
    end
  end

  defp start_calls(calls), do: for({title, call} <- calls, do: {title, Task.async(call)})

  defp kill(worker) do
    Screen.code("kill -9 #{worker.os_pid}")
    :ok = Workers.kill(worker.os_pid)
    {:exit_status, status} = Workers.await_down()
    next = Workers.await_up()

    Screen.good(
      "the worker is gone (exit status #{status}); its successor, process #{next.os_pid}, " <>
        "was up #{Screen.time(next.microseconds)} after its start"
    )
  end

  defp answers(tasks) do
    {time, results} =
      Screen.measure(fn -> for {title, task} <- tasks, do: {title, Task.await(task, 300_000)} end)

    for {title, result} <- results do
      case result do
        {:ok, value} -> Screen.good("#{title}: #{answer(value)}")
        {:error, error} -> Screen.bad("#{title}: #{Exception.message(error)}")
      end
    end

    Screen.say("the last of #{length(results)} answers came #{Screen.time(time)} later")
    with {_, {:error, error}} <- Enum.find(results, &match?({_, {:error, _}}, &1)), do: throw(error)
  end

  defp answer(sha) when is_binary(sha), do: binary_part(sha, 0, 12)
  defp answer(%{sha: sha}), do: answer(sha)
  defp answer(names) when is_list(names), do: count(names)

  defp finish do
    Screen.say("")
    Screen.say(Screen.bold("That was it. README.md shows how to put it into an application."))
  end

  defp shown(url), do: Alumiini.Git.RedactedUrl.clean(url)

  defp ok!({:ok, value}), do: value
  defp ok!({:error, %Error{} = error}), do: throw(error)
end
