defmodule Alumiini.Git.BeamDeathTest do
  # A BEAM that is killed cannot tidy up: its worker has to notice.
  use Alumiini.Git.Test.KillCase, async: true

  alias Alumiini.Git.Test.SecondBeam

  # What the issue promises; nothing here waits for as long unless it fails.
  @within 1_000

  setup [:dir, :versions, :http]

  # Prints the worker's process id once it is up, then runs `calls`.
  defp beam!(calls) do
    beam =
      SecondBeam.start!("""
      {:ok, git} = Alumiini.Git.start_link(name: nil)
      # Answered, whatever it is: a worker is up.
      Alumiini.Git.head("/nowhere", server: git)
      IO.puts(Alumiini.Git.Server.info(git).os_pid)
      #{calls}
      """)

    worker = beam |> SecondBeam.line!() |> String.to_integer()
    assert OsProcess.alive?(worker)
    {beam, worker}
  end

  defp kill_and_watch(beam, worker) do
    :ok = SecondBeam.kill!(beam)
    assert OsProcess.await_exit(worker, @within) == :ok, "worker #{worker} outlives its BEAM"
  end

  # What follows in this BEAM, on the same path.
  defp sync_here!(context) do
    git = start_supervised!({Git, name: nil})
    assert Git.sync(context.url, "main", context.path, server: git) == {:ok, context.commits[1]}
    Oracle.assert_synced(context.path, context.origin, context.commits[1])
    assert Leftovers.of(context.path) == []
  end

  test "takes an idle worker with it" do
    {beam, worker} = beam!("")
    kill_and_watch(beam, worker)
  end

  test "takes a worker with it that is in the middle of a clone", context do
    stop = HttpServer.rule(context.http, {:stop, {:pack, 100_000}, :hold}, on: :upload_pack)

    {beam, worker} =
      beam!(
        "Alumiini.Git.sync(#{inspect(context.url)}, \"main\", #{inspect(context.path)}, " <>
          "server: git)"
      )

    HttpServer.await(context.http, {:parked, stop, 1})
    assert [".git.alumiini-" <> _] = Leftovers.of(context.path)

    kill_and_watch(beam, worker)
    HttpServer.await(context.http, {:open, 0}, @within)
    HttpServer.reset(context.http)
    sync_here!(context)
  end

  test "takes a worker with it whose threads are busy writing files", context do
    fault = %{"at" => "checkout", "do" => "hang", "after" => 10}

    request = %{
      "op" => "sync",
      "url" => context.url,
      "branch" => "main",
      "path" => context.path,
      "depth" => 1
    }

    request = Map.merge(request, %{"fault" => fault, "progress" => true})

    {beam, worker} =
      beam!("""
      tell = fn name, _event -> if name == "fault", do: IO.puts("hangs") end
      Alumiini.Git.Server.call(git, #{inspect(request)}, on_event: tell)
      """)

    assert SecondBeam.line!(beam) == "hangs"
    kill_and_watch(beam, worker)
    sync_here!(context)
  end

  test "takes a worker with it that has more to say than anybody reads", context do
    sync_here!(context)

    # Many large answers to a BEAM that does not run: the worker's writer stands in the middle of a
    # frame.
    {beam, worker} =
      beam!("""
      read = fn -> Alumiini.Git.read(#{inspect(context.path)}, "app/1.yaml", server: git) end
      IO.gets("go")
      for _ <- 1..64, do: spawn(fn -> for _ <- 1..1_000_000, do: read.() end)
      IO.puts("reads")
      """)

    Port.command(beam.port, "\n")
    assert "go" <> _reads = SecondBeam.line!(beam)
    :ok = OsProcess.kill(beam.os_pid, :STOP)
    assert OsProcess.await_state(beam.os_pid, ["T"]) == :ok
    kill_and_watch(beam, worker)
  end
end
