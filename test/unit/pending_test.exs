defmodule Alumiini.Git.PendingTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Server.{Backoff, Pending}

  defp pending(ids) do
    Enum.reduce(ids, Pending.new(), fn id, pending ->
      Pending.add(pending, %{
        id: id,
        ref: make_ref(),
        monitor: make_ref(),
        request: %{"path" => "/repo/#{rem(id, 2)}"}
      })
    end)
  end

  defp send_waiting(pending, worker) do
    pending
    |> Pending.waiting()
    |> Enum.reduce(pending, &Pending.place(&2, &1.id, {:worker, worker}))
  end

  defp ids(entries), do: Enum.map(entries, & &1.id)

  test "a request is found by its id, its reference and its monitor, until it is taken" do
    pending = pending([1, 2])
    {:ok, entry} = Pending.fetch(pending, 1)

    assert Pending.id(pending, entry.ref) == {:ok, 1}
    assert Pending.id(pending, entry.monitor) == {:ok, 1}
    assert {%{id: 1}, pending} = Pending.take(pending, 1)
    assert Pending.size(pending) == 1
    assert Pending.take(pending, 1) == :error
    assert Pending.id(pending, entry.ref) == :error
    assert Pending.id(pending, entry.monitor) == :error
    assert ids(Pending.waiting(pending)) == [2]
  end

  test "one that is taken while it waits is not sent, and while it is a suspect not isolated" do
    {_entry, pending} = Pending.take(pending([1, 2, 3]), 2)
    assert ids(Pending.waiting(pending)) == [1, 3]

    pending = Pending.place(pending, 1, :suspect)
    {_entry, pending} = Pending.take(pending, 1)
    assert Pending.next_suspect(pending) == :none
  end

  test "the first death of a worker sends all it had back to wait, in the order they came" do
    pending = send_waiting(pending([3, 1, 2]), :w1)
    assert Pending.in_flight(pending) == 3
    assert {[], 3, pending} = Pending.worker_died(pending, :w1)
    assert ids(Pending.waiting(pending)) == [1, 2, 3]
    assert Pending.in_flight(pending) == 0
  end

  test "what was not at the worker that died is not concerned" do
    pending = send_waiting(pending([1]), :w1)
    pending = Pending.place(pending, 1, {:worker, :w1})
    pending = %{pending | waiting: :gb_sets.new()}
    assert {[], 0, ^pending} = Pending.worker_died(pending, :w2)
  end

  test "in flight at two deaths means being a suspect; waiting at one of them does not" do
    {[], 2, pending} = [1, 2] |> pending() |> send_waiting(:w1) |> Pending.worker_died(:w1)

    pending =
      Pending.add(pending, %{id: 3, ref: make_ref(), monitor: make_ref(), request: %{}})
      |> send_waiting(:w2)

    {[], 3, pending} = Pending.worker_died(pending, :w2)

    assert ids(Pending.suspects(pending)) == [1, 2]
    assert ids(Pending.waiting(pending)) == [3]
    assert {:ok, %{id: 1, deaths: 2}} = Pending.next_suspect(pending)
  end

  test "a suspect that ends the worker it had for itself has exited; its fellows go on" do
    {[], 2, pending} = [1, 2] |> pending() |> send_waiting(:w1) |> Pending.worker_died(:w1)
    {[], 2, pending} = pending |> send_waiting(:w2) |> Pending.worker_died(:w2)

    pending = pending |> Pending.place(1, {:worker, :w3}) |> Pending.place(2, {:worker, :w4})
    assert {[%{id: 1}], 0, pending} = Pending.worker_died(pending, :w3)
    assert {:ok, %{place: {:worker, :w4}}} = Pending.fetch(pending, 2)
    assert Pending.fetch(pending, 1) == :error
  end

  test "a suspect whose worker died before it was sent there stays one, as suspect as before" do
    {[], 1, pending} = [1] |> pending() |> send_waiting(:w1) |> Pending.worker_died(:w1)
    {[], 1, pending} = pending |> send_waiting(:w2) |> Pending.worker_died(:w2)
    pending = Pending.place(pending, 1, {:starting, :w3})
    assert Pending.next_suspect(pending) == :none

    assert {[], 1, pending} = Pending.worker_died(pending, :w3)
    assert {:ok, %{id: 1, deaths: 2}} = Pending.next_suspect(pending)
  end

  test "a repair that several requests share is told once; the next repair is news again" do
    pending = send_waiting(pending([1, 3, 5, 2]), :w1)
    fetch = fn pending, id -> pending |> Pending.fetch(id) |> elem(1) end

    assert {true, pending} = Pending.repaired(pending, fetch.(pending, 1))
    assert {false, pending} = Pending.repaired(pending, fetch.(pending, 3))
    assert {true, pending} = Pending.repaired(pending, fetch.(pending, 2)), "another path"
    assert {true, _pending} = Pending.repaired(pending, fetch.(pending, 3))
  end

  describe "the backoff" do
    test "the first death is free, the next ones cost twice as much each, up to the most" do
      {pauses, _backoff} =
        Enum.map_reduce(1..10, Backoff.new(100, 1_000), fn _death, backoff ->
          Backoff.died(backoff, 1.0)
        end)

      assert pauses == [0, 100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000, 1_000]
    end

    test "a start that fails costs from the first time on; three in a row are hopeless" do
      backoff = Backoff.new(100, 1_000)
      assert {100, backoff} = Backoff.start_failed(backoff, 1.0)
      assert {200, backoff} = Backoff.start_failed(backoff, 1.0)
      refute Backoff.hopeless?(backoff)
      assert {400, backoff} = Backoff.start_failed(backoff, 1.0)
      assert Backoff.hopeless?(backoff)
      refute Backoff.hopeless?(Backoff.up(backoff))
      assert {800, _backoff} = Backoff.start_failed(Backoff.up(backoff), 1.0)
      assert {100, _backoff} = Backoff.start_failed(Backoff.proven(backoff), 1.0)
    end

    test "up to half of a pause is left out at random" do
      for random <- [0.0, 0.3, 0.99] do
        {pause, _backoff} = Backoff.start_failed(Backoff.new(1_000, 10_000), random)
        assert pause in 500..1_000
      end

      assert {500, _} = Backoff.start_failed(Backoff.new(1_000, 10_000), 0.0)
    end

    test "stays at the most for ever" do
      backoff = %{Backoff.new(100, 10_000) | failures: 1_000_000}
      assert {10_000, _backoff} = Backoff.died(backoff, 1.0)
    end
  end
end
