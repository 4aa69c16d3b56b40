defmodule Alumiini.Git.Server.LeaseKeeper do
  @moduledoc false

  # The process that keeps a lease: it takes it for its owner, refreshes it, and gives it back when
  # the owner ends or asks for that. One for each lease, on the server's node.
  #
  # It is no part of the server and not linked to it, for the lease is to outlive both a worker and
  # a server that is restarted: it calls the server by its name, as anybody does. A server without a
  # name does not come back, and takes its keepers with it. What a keeper could not give back (the
  # whole BEAM died, or the server stopped) the worker drops, an hour after the last refresh.
  #
  # Only one process speaks of a lease, so that a refresh or a request that is late cannot overtake
  # the release.

  alias Alumiini.Git.Error
  alias Alumiini.Git.Server.{Call, Reply}

  # Six times in the hour after which the worker drops what was not refreshed.
  @refresh 600_000
  # Nobody waits for these.
  @timeout 60_000
  # The server holds the deadline of a release.
  @margin 200
  # After these it may be that the worker took the lease all the same.
  @uncertain [:timeout, :cancelled, :worker_unavailable, :worker_exited]

  @doc "Starts one that takes a lease as a caller asked for it, and answers the caller."
  @spec start(term, Call.request()) :: :ok
  def start(server, request) do
    _pid = spawn(__MODULE__, :init, [server, request])
    :ok
  end

  @doc "Gives a lease back: what the worker said, or `:gone` where there is no keeper any more."
  @spec release(pid, pos_integer) :: {:ok, map} | {:error, Error.t()} | :gone | :late
  def release(keeper, timeout) do
    ref = :erlang.monitor(:process, keeper, alias: :explicit_unalias)
    send(keeper, {__MODULE__, :release, ref, timeout})

    result =
      receive do
        {^ref, result} -> result
        {:DOWN, ^ref, :process, ^keeper, _reason} -> :gone
      after
        timeout + @margin -> :late
      end

    :erlang.unalias(ref)
    Process.demonitor(ref, [:flush])

    receive do
      {^ref, _late} -> result
    after
      0 -> result
    end
  end

  @doc false
  @spec init(term, Call.request()) :: :ok
  def init(server, request) do
    wire = Map.put(request.request, "lease", id())

    state = %{
      server: server,
      server_monitor: if(is_pid(server), do: Process.monitor(server)),
      owner_monitor: Process.monitor(request.caller),
      wire: wire
    }

    timeout = max(1, Call.deadline(request) - System.monotonic_time(:millisecond))

    case Call.run(server, wire, timeout: timeout) do
      {:ok, %{"ok" => true} = reply} ->
        kept = %{"lease" => wire["lease"], "keeper" => self()}
        Reply.result(request, {:ok, Map.merge(reply, kept)})
        keep(state)

      {:error, %Error{reason: reason}} = failed when reason in @uncertain ->
        Reply.result(request, failed)
        _ = give_back(state, @timeout)
        :ok

      failed ->
        Reply.result(request, failed)
    end
  end

  # This process has random numbers of its own, of which the seed is of this node and moment. Those
  # of the owner may be the same on every run.
  defp id,
    do: 0xFFFF_FFFF_FFFF_FFFF |> :rand.uniform() |> Integer.to_string(16) |> String.downcase()

  defp keep(state) do
    timer = Process.send_after(self(), :refresh, @refresh)
    next = wait(state)
    _ = Process.cancel_timer(timer)

    case next do
      :keep -> keep(state)
      :end -> :ok
    end
  end

  defp wait(%{owner_monitor: owner, server_monitor: server} = state) do
    receive do
      :refresh ->
        # What fails now may not the next time.
        _ = Call.run(state.server, state.wire, timeout: @timeout)
        :keep

      {__MODULE__, :release, ref, timeout} ->
        result = give_back(state, timeout)
        send(ref, {ref, result})
        if match?({:ok, %{"ok" => true}}, result), do: :end, else: :keep

      {:DOWN, ^owner, :process, _pid, _reason} ->
        _ = give_back(state, @timeout)
        :end

      {:DOWN, ^server, :process, _pid, _reason} ->
        :end

      _unknown ->
        :keep
    end
  end

  defp give_back(state, timeout) do
    request = state.wire |> Map.take(["path", "lease"]) |> Map.put("op", "release")
    Call.run(state.server, request, timeout: timeout)
  end
end
