defmodule Alumiini.Git.ConcurrencyTest do
  # Many callers at once, on the real worker: each gets its own answer, and nobody waits for
  # somebody else's remote.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.ScriptedTcp

  @moduletag timeout: 120_000

  @processes 200
  @repositories 20
  # "At once": a call that waits for what it should not wait for never returns here, so this only
  # bounds how slow a busy machine may be.
  @at_once 2_000

  setup [:dir, :http, :wide_git]

  defp wide_git(_context) do
    %{git: start_supervised!({Git, name: nil, max_requests_per_host: 256})}
  end

  # Every file of it, and the commit's message, tell which repository this is.
  defp repository!(context, name) do
    files = %{
      "name.yaml" => "repository: #{name}\n",
      "deploy/of-#{name}.yaml" => "repository: #{name}\n",
      "deploy/large.yaml" => List.duplicate("repository: #{name}\n", 5_000)
    }

    origin = Repository.create!(context.dir, "#{name}.git")

    id =
      Repository.commit!(origin, files,
        message: "Of #{name}\n",
        author: "#{name} <#{name}@example.com>"
      )

    url = HttpServer.url(context.http, "#{name}.git")
    %{name: name, origin: origin, id: id, url: url, path: Path.join(context.dir, "work-#{name}")}
  end

  describe "200 processes on 20 repositories" do
    test "get each its own answer, from one worker", context do
      repositories = for n <- 1..@repositories, do: repository!(context, "r#{n}")
      callers = Stream.cycle(repositories) |> Enum.take(@processes) |> Enum.with_index()

      answers =
        callers
        |> Enum.map(fn {repository, n} ->
          Task.async(fn -> calls(context.git, repository, n) end)
        end)
        |> wait_at_the_start()
        |> Task.await_many(100_000)

      for {{repository, n}, answers} <- Enum.zip(callers, answers),
          {operation, answer} <- answers do
        assert {n, operation, answer} == {n, operation, expected(operation, repository)}
      end

      assert %{attempts: 1, pending: 0, in_flight: 0} = Server.info(context.git)

      for repository <- repositories,
          do: Oracle.assert_synced(repository.path, repository.origin, repository.id)
    end

    defp wait_at_the_start(tasks) do
      for task <- tasks, do: send(task.pid, :go)
      tasks
    end

    # The first sync makes sure that there is something to read; the order of the rest is another in
    # each process.
    defp calls(git, repository, n) do
      receive do: (:go -> :ok)

      rest = [:files, :read, :large, :head, :ls_remote, :checkout, :sync, :absent]
      shuffled = Enum.sort_by(rest, &:erlang.phash2({n, &1}))
      for operation <- [:sync | shuffled], do: {operation, run(operation, git, repository)}
    end
  end

  defp run(:sync, git, r), do: Git.sync(r.url, "main", r.path, server: git)
  defp run(:files, git, r), do: Git.files(r.path, "deploy", server: git)
  defp run(:read, git, r), do: Git.read(r.path, "name.yaml", server: git)
  defp run(:large, git, r), do: Git.read(r.path, "deploy/large.yaml", server: git)
  defp run(:ls_remote, git, r), do: Git.ls_remote(r.url, "main", server: git)
  defp run(:checkout, git, r), do: Git.checkout(r.path, r.id, server: git)

  defp run(:head, git, r) do
    with {:ok, commit} <- Git.head(r.path, server: git),
         do: {:ok, {commit.sha, commit.author, commit.message}}
  end

  # Errors are answers, too, and name what they are about.
  defp run(:absent, git, r) do
    {:error, %Error{reason: reason, message: message}} =
      Git.read(r.path, "absent-in-#{r.name}", server: git)

    {reason, message =~ "absent-in-#{r.name}"}
  end

  defp expected(operation, r) when operation in [:sync, :ls_remote, :checkout], do: {:ok, r.id}
  defp expected(:files, r), do: {:ok, ["large.yaml", "of-#{r.name}.yaml"]}
  defp expected(:read, r), do: {:ok, "repository: #{r.name}\n"}
  defp expected(:large, r), do: {:ok, String.duplicate("repository: #{r.name}\n", 5_000)}
  defp expected(:head, r), do: {:ok, {r.id, r.name, "Of #{r.name}\n"}}
  defp expected(:absent, _r), do: {:path_not_found, true}

  test "a remote that never answers delays no other repository's call", context do
    {:ok, tcp} = ScriptedTcp.start_link([:hold])
    # More than there are threads for the disk, on as many paths.
    stuck =
      for n <- 1..40 do
        path = Path.join(context.dir, "stuck-#{n}")

        Task.async(fn ->
          Git.sync(ScriptedTcp.url(tcp) <> "?n=#{n}", "main", path, server: context.git)
        end)
      end

    for _ <- stuck, do: assert_receive({ScriptedTcp, ^tcp, :accepted}, 10_000)
    repository = repository!(context, "other")

    for operation <- [:sync, :sync, :files, :read, :large, :head, :ls_remote, :checkout, :absent] do
      {ms, answer} = took(fn -> run(operation, context.git, repository) end)
      assert {operation, answer} == {operation, expected(operation, repository)}
      assert ms < @at_once, "#{operation} took #{ms} ms"
    end

    assert %{pending: 40, attempts: 1} = Server.info(context.git)
    for task <- stuck, do: Task.shutdown(task, :brutal_kill)
  end

  describe "during a long fetch" do
    test "reads of the same repository are answered at once, from what was there before", context do
      repository = repository!(context, "same")
      assert {:ok, _id} = run(:sync, context.git, repository)
      new = Repository.commit!(repository.origin, %{"name.yaml" => "new\n", "large" => noise()})

      for {what, rule} <- [
            {"before the remote answers", :hold},
            {"in the middle of the pack", {:stop, {:pack, 50_000}, :hold}}
          ] do
        gate = HttpServer.rule(context.http, rule, on: :upload_pack)
        fetch = Task.async(fn -> run(:sync, context.git, repository) end)
        HttpServer.await(context.http, {:parked, gate, 1})

        for operation <- [:files, :read, :large, :head, :absent] do
          {ms, answer} = took(fn -> run(operation, context.git, repository) end)
          assert {what, operation, answer} == {what, operation, expected(operation, repository)}
          assert ms < @at_once, "#{operation} took #{ms} ms #{what}"
        end

        assert Task.yield(fetch, 0) == nil
        HttpServer.remove(context.http, gate)
        Task.shutdown(fetch, :brutal_kill)
      end

      assert run(:sync, context.git, repository) == {:ok, new}
      assert run(:read, context.git, repository) == {:ok, "new\n"}
    end

    test "of a first clone, reads are answered at once, too", context do
      repository = repository!(context, "first")
      gate = HttpServer.rule(context.http, :hold, on: :upload_pack, skip: 1)
      clone = Task.async(fn -> run(:sync, context.git, repository) end)
      HttpServer.await(context.http, {:parked, gate, 1})

      for operation <- [:files, :read] do
        {ms, answer} = took(fn -> run(operation, context.git, repository) end)
        assert {:error, %Error{reason: :incomplete, retryable?: true}} = answer
        assert ms < @at_once, "#{operation} took #{ms} ms"
      end

      HttpServer.release(context.http, gate)
      assert Task.await(clone) == {:ok, repository.id}
      assert run(:read, context.git, repository) == expected(:read, repository)
    end
  end

  # Does not compress, so that the pack is as long.
  defp noise, do: :rand.bytes_s(300_000, :rand.seed_s(:exsss, 3)) |> elem(0)

  defp took(function) do
    {microseconds, result} = :timer.tc(function)
    {div(microseconds, 1000), result}
  end
end
