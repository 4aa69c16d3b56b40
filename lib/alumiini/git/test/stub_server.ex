defmodule Alumiini.Git.Test.StubServer do
  @moduledoc false

  # Takes the requests that a server takes (`Alumiini.Git.Server.Call`), and has the stubs of the
  # process answer that they belong to: the caller itself, one that is allowed to be its owner, or
  # one that it was started by. Without a name it has one owner, whose stubs are for all who call.
  #
  # Each answer is made in a process of its own, so one that waits for something holds up nobody
  # else.

  use GenServer

  alias Alumiini.Git.{Info, Log}
  alias Alumiini.Git.Server.{Call, Reply, Shared}
  alias Alumiini.Git.Test.{Answers, Arguments, NoStubError}

  @type stub :: {:any | atom, (term -> term) | term}

  @spec start(pid) :: pid
  def start(owner) do
    {:ok, server} = GenServer.start(__MODULE__, {:of, owner})
    server
  end

  @spec start_link(GenServer.name()) :: GenServer.on_start()
  def start_link(name), do: GenServer.start_link(__MODULE__, {:named, name}, name: name)

  @spec stub(GenServer.server(), [stub]) :: :ok
  def stub(server, stubs), do: GenServer.call(server, {:stub, self(), stubs})

  @spec allow(GenServer.server(), pid, term) :: :ok
  def allow(server, owner, allowed), do: GenServer.call(server, {:allow, owner, allowed})

  @spec calls(GenServer.server()) :: [{atom, map}]
  def calls(server), do: GenServer.call(server, {:calls, self()})

  @impl true
  def init(kind) do
    state = %{kind: kind, owners: %{}, allowed: [], running: %{}}

    case kind do
      {:of, owner} -> {:ok, own(state, owner)}
      {:named, _name} -> {:ok, state}
    end
  end

  @impl true
  def handle_call({:stub, owner, stubs}, _from, state) do
    state = state |> own(owner) |> update_in([:owners, owner, :stubs], &(stubs ++ &1))
    {:reply, :ok, state}
  end

  def handle_call({:allow, owner, allowed}, _from, state),
    do: {:reply, :ok, %{own(state, owner) | allowed: [{allowed, owner} | state.allowed]}}

  def handle_call({:calls, asking}, _from, state) do
    calls =
      case state.owners[owner(state, asking)] do
        %{calls: calls} -> Enum.reverse(calls)
        nil -> []
      end

    {:reply, calls, state}
  end

  # What followers share, they share with those of the same test.
  def handle_call({Shared, question}, {asking, _tag}, state) do
    case owner(state, asking) do
      nil ->
        error = NoStubError.no_follower(asking, name(state))
        Log.line(:error, {__MODULE__, :handle_call, 3}, Exception.message(error))
        {:reply, {:error, :unreachable}, state}

      owner ->
        {answer, shared} = Shared.answer(state.owners[owner].shared, question, name(state))

        {:reply, answer,
         state |> put_in([:owners, owner, :shared], shared) |> shared(answer, owner)}
    end
  end

  def handle_call(_unknown, _from, state), do: {:reply, {:error, :unknown_call}, state}

  # This process starts them, and is nobody's.
  defp shared(state, {:ok, pid}, owner) when is_pid(pid),
    do: %{state | allowed: Enum.uniq([{pid, owner} | state.allowed])}

  defp shared(state, _answer, _owner), do: state

  defp own(%{kind: {:of, owner}} = state, _any), do: owned(state, owner)
  defp own(state, owner), do: owned(state, owner)

  defp owned(state, owner) when is_map_key(state.owners, owner), do: state

  defp owned(state, owner) do
    monitor = Process.monitor(owner)

    put_in(state, [:owners, owner], %{
      monitor: monitor,
      stubs: [],
      calls: [],
      shared: Shared.new()
    })
  end

  @impl true
  def handle_info({Call, kind, %{ref: _, caller: _, op: _, request: %{}} = request}, state)
      when kind in [:request, :lease] do
    {op, arguments} = Arguments.from_call(request.op, request.request)

    case owner(state, request.caller) do
      nil ->
        error = NoStubError.no_owner(op, arguments, request.caller, name(state))
        {:noreply, raise_in(state, request, :error, error)}

      owner ->
        state = update_in(state, [:owners, owner, :calls], &[{op, arguments} | &1])
        {:noreply, answer(state, owner, {kind, request}, {op, arguments})}
    end
  end

  # There is no worker; what has no answer yet is with a stub.
  def handle_info({Call, :info, %{ref: _, caller: _} = request}, state) do
    pending = map_size(state.running)
    info = %Info{pending: pending, in_flight: pending, queued: 0, workers: 0, attempts: 0}
    Reply.result(request, {:ok, info})
    {:noreply, state}
  end

  def handle_info({Call, :cancel, ref}, state) do
    {_running, state} = stop(state, &(&1.request.ref == ref))
    {:noreply, state}
  end

  def handle_info({:deadline, ref}, state) do
    {running, state} = stop(state, &(&1.request.ref == ref))
    if running, do: Reply.timeout(running.request)
    {:noreply, state}
  end

  def handle_info({:DOWN, monitor, :process, pid, reason}, state) do
    case pop_in(state, [:running, monitor]) do
      {nil, state} when is_map_key(state.owners, pid) ->
        owner_down(state, pid)

      {nil, state} ->
        {:noreply, shared_down(state, monitor, pid)}

      {running, state} ->
        _ = Process.cancel_timer(running.timer)
        # It has answered, unless somebody ended it.
        if reason == :normal,
          do: {:noreply, state},
          else: {:noreply, raise_in(state, running.request, :exit, reason)}
    end
  end

  def handle_info(_unknown, state), do: {:noreply, state}

  defp owner_down(%{kind: {:of, owner}} = state, owner), do: {:stop, :normal, state}

  defp owner_down(state, owner) do
    allowed = Enum.reject(state.allowed, &match?({_allowed, ^owner}, &1))
    {:noreply, %{state | owners: Map.delete(state.owners, owner), allowed: allowed}}
  end

  defp shared_down(state, monitor, pid) do
    owners =
      Map.new(state.owners, fn {owner, of} ->
        {owner, %{of | shared: Shared.down(of.shared, monitor)}}
      end)

    allowed = Enum.reject(state.allowed, &match?({^pid, _owner}, &1))
    %{state | owners: owners, allowed: allowed}
  end

  ## Whose stubs

  defp owner(%{kind: {:of, owner}}, _caller), do: owner

  defp owner(state, caller) do
    allowed = for {allowed, owner} <- state.allowed, pid = pid(allowed), do: {pid, owner}

    Enum.find_value([caller | started_by(caller)], fn pid ->
      cond do
        owner = List.keyfind(allowed, pid, 0) -> elem(owner, 1)
        is_map_key(state.owners, pid) -> pid
        true -> nil
      end
    end)
  end

  # Those that `Task` and others note, the supervisors of a process up to the test that began them,
  # and whoever spawned it. The caller waits for an answer, so it is there.
  defp started_by(caller) when node(caller) == node() do
    Enum.uniq(noted(caller) ++ spawned_by(caller, []))
  end

  defp started_by(_on_another_node), do: []

  defp noted(caller) do
    case Process.info(caller, :dictionary) do
      {:dictionary, dictionary} ->
        for key <- [:"$callers", :"$ancestors"],
            {^key, processes} when is_list(processes) <- [List.keyfind(dictionary, key, 0)],
            process <- processes,
            pid = pid(process),
            do: pid

      nil ->
        []
    end
  end

  defp spawned_by(pid, found) do
    case node(pid) == node() and Process.info(pid, :parent) do
      {:parent, parent} when is_pid(parent) -> spawned_by(parent, [parent | found])
      _none -> Enum.reverse(found)
    end
  end

  defp pid(pid) when is_pid(pid), do: pid

  defp pid(name) do
    case GenServer.whereis(name) do
      pid when is_pid(pid) -> pid
      _nowhere -> nil
    end
  rescue
    # The registry of a `{:via, module, name}` is not running.
    ArgumentError -> nil
  end

  defp name(%{kind: {:named, name}}), do: name
  defp name(_state), do: self()

  ## Answers

  defp answer(state, owner, {kind, request}, {op, arguments} = call) do
    stubs = state.owners[owner].stubs
    name = name(state)
    callers = [request.caller | started_by(request.caller)]

    {pid, monitor} =
      spawn_monitor(fn ->
        Process.put(:"$callers", callers)

        try do
          case asked(stubs, call) do
            {:ok, result} -> told(kind, request, call, result)
            :none -> raise(NoStubError.no_answer(op, arguments, name))
          end
        catch
          kind, reason -> send(request.ref, {request.ref, :raise, kind, reason})
        end
      end)

    timer = Process.send_after(self(), {:deadline, request.ref}, request.timeout)
    put_in(state, [:running, monitor], %{pid: pid, request: request, timer: timer})
  end

  # The newest one that has something to say.
  defp asked(stubs, {op, arguments} = call) do
    Enum.find_value(stubs, :none, fn
      {:any, function} -> applied(function, call)
      {^op, function} when is_function(function, 1) -> applied(function, arguments)
      {^op, result} -> {:ok, result}
      {_other, _result} -> nil
    end)
  end

  # A function none of whose clauses takes the call leaves it to another stub.
  defp applied(function, argument) do
    {:ok, function.(argument)}
  rescue
    error in FunctionClauseError ->
      if of?(function, error, __STACKTRACE__), do: nil, else: reraise(error, __STACKTRACE__)
  end

  defp of?(function, error, [{module, name, _arguments, _place} | _callers]) do
    {:module, of} = Function.info(function, :module)
    {:name, called} = Function.info(function, :name)

    # Of a function that is evaluated, the name is that of the evaluator.
    {error.module, error.function} == {module, name} and of == module and
      (called == name or of == :erl_eval)
  end

  defp told(kind, %{ref: ref} = request, {op, arguments}, result) do
    case Answers.reply(op, arguments, result) do
      {:answer, %{"ok" => true}} when kind == :lease ->
        # Nothing is kept: this process is gone when the lease is given back, and the stub of
        # `release` is asked.
        kept = %{"ok" => true, "lease" => "stub", "keeper" => self()}
        Reply.result(request, {:ok, kept})

      {:answer, reply} ->
        Reply.answer(request, reply)

      {:error, reason, message, final?} ->
        send(ref, {ref, :error, reason, message, final?})

      :wrong ->
        raise NoStubError.wrong(op, arguments, result)
    end
  end

  defp raise_in(state, request, kind, reason) do
    send(request.ref, {request.ref, :raise, kind, reason})
    state
  end

  defp stop(state, which?) do
    case Enum.find(state.running, fn {_monitor, running} -> which?.(running) end) do
      nil ->
        {nil, state}

      {monitor, running} ->
        Process.demonitor(monitor, [:flush])
        Process.exit(running.pid, :kill)
        _ = Process.cancel_timer(running.timer)
        {running, %{state | running: Map.delete(state.running, monitor)}}
    end
  end
end
