defmodule Alumiini.Git.IsolationTest do
  # A worker that dies fails at most the request that killed it. Real workers, killed for real;
  # `ServerTest` has what scripted ones can show.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{Leftovers, OsProcess, ScriptedWorker, WorkersSeen}

  @moduletag timeout: 120_000

  # Whoever writes to a worker that was killed may notice that before its exit status comes.
  defguardp is_killed(reason) when reason == {:exit_status, 137} or reason == {:port, :epipe}

  @repositories 10

  setup [:dir, :http, :repositories]

  defp repositories(context) do
    WorkersSeen.attach!()

    repositories =
      for n <- 1..@repositories do
        name = "r#{n}"
        origin = Repository.create!(context.dir, name <> ".git")
        commit = Repository.commit!(origin, %{"name.yaml" => "repository: #{name}\n"})
        url = HttpServer.url(context.http, name <> ".git")
        %{name: name, origin: origin, commit: commit, url: url}
      end

    %{repositories: repositories}
  end

  defp start_git! do
    git =
      start_supervised!(
        {Git, name: nil, backoff_initial: 1, backoff_max: 20, max_requests_per_host: 256}
      )

    assert_receive {:worker, :up, ^git, %{os_pid: os_pid}}, 5_000
    {git, os_pid}
  end

  # Each by a URL of its own: what is asked of one and the same is asked once for all.
  defp repositories(context, count) do
    for {r, n} <- context.repositories |> Stream.cycle() |> Enum.take(count) |> Enum.with_index() do
      name = "#{r.name}-#{n}.git"
      File.ln_s!(r.origin, Path.join(context.dir, name))
      {%{r | url: HttpServer.url(context.http, name)}, n}
    end
  end

  # Half of them syncs, each into a directory of its own; the others write nothing.
  defp calls(context, git, count) do
    for {r, n} <- repositories(context, count) do
      path = Path.join(context.dir, "work-#{n}")

      if rem(n, 2) == 0,
        do: {r, path, Task.async(fn -> Git.sync(r.url, "main", path, server: git) end)},
        else: {r, nil, Task.async(fn -> Git.ls_remote(r.url, "main", server: git) end)}
    end
  end

  defp assert_answered(git, calls) do
    answers = Task.await_many(Enum.map(calls, &elem(&1, 2)), 60_000)
    assert answers == Enum.map(calls, fn {r, _path, _task} -> {:ok, r.commit} end)

    for {r, path, _task} <- calls, path != nil do
      assert Git.read(path, "name.yaml", server: git) == {:ok, "repository: #{r.name}\n"}
      Oracle.assert_tree_equals(path, r.origin, r.commit)
      assert Leftovers.of(path) == []
    end
  end

  describe "a worker that is killed with 50 requests in flight" do
    test "is replaced by one, and all 50 are answered", context do
      {git, os_pid} = start_git!()
      gate = HttpServer.rule(context.http, :hold)
      calls = calls(context, git, 50)
      HttpServer.await(context.http, {:parked, gate, 50}, 30_000)
      assert %{in_flight: 50} = Server.info(git)

      :ok = OsProcess.kill(os_pid, :KILL)

      assert_receive {:worker, :down, ^git, %{reason: reason, attempt: 1}} when is_killed(reason),
                     5_000

      # They are at the server once more, all of them, from the new worker.
      HttpServer.await(context.http, {:requests, 100}, 30_000)
      HttpServer.await(context.http, {:parked, gate, 50}, 30_000)
      HttpServer.release(context.http, gate)

      assert_answered(git, calls)
      assert [%{attempt: 2, isolated: false}] = WorkersSeen.so_far(:up, git)
      assert %{attempts: 2, pending: 0, workers: 1} = Server.info(git)
    end

    test "while packs arrive: what the half-done clones left is in nobody's way", context do
      {git, os_pid} = start_git!()
      gate = HttpServer.rule(context.http, {:stop, {:pack, 20}, :hold}, on: :upload_pack)

      calls =
        for {r, n} <- repositories(context, 50) do
          path = Path.join(context.dir, "work-#{n}")
          {r, path, Task.async(fn -> Git.sync(r.url, "main", path, server: git) end)}
        end

      HttpServer.await(context.http, {:parked, gate, 50}, 30_000)
      :ok = OsProcess.kill(os_pid, :KILL)
      HttpServer.release(context.http, gate)
      assert_answered(git, calls)
      assert [%{attempt: 2, isolated: false}] = WorkersSeen.so_far(:up, git)
    end
  end

  describe "a request that kills the worker each time" do
    test "gets :worker_exited alone, the other 49 their answers", context do
      {git, _os_pid} = start_git!()
      gate = HttpServer.rule(context.http, :hold)
      others = calls(context, git, 49)
      HttpServer.await(context.http, {:parked, gate, 49}, 30_000)
      fault = %{"at" => "start", "do" => "kill"}

      poison =
        Task.async(fn ->
          Server.call(git, %{"op" => "head", "path" => context.dir, "fault" => fault})
        end)

      # Two workers that all had in common, and one that was the poison's own.
      for attempt <- 1..2 do
        assert_receive {:worker, :down, ^git, %{attempt: ^attempt, isolated: false, reason: reason}}
                       when is_killed(reason),
                       10_000
      end

      HttpServer.release(context.http, gate)

      assert {:error, %Error{reason: :worker_exited, op: :head, retryable?: false}} =
               Task.await(poison, 60_000)

      assert_answered(git, others)

      killed =
        for %{isolated: true, reason: reason} when is_killed(reason) <-
              WorkersSeen.so_far(:down, git),
            do: true

      assert killed == [true]
      assert OsProcess.await(fn -> Server.info(git).workers == 1 end, 5_000) == :ok
      assert %{pending: 0} = Server.info(git)
    end

    test "in the middle of a checkout leaves what the next sync completes", context do
      {git, _os_pid} = start_git!()
      [r | _] = context.repositories
      path = Path.join(context.dir, "work")
      fault = %{"at" => "unmark", "do" => "kill"}

      request = %{
        "op" => "sync",
        "url" => r.url,
        "branch" => "main",
        "path" => path,
        "depth" => 1,
        "fault" => fault
      }

      assert {:error, %Error{reason: :worker_exited, op: :sync}} = Server.call(git, request)
      assert Git.sync(r.url, "main", path, server: git) == {:ok, r.commit}
      Oracle.assert_synced(path, r.origin, r.commit)
      assert Leftovers.of(path) == []
    end
  end

  describe "threads that no cancel reaches, as in C code that loops," do
    # More than the worker has places for work on the disk: all of them are held.
    @held 2 * System.schedulers_online() + 2
    @grace 500

    test "are got rid of with their worker, and nobody else waits longer than the grace", context do
      options = [name: nil, backoff_initial: 1, backoff_max: 20, grace: @grace]
      git = start_supervised!({Git, options})
      assert_receive {:worker, :up, ^git, %{os_pid: os_pid}}, 5_000
      [r, other | _] = context.repositories

      held =
        for n <- 1..@held do
          request = %{
            "op" => "sync",
            "url" => r.url,
            "branch" => "main",
            "path" => Path.join(context.dir, "held-#{n}"),
            "depth" => 1,
            "fault" => %{"at" => "marker", "do" => "wedge"}
          }

          Task.async(fn -> Server.call(git, request, timeout: 2_000) end)
        end

      for answer <- Task.await_many(held, 30_000) do
        assert {:error, %Error{reason: :timeout, op: :sync}} = answer
      end

      # What was answered is still worked on, and the BEAM knows it.
      path = Path.join(context.dir, "work")
      assert Git.sync(other.url, "main", path, server: git, timeout: 30_000) == {:ok, other.commit}
      assert_receive {:worker, :down, ^git, %{reason: reason, os_pid: ^os_pid}}, 5_000
      assert reason == :unresponsive
      Oracle.assert_synced(path, other.origin, other.commit)
      # The paths are free, too.
      assert Git.sync(r.url, "main", Path.join(context.dir, "held-1"), server: git) ==
               {:ok, r.commit}
    end
  end

  describe "the caller's supervisor stays up, and the call is told why, with a binary that" do
    @broken %{
      "is missing" => {:worker_unavailable, "there is no worker binary at"},
      "exits at once" => {:worker_unavailable, "exit status 3"},
      "speaks another protocol version" => {:protocol, "protocol 7"}
    }

    for {what, {reason, sentence}} <- @broken do
      @what what
      @reason reason
      @sentence sentence

      test what, context do
        binary = binary(@what, context.dir)
        # One restart would end this supervisor.
        git = {Git, name: nil, binary: binary, backoff_initial: 50, backoff_max: 60_000}
        supervisor = start_supervised!(supervisor([git, {Agent, fn -> :sibling end}]))
        children = Supervisor.which_children(supervisor)
        {Git, git, :worker, _modules} = List.keyfind(children, Git, 0)

        for _ <- 1..20 do
          assert {:error, %Error{reason: @reason, message: message}} =
                   Git.head("/", server: git, timeout: 10_000)

          assert message =~ @sentence
        end

        # It goes on trying by itself, and no faster for being asked: 50, 100, 200 … ms, of which
        # half may be left out.
        attempts = Server.info(git).attempts
        assert attempts in 1..8
        assert_receive {:worker, :down, ^git, %{attempt: next}} when next > attempts, 10_000
        assert Supervisor.which_children(supervisor) == children
        assert Process.alive?(supervisor)
      end
    end

    defp supervisor(children) do
      options = [strategy: :one_for_all, max_restarts: 0]
      %{id: :supervisor, start: {Supervisor, :start_link, [children, options]}, type: :supervisor}
    end

    defp binary("is missing", dir), do: Path.join(dir, "nothing")
    defp binary("exits at once", dir), do: ScriptedWorker.write!(dir, [[{:exit, 3}]])

    defp binary("speaks another protocol version", dir) do
      ScriptedWorker.write!(dir, [
        [:read, {:answer, %{"protocol" => 7, "version" => "9.8.7"}}, :hang]
      ])
    end
  end
end
