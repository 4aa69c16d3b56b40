defmodule Alumiini.Git.FollowerRulesTest do
  # The parts of a follower that are pure.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Change, Error}
  alias Alumiini.Git.Follower.{Paths, Pokes, Schedule, Subscribers}

  describe "paths" do
    test "are compared name by name" do
      assert Paths.normalize!(:all) == [""]
      assert Paths.normalize!("./deploy//base/") == ["deploy/base"]
      assert Paths.normalize!(["a", "a/", "b"]) == ["a", "b"]
      assert Paths.normalize!(["a", "."]) == [""]
      assert Paths.normalize!(<<"a/", 255>>) == [<<"a/", 255>>]
    end

    test "take what is at or below them, each change once, in the order of the changes" do
      changes = for path <- ["a", "a-b", "a/b/c", "a/b/d", "ab/c", "z"], do: change(path)
      index = Paths.index(changes)

      for paths <- [[""], ["a"], ["a/b"], ["a", "a/b"], ["ab", "a/b/d"], ["b"], ["z", "a-b"], []] do
        expected = Enum.filter(changes, fn %{path: path} -> Enum.any?(paths, &below?(path, &1)) end)
        assert {paths, Paths.pick(index, paths)} == {paths, expected}
      end

      assert Paths.pick(Paths.index([]), [""]) == []
    end

    defp below?(_path, ""), do: true
    defp below?(path, dir), do: path == dir or String.starts_with?(path, dir <> "/")
  end

  defp change(path), do: %Change{status: :modified, path: path}

  describe "the schedule" do
    test "varies the interval by a tenth to either side" do
      assert Schedule.interval(30_000, 0.0) == 27_000
      assert Schedule.interval(30_000, 0.5) == 30_000
      assert Schedule.interval(30_000, 1.0) == 33_000
    end

    test "spreads those that are started together, within the interval" do
      assert Schedule.first(0, 30_000, 0.9) == 0
      assert Schedule.first(500, 30_000, 0.9) == 500
      assert Schedule.first(50_000, 30_000, 0.5) == 15_000
    end

    test "looks again soon after what may go away by itself, and then less and less often" do
      error = Error.new(:network, :update, "gone")
      pauses = for n <- 1..12, do: elem(Schedule.error(error, n, 30_000, 600_000, 1.0), 0)
      assert Enum.take(pauses, 5) == [1_000, 2_000, 4_000, 8_000, 16_000]
      assert List.last(pauses) == 600_000
      assert {500, 0} = Schedule.error(error, 1, 30_000, 600_000, 0.0)
      # No longer than the interval at first.
      assert {10, 0} = Schedule.error(error, 1, 10, 600_000, 1.0)
      assert {600_000, 0} = Schedule.error(error, 1_000, 30_000, 600_000, 1.0)
    end

    test "waits longer than the interval after what somebody has to put right" do
      error = Error.new(:auth, :update, "no")
      pauses = for n <- 1..6, do: elem(Schedule.error(error, n, 30_000, 600_000, 1.0), 0)
      assert pauses == [120_000, 240_000, 480_000, 600_000, 600_000, 600_000]
      assert {60_000, 0} = Schedule.error(error, 1, 30_000, 600_000, 0.0)
      # Also where the longest pause is shorter than that.
      assert {60_000, 0} = Schedule.error(error, 9, 30_000, 1_000, 1.0)
      limited = Error.new(:rate_limited, :update, "slow down")
      assert Schedule.error(limited, 1, 30_000, 600_000, 0.0) == {60_000, 0}
    end

    test "takes a server at its word, up to a day" do
      error = Error.new(:rate_limited, :update, "slow down", %{retry_after: 300})
      assert Schedule.error(error, 1, 30_000, 600_000, 0.0) == {300_000, 300_000}
      assert Schedule.error(error, 1, 30_000, 600_000, 1.0) == {330_000, 300_000}
      never = Error.new(:rate_limited, :update, "slow down", %{retry_after: 1_000_000_000})
      assert {pause, 86_400_000} = Schedule.error(never, 1, 30_000, 600_000, 1.0)
      # A timer takes it.
      assert pause < 4_294_967_295
    end
  end

  describe "pokes" do
    test "are taken by the poll that begins, and those that come later want one more" do
      {:poll, pokes} = Pokes.add(%Pokes{}, nil, nil)
      pokes = Pokes.take(pokes)
      assert Pokes.pending(pokes) == 1
      assert {:rest, %Pokes{}} = Pokes.found(pokes, "a", [])
      pokes = Enum.reduce(1..3, pokes, fn _, pokes -> elem(Pokes.add(pokes, nil, nil), 1) end)
      assert Pokes.pending(pokes) == 4
      assert {:now, pokes} = Pokes.found(pokes, "a", [])
      assert {:rest, pokes} = pokes |> Pokes.take() |> Pokes.found("a", [])
      assert Pokes.pending(pokes) == 0
    end

    test "with a commit are satisfied by it, however late they come" do
      assert {:none, _pokes} = Pokes.add(%Pokes{}, "b", "b")
      pokes = Pokes.take(%Pokes{})
      {:poll, pokes} = Pokes.add(pokes, "b", "a")
      assert {:rest, pokes} = Pokes.found(pokes, "b", ["a"])
      assert Pokes.pending(pokes) == 0
    end

    test "look for a commit that is not there, a few times" do
      {:poll, pokes} = Pokes.add(%Pokes{}, "b", "a")
      pokes = Pokes.take(pokes)
      assert Pokes.hint(pokes) == "b"

      {pauses, pokes} =
        Enum.map_reduce(1..5, pokes, fn _, pokes ->
          assert {{:soon, pause}, pokes} = Pokes.found(pokes, "a", [])
          {pause, Pokes.take(pokes)}
        end)

      assert pauses == Enum.sort(pauses) and Enum.sum(pauses) < 10_000
      assert {:rest, %Pokes{wanted: []}} = Pokes.found(pokes, "a", [])
    end

    test "do not look for what was there before, nor for what is older than what is there" do
      {:poll, pokes} = Pokes.add(%Pokes{}, "a", "b")
      assert {:rest, _pokes} = pokes |> Pokes.take() |> Pokes.found("b", ["a"])
      {:poll, pokes} = Pokes.add(%Pokes{}, "b", "a")
      {:poll, pokes} = Pokes.add(pokes, "c", "a")
      pokes = Pokes.take(pokes)
      assert Pokes.hint(pokes) == "c"
      assert {:rest, %Pokes{wanted: []}} = Pokes.found(pokes, "c", [])
      assert {{:soon, _pause}, %Pokes{wanted: ["c"]} = pokes} = Pokes.found(pokes, "b", [])
      # It was asked for by its id, and the remote does not have it yet.
      assert Pokes.hint(pokes) == nil
      assert {:none, %Pokes{wanted: []}} = Pokes.add(pokes, "d", "d")
    end

    test "that name very many commits are as one that names none" do
      pokes = Enum.reduce(1..1_000, %Pokes{}, &elem(Pokes.add(&2, "#{&1}", "a"), 1))
      assert Pokes.pending(pokes) == 1_000
      assert length(pokes.named) == 16
      assert {:now, _pokes} = Pokes.found(pokes, "1000", [])
    end

    test "outlive a poll that fails" do
      {:poll, pokes} = Pokes.add(%Pokes{}, "b", "a")
      assert {:rest, pokes} = pokes |> Pokes.take() |> Pokes.failed()
      assert Pokes.hint(pokes) == "b"
      {:poll, pokes} = Pokes.add(Pokes.take(pokes), nil, "a")
      assert {:now, _pokes} = Pokes.failed(pokes)
    end
  end

  describe "subscribers" do
    defp subscriber(pid, paths, told),
      do: %{pid: pid, monitor: make_ref(), as: :f, paths: paths, errors?: false, told: told}

    defp put(subscribers, n, paths, told),
      do: Subscribers.put(subscribers, subscriber(pid(n), paths, told))

    defp pid(n), do: :erlang.list_to_pid(~c"<0.#{n}.0>")
    defp told(tell), do: for({%{pid: pid}, changes} <- tell, into: %{}, do: {pid, changes})

    test "are told of the moves from where they are, below their paths" do
      {subscribers, ["a"], []} = put(%Subscribers{}, 1, ["a"], "1")
      {subscribers, [""], []} = put(subscribers, 2, [""], "1")
      {subscribers, ["b"], []} = put(subscribers, 3, ["b", "a"], "0")
      {subscribers, [], []} = put(subscribers, 4, ["b"], nil)
      changes = [change("a/x")]
      {tell, subscribers} = Subscribers.moved(subscribers, "1", "2", changes, 3)
      assert told(tell) == %{pid(1) => changes, pid(2) => changes}
      assert Enum.sort(Subscribers.behind(subscribers, "2")) == Enum.sort([nil, "0"])
      {tell, subscribers} = Subscribers.moved(subscribers, "0", "2", changes, 3)
      assert told(tell) == %{pid(3) => changes}
      {tell, subscribers} = Subscribers.moved(subscribers, nil, "2", :all, 0)
      assert told(tell) == %{pid(4) => :all}
      assert Subscribers.behind(subscribers, "2") == []
      {tell, _subscribers} = Subscribers.moved(subscribers, "2", "3", [], 3)
      assert told(tell) == %{pid(2) => []}
    end

    test "whose paths came after a move was filtered are not told of it" do
      {subscribers, _new, []} = put(%Subscribers{}, 1, ["a"], "1")
      before = subscribers.version
      {subscribers, ["b"], []} = put(subscribers, 2, ["b"], "1")
      {tell, subscribers} = Subscribers.moved(subscribers, "1", "2", [change("a")], before)
      assert told(tell) == %{pid(1) => [change("a")]}
      assert Subscribers.behind(subscribers, "2") == ["1"]
    end

    test "share paths, which are watched until the last one goes" do
      {subscribers, ["a"], []} = put(%Subscribers{}, 1, ["a"], "1")
      {subscribers, [], []} = put(subscribers, 2, ["a"], "1")
      {subscribers, []} = Subscribers.remove(subscribers, pid(1))
      {subscribers, ["b"], ["a"]} = put(subscribers, 2, ["b"], "1")
      {subscribers, ["b"]} = Subscribers.remove(subscribers, pid(2))
      assert {Subscribers.watched(subscribers), Subscribers.size(subscribers)} == {[], 0}
      assert {_subscribers, []} = Subscribers.remove(subscribers, pid(2))
    end
  end
end
