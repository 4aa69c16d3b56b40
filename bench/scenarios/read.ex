defmodule Alumiini.Git.Bench.Scenarios.Read do
  @moduledoc """
  A read of 4 KiB, with a working tree and without one, beside a program on the same kind of port
  that does nothing but send back 4 KiB; and the same by way of a process that owns the port, as
  there has to be one.
  """

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result}
  alias Alumiini.Git.Test.GitCommand

  @rounds 21
  # Each of them a sample.
  @reads 200
  @bytes 4_096
  @target 2.0

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    [dir, bare] = for label <- ["read", "read-bare"], do: Fixtures.fresh(fixtures, label)
    content = :rand.bytes(@bytes)
    repository!(dir, content)
    program = program!(fixtures)
    port = open(program)
    relay = spawn_link(fn -> relay(open(program)) end)

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        Fixtures.sync!(server, dir, bare, working_tree: false)

        read = fn dir ->
          {:ok, ^content} = Alumiini.Git.read(dir, "deploy/app.yaml", server: server)
        end

        Fixtures.settle(fn -> for each <- [dir, bare], do: read.(each) end)

        Measure.interleave("read", @rounds,
          ours: samples(fn -> read.(dir) end),
          bare: samples(fn -> read.(bare) end),
          echo: samples(fn -> ^content = echo(port, content) end),
          relayed: samples(fn -> ^content = relayed(relay, content) end)
        )
      end)

    Port.close(port)
    Process.unlink(relay)
    Process.exit(relay, :kill)
    Fixtures.remove!(dir)
    beside = {"an echo over the same kind of port", taken.echo}
    others = [{"an echo by way of a process", taken.relayed}]

    [
      Result.time("read", "read of 4 KiB", beside, taken.ours, @target, others),
      Result.time(
        "read-bare",
        "read of 4 KiB, no working tree",
        beside,
        taken.bare,
        @target,
        others
      )
    ]
  end

  defp repository!(dir, content) do
    File.mkdir_p!(Path.join(dir, "deploy"))
    File.write!(Path.join(dir, "deploy/app.yaml"), content)
    GitCommand.run!(["init", "--quiet", "--initial-branch=main"], cd: dir)
    GitCommand.run!(["add", "."], cd: dir)
    GitCommand.run!(["commit", "--quiet", "--message", "One file"], cd: dir)
  end

  defp samples(fun), do: fn _round -> for(_ <- 1..@reads, do: Measure.time(fun)) end

  defp program!(fixtures) do
    program = Path.join(fixtures.work, "echo")
    source = Path.expand("../echo.rs", __DIR__)

    {_, 0} =
      System.cmd("rustc", ["--edition", "2021", "-C", "opt-level=3", "-o", program, source],
        stderr_to_stdout: true
      )

    program
  end

  defp open(program) do
    options = [{:packet, 4}, :binary, :exit_status, :use_stdio, :hide]
    Port.open({:spawn_executable, program}, options)
  end

  defp relayed(relay, content) do
    ref = make_ref()
    send(relay, {self(), ref, content})
    receive do: ({^ref, data} -> data)
  end

  defp relay(port) do
    receive do: ({from, ref, content} -> send(from, {ref, echo(port, content)}))
    relay(port)
  end

  defp echo(port, content) do
    Port.command(port, content)
    receive do: ({^port, {:data, data}} -> data)
  end
end
