defmodule Alumiini.Git.Bench.Soak.Polls do
  @moduledoc """
  Twenty repositories are polled, so fast that an hour has the polls of 24 hours in which each comes
  every 30 seconds; every hundredth finds something new. What a poll returns is what is there.
  """

  alias Alumiini.Git
  alias Alumiini.Git.Bench.Soak.Origin

  @repositories 20
  # ms
  @pause div(30_000, 24)
  @every 100
  @files 120

  @spec run(atom, map) :: map
  def run(server, given) do
    told =
      1..@repositories
      |> Enum.map(&Task.async(fn -> follow(&1, server, given) end))
      |> Task.await_many(:infinity)

    times = Enum.flat_map(told, & &1.times)

    %{
      name: "polls",
      wrong: Enum.flat_map(told, & &1.wrong),
      figures: [
        repositories: @repositories,
        hours: Float.round(given.ms * 24 / 3_600_000, 2),
        polls: told |> Enum.map(& &1.polls) |> Enum.sum(),
        pushes: told |> Enum.map(& &1.pushes) |> Enum.sum(),
        median_ms: at(times, 0.5),
        of_100_the_slowest_ms: at(times, 0.99)
      ]
    }
  end

  defp follow(n, server, given) do
    origin = Origin.create!(given, "polled#{n}.git", @files)
    sha = Origin.push!(origin)
    path = Path.join(given.dir, "polled-#{n}")
    follower = %{n: n, server: server, origin: origin, path: path, given: given}
    poll(follower, sha, %{polls: 0, pushes: 0, wrong: [], times: []})
  end

  # Each has its own place in the pause, and keeps to it as far as it can.
  defp poll(follower, sha, told) do
    began = now()

    if began >= follower.given.until do
      told
    else
      push? = rem(told.polls + follower.n, @every) == 0
      sha = if push?, do: Origin.push!(follower.origin), else: sha
      options = [server: follower.server, working_tree: rem(follower.n, 2) == 0]
      poll = fn -> Git.sync(follower.origin.url, "main", follower.path, options) end
      {us, result} = :timer.tc(poll)
      told = %{told | polls: told.polls + 1, times: [us | told.times]}
      told = if push?, do: %{told | pushes: told.pushes + 1}, else: told
      wrong = if result != {:ok, sha}, do: ["poll: #{inspect(result)}, not #{sha}"], else: []
      receive after: (max(0, @pause - (now() - began)) -> :ok)
      poll(follower, sha, %{told | wrong: wrong ++ told.wrong})
    end
  end

  defp at([], _part), do: nil

  defp at(times, part) do
    sorted = Enum.sort(times)
    Float.round(Enum.at(sorted, trunc((length(sorted) - 1) * part)) / 1000, 2)
  end

  defp now, do: System.monotonic_time(:millisecond)
end
