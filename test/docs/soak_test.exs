for file <-
      ~w(json machine format svg statistics result) ++
        ~w(soak/origin soak/samples) ++
        ~w(soak/kills soak/polls soak/packs soak/plot soak/run) do
  Code.require_file("../../bench/#{file}.ex", __DIR__)
end

defmodule Alumiini.Git.SoakTest do
  # The last part of `make soak`, for seconds in place of an hour.
  use Alumiini.Git.Test.GitCase, async: false

  import ExUnit.CaptureIO
  import ExUnit.CaptureLog

  alias Alumiini.Git.Bench.Soak.{Run, Samples}

  setup :dir

  test "kills, polls and damaged packs leave everything as it should be", %{dir: dir} do
    work = Path.join(dir, "soak")

    {wrong, told} =
      with_io(fn ->
        {wrong, _log} = with_log(fn -> Run.run(0.1, 10, work, [dir]) end)
        wrong
      end)

    assert wrong == []
    assert told =~ ~r/  kills: [1-9]/
    assert told =~ ~r/  packs: [1-9]/
    refute File.exists?(work)
    assert File.read!(Path.join(dir, "soak.svg")) =~ "damaged packs; 0 things that were not"
    assert File.read!(Path.join(dir, "soak.json")) =~ ~s("polled_memory": )
  end

  test "what grows is wrong, and what comes and goes is not" do
    sample = &%{seconds: &1, polled_memory: &2, polled_files: 20}
    flat = for n <- 1..120, do: sample.(n, 20_000_000 + rem(n, 7) * 500_000)
    leaking = for n <- 1..120, do: sample.(n, 20_000_000 + n * 1_000_000)
    assert Samples.wrong(flat) == []
    assert ["polled_memory grew from " <> _] = Samples.wrong(leaking)
  end
end
