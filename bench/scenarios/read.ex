defmodule Alumiini.Git.Bench.Scenarios.Read do
  @moduledoc "A read of 4 KiB, beside a program on the same kind of port that does nothing but send back 4 KiB."

  alias Alumiini.Git.Bench.{Fixtures, Measure, Result}
  alias Alumiini.Git.Test.GitCommand

  @rounds 21
  # Each of them a sample.
  @reads 200
  @bytes 4_096
  @target 2.0

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    dir = Fixtures.fresh(fixtures, "read")
    content = :rand.bytes(@bytes)
    repository!(dir, content)
    port = echo!(fixtures)

    taken =
      Fixtures.with_worker(fixtures, fn server ->
        read = fn -> {:ok, ^content} = Alumiini.Git.read(dir, "deploy/app.yaml", server: server) end
        Fixtures.settle(read)

        Measure.interleave("read", @rounds,
          ours: samples(read),
          echo: samples(fn -> ^content = echo(port, content) end)
        )
      end)

    Port.close(port)
    Fixtures.remove!(dir)

    [
      Result.time(
        "read",
        "read of 4 KiB",
        {"an echo over the same kind of port", taken.echo},
        taken.ours,
        @target
      )
    ]
  end

  defp repository!(dir, content) do
    File.mkdir_p!(Path.join(dir, "deploy"))
    File.write!(Path.join(dir, "deploy/app.yaml"), content)
    GitCommand.run!(["init", "--quiet"], cd: dir)
    GitCommand.run!(["add", "."], cd: dir)
    GitCommand.run!(["commit", "--quiet", "--message", "One file"], cd: dir)
  end

  defp samples(fun), do: fn _round -> for(_ <- 1..@reads, do: Measure.time(fun)) end

  defp echo!(fixtures) do
    program = Path.join(fixtures.work, "echo")
    source = Path.expand("../echo.rs", __DIR__)

    {_, 0} =
      System.cmd("rustc", ["--edition", "2021", "-C", "opt-level=3", "-o", program, source],
        stderr_to_stdout: true
      )

    Port.open({:spawn_executable, program}, [{:packet, 4}, :binary, :exit_status, :use_stdio, :hide])
  end

  defp echo(port, content) do
    Port.command(port, content)
    receive do: ({^port, {:data, data}} -> data)
  end
end
