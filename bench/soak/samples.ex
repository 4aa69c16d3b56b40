defmodule Alumiini.Git.Bench.Soak.Samples do
  @moduledoc """
  What the workers that are not killed hold, and this BEAM: looked at 240 times, from the beginning
  to the end.
  """

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.OsProcess

  @count 240
  # Of a run that is too short to say anything of growth.
  @enough 60
  # What may come and go: a page of a reply, the arena of a thread.
  @slack 4 * 1_048_576
  @slack_files 4

  @type t :: %{atom => number}

  @spec take([atom], map) :: [t]
  def take(servers, given) do
    every = max(200, div(given.ms, @count))
    began = System.monotonic_time(:millisecond)

    Stream.repeatedly(fn -> wait(every, given) end)
    |> Enum.take_while(&(&1 == :go))
    |> Enum.map(fn :go -> sample(servers, began) end)
  end

  defp wait(every, given) do
    left = given.until - System.monotonic_time(:millisecond)

    if left > 0 do
      receive after: (min(every, left) -> :go)
    else
      :over
    end
  end

  defp sample(servers, began) do
    of_workers =
      for server <- servers, %{os_pid: pid} when is_integer(pid) <- [Server.info(server)] do
        [
          {:"#{server}_memory", OsProcess.memory(pid)},
          {:"#{server}_files", length(OsProcess.open_files(pid))},
          {:"#{server}_threads", OsProcess.threads(pid)}
        ]
      end

    of_workers
    |> List.flatten()
    |> Map.new()
    |> Map.merge(%{
      seconds: (System.monotonic_time(:millisecond) - began) / 1000,
      beam_memory: :erlang.memory(:total),
      beam_processes: :erlang.system_info(:process_count)
    })
  end

  @doc "What grew: the last third of the samples beside the second."
  @spec wrong([t]) :: [String.t()]
  def wrong(samples) when length(samples) < @enough, do: []

  def wrong(samples) do
    for {key, {before, after_it}} <- growth(samples),
        after_it > before * 1.1 + slack(Atom.to_string(key)) do
      "#{key} grew from #{before} to #{after_it}"
    end
  end

  defp slack(key), do: if(String.ends_with?(key, "memory"), do: @slack, else: @slack_files)

  @spec summary([t]) :: [String.t()]
  def summary(samples) when length(samples) < @enough, do: []

  def summary(samples) do
    for {key, {before, after_it}} <- growth(samples) do
      "#{key}: #{before} in the second third, #{after_it} in the last"
    end
  end

  defp growth(samples) do
    third = div(length(samples), 3)
    [second, last] = [Enum.slice(samples, third, third), Enum.take(samples, -third)]

    for key <- samples |> hd() |> Map.keys() |> Enum.sort(), key != :seconds do
      {key, {median(second, key), median(last, key)}}
    end
  end

  defp median(samples, key) do
    values = for %{^key => value} <- samples, do: value
    values |> Enum.sort() |> Enum.at(div(length(values), 2), 0)
  end
end
