defmodule :syn do
  @moduledoc """
  A stand-in for the Hex package `syn`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the documented functions of syn 3 that `examples/fleet` calls, over OTP's `:pg`, which is
  as consistent as syn is: each node has its own view, and all come to the same. It lacks metadata
  and times of registration, so names that are registered twice need a handler that decides. It is
  never published.
  """

  def add_node_to_scopes(scopes) do
    for scope <- scopes do
      spec = %{id: scope, start: {:syn_scope, :start_link, [scope]}}

      case Supervisor.start_child(:syn_sup, spec) do
        {:ok, _pid} -> :ok
        {:error, {:already_started, _pid}} -> :ok
      end
    end

    :ok
  end

  def set_event_handler(module), do: Application.put_env(:syn, :event_handler, module)

  ## Names

  def lookup(scope, name) do
    case :pg.get_members(:syn_scope.pg(scope), {:name, name}) do
      [] -> :undefined
      [pid | _conflicting] -> {pid, :undefined}
    end
  end

  def register(scope, name, pid, _meta) do
    case lookup(scope, name) do
      {^pid, _meta} -> :ok
      :undefined -> if register_name({scope, name}, pid) == :yes, do: :ok, else: {:error, :taken}
      _other -> {:error, :taken}
    end
  end

  # Decided by one process, as two of one node may want the same.
  def register_name({scope, name}, pid),
    do: GenServer.call(:syn_scope.name(scope), {:yes, name, pid})

  def unregister_name({scope, name}) do
    case lookup(scope, name) do
      {pid, _meta} -> :pg.leave(:syn_scope.pg(scope), {:name, name}, pid)
      :undefined -> :ok
    end
  end

  def whereis_name({scope, name}) do
    case lookup(scope, name) do
      {pid, _meta} -> pid
      :undefined -> :undefined
    end
  end

  def send({scope, name}, message) do
    case whereis_name({scope, name}) do
      :undefined -> :erlang.error({:badarg, {{scope, name}, message}})
      pid -> Kernel.send(pid, message)
    end
  end

  ## Groups

  def join(scope, group, pid), do: :pg.join(:syn_scope.pg(scope), {:group, group}, pid)

  def leave(scope, group, pid) do
    case :pg.leave(:syn_scope.pg(scope), {:group, group}, pid) do
      :ok -> :ok
      :not_joined -> {:error, :not_in_group}
    end
  end

  def members(scope, group) do
    members = :pg.get_members(:syn_scope.pg(scope), {:group, group})
    for pid <- members, do: {pid, :undefined}
  end
end

defmodule :syn_event_handler do
  @moduledoc false
  @callback on_process_joined(atom, term, pid, term, term) :: any
  @callback on_process_left(atom, term, pid, term, term) :: any
  @callback resolve_registry_conflict(atom, term, {pid, term, integer}, {pid, term, integer}) :: pid
  @optional_callbacks on_process_joined: 5, on_process_left: 5, resolve_registry_conflict: 4
end

defmodule :syn_scope do
  @moduledoc false
  use GenServer

  def start_link(scope), do: GenServer.start_link(__MODULE__, scope, name: name(scope))
  def name(scope), do: :"syn_scope_#{scope}"
  def pg(scope), do: :"syn_pg_#{scope}"

  @impl true
  def init(scope) do
    {:ok, _pid} = :pg.start_link(pg(scope))
    {monitor, _groups} = :pg.monitor_scope(pg(scope))
    {:ok, {scope, monitor}}
  end

  @impl true
  def handle_call({:yes, name, pid}, _from, {scope, _monitor} = state) do
    case :syn.lookup(scope, name) do
      :undefined ->
        :ok = :pg.join(pg(scope), {:name, name}, pid)
        {:reply, :yes, state}

      _taken ->
        {:reply, :no, state}
    end
  end

  @impl true
  def handle_info({monitor, event, {:group, group}, pids}, {scope, monitor} = state) do
    callback = if event == :join, do: :on_process_joined, else: :on_process_left
    for pid <- pids, do: tell(callback, [scope, group, pid, :undefined, :normal])
    {:noreply, state}
  end

  def handle_info({monitor, :join, {:name, name}, _pids}, {scope, monitor} = state) do
    with [one, other] <- :pg.get_members(pg(scope), {:name, name}),
         true <- node() in [node(one), node(other)] do
      conflict = [scope, name, {one, :undefined, 0}, {other, :undefined, 0}]
      kept = tell(:resolve_registry_conflict, conflict)

      for pid <- [one, other],
          pid != kept,
          node(pid) == node(),
          do: :pg.leave(pg(scope), {:name, name}, pid)
    end

    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp tell(callback, arguments) do
    with {:ok, handler} <- Application.fetch_env(:syn, :event_handler),
         {:module, ^handler} <- Code.ensure_loaded(handler),
         true <- function_exported?(handler, callback, length(arguments)),
         do: apply(handler, callback, arguments)
  end
end

defmodule :syn_app do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args), do: Supervisor.start_link([], strategy: :one_for_one, name: :syn_sup)
end
