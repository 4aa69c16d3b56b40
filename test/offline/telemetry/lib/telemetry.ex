defmodule :telemetry do
  @moduledoc """
  A stand-in for the Hex package `telemetry`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the documented functions of telemetry 1.x that `alumiini_git` and its tests call. It is
  never published.
  """

  require Logger

  @table __MODULE__

  def execute(event, measurements), do: execute(event, measurements, %{})

  def execute(event, measurements, metadata) when is_map(measurements) and is_map(metadata) do
    for {_event, {id, function, config}} <- :ets.lookup(@table, event) do
      try do
        function.(event, measurements, metadata, config)
      catch
        kind, reason ->
          detach(id)

          Logger.error(
            "Handler #{inspect(id)} has failed and has been detached: #{inspect({kind, reason})}"
          )
      end
    end

    :ok
  end

  def span(prefix, metadata, function) do
    metadata = Map.put_new(metadata, :telemetry_span_context, make_ref())
    start = System.monotonic_time()
    began = %{monotonic_time: start, system_time: System.system_time()}
    execute(prefix ++ [:start], began, metadata)

    ended = fn ->
      stop = System.monotonic_time()
      %{duration: stop - start, monotonic_time: stop}
    end

    try do
      function.()
    catch
      kind, reason ->
        told = %{kind: kind, reason: reason, stacktrace: __STACKTRACE__}
        execute(prefix ++ [:exception], ended.(), Map.merge(metadata, told))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      {result, told} -> spanned(prefix, ended.(), %{}, metadata, told, result)
      {result, measured, told} -> spanned(prefix, ended.(), measured, metadata, told, result)
    end
  end

  defp spanned(prefix, ended, measured, metadata, told, result) do
    told = Map.put_new(told, :telemetry_span_context, metadata.telemetry_span_context)
    execute(prefix ++ [:stop], Map.merge(measured, ended), told)
    result
  end

  def attach(id, event, function, config), do: attach_many(id, [event], function, config)

  def attach_many(id, events, function, config) when is_list(events) and is_function(function, 4) do
    if Enum.any?(:ets.tab2list(@table), &match?({_event, {^id, _function, _config}}, &1)) do
      {:error, :already_exists}
    else
      :ets.insert(@table, for(event <- events, do: {event, {id, function, config}}))
      :ok
    end
  end

  def detach(id) do
    case :ets.match_object(@table, {:_, {id, :_, :_}}) do
      [] ->
        {:error, :not_found}

      handlers ->
        Enum.each(handlers, &:ets.delete_object(@table, &1))
        :ok
    end
  end

  def list_handlers(prefix) do
    for {event, {id, function, config}} <- :ets.tab2list(@table),
        List.starts_with?(event, prefix) do
      %{id: id, event_name: event, function: function, config: config}
    end
  end
end

defmodule :telemetry_app do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link([{Agent, &table/0}], strategy: :one_for_one)
  end

  defp table, do: :ets.new(:telemetry, [:bag, :public, :named_table, read_concurrency: true])
end
