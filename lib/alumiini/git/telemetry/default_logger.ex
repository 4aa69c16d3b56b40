defmodule Alumiini.Git.Telemetry.DefaultLogger do
  @moduledoc false

  # One line in the log for each call that ended, and for what became of workers and repositories.
  # What it writes is what events tell, which holds no secret. Of what was raised it is the kind
  # alone: that is a caller's own.

  alias Alumiini.Git.{Log, OneLine, Ops, RedactedUrl}
  alias Alumiini.Git.Options.Value

  @id "alumiini-git-default-logger"
  @levels [:emergency, :alert, :critical, :error, :warning, :notice, :info, :debug]
  @defaults %{level: :info, error_level: :error, events: :all}
  # A worker that was not needed any more.
  @expected [:done, :shutdown]

  @spec attach([[atom, ...]], keyword) :: :ok | {:error, :already_exists}
  def attach(events, options) do
    config = config!(options)
    events = Enum.filter(events, &wanted?(&1, config.events))
    :telemetry.attach_many(@id, events, &__MODULE__.handle/4, config)
  end

  @spec detach() :: :ok | {:error, :not_found}
  def detach, do: :telemetry.detach(@id)

  defp config!(options) do
    if not Keyword.keyword?(options),
      do: raise(ArgumentError, "the options of attach_default_logger/1 must be a keyword list")

    case Keyword.keys(options) -- Map.keys(@defaults) do
      [] ->
        Enum.each(options, &option!/1)
        Map.merge(@defaults, options |> Enum.reverse() |> Map.new())

      [unknown | _] ->
        raise ArgumentError,
              "unknown option #{inspect(unknown)} of attach_default_logger/1; the known ones " <>
                "are :level, :error_level, :events"
    end
  end

  defp option!({:events, events}) do
    known = [:worker, :repo, :follower | Ops.all()]

    if events != :all and
         not (is_list(events) and events != [] and Enum.all?(events, &(&1 in known))),
       do: Value.wrong!(:events, ":all, or a list of some of #{inspect(known)}", events)
  end

  defp option!({key, level}) do
    if level not in @levels, do: Value.wrong!(key, "one of #{inspect(@levels)}", level)
  end

  defp wanted?([:alumiini_git, _of, :start], _events), do: false
  # It has the events of an `update` beside.
  defp wanted?([:alumiini_git, :follower, :poll], _events), do: false
  # Numbers for a poller, which asks often.
  defp wanted?([:alumiini_git, of, :info], _events) when of in [:server, :host], do: false
  defp wanted?(_event, :all), do: true
  defp wanted?([:alumiini_git, of, _event], events), do: of in events

  @doc false
  @spec handle([atom, ...], map, map, map) :: :ok
  def handle([:alumiini_git, of, event], measurements, metadata, config) do
    level = level({of, event}, metadata, config)
    # No line is made that nobody reads.
    if Log.wanted?(level, __MODULE__) do
      {line, told} = line({of, event}, measurements, metadata)
      Log.line(level, {__MODULE__, :handle, 4}, line, told)
    end

    :ok
  end

  defp level({:worker, :up}, _metadata, config), do: config.level
  defp level({:follower, :move}, _metadata, config), do: config.level

  defp level({:worker, :down}, %{reason: reason}, config) when reason in @expected,
    do: config.level

  defp level({_op, :stop}, %{result: :ok}, config), do: config.level
  defp level(_other, _metadata, config), do: config.error_level

  defp line({:worker, :up}, measurements, worker) do
    ms = milliseconds(measurements.duration)
    {"#{worker(worker)}, version #{worker.version}, was up after #{ms}", %{}}
  end

  defp line({:worker, :down}, _measurements, worker),
    do: {"#{worker(worker)} is down: #{inspect(worker.reason)}", %{}}

  defp line({:repo, :repaired}, _measurements, %{path: path, reason: reason}),
    do: {"the repository #{shown(path)} was damaged and has been built anew: #{reason}", %{}}

  defp line({:follower, :move}, %{changes: changes}, %{from: from, to: to} = move) do
    what = if move.compared, do: "#{changes} changes", else: "anything may have changed"

    line =
      "#{call(Map.put(move, :op, :follower))}: moved from #{from || "nothing"} to #{to}, #{what}"

    {line, %{}}
  end

  defp line({op, :stop}, measurements, call) do
    line = "#{call(call)}: #{call.result}#{work(call, measurements)} in "
    told(line, measurements, %{op: op, result: call.result}, call)
  end

  defp line({op, :exception}, measurements, call) do
    line = "#{call(call)}: #{raised(call.kind, call.reason)} after "
    told(line, measurements, %{op: op, result: :raised}, call)
  end

  defp told(line, %{duration: duration}, told, call) do
    us = System.convert_time_unit(duration, :native, :microsecond)
    told = Map.merge(told, %{duration_us: us, telemetry_metadata: call.telemetry_metadata})
    {line <> milliseconds(duration), told}
  end

  defp worker(worker), do: "the worker #{worker.os_pid} of #{inspect(worker.server)}"

  # These come without secrets, and on one line.
  defp call(%{op: op, url: url, path: path, ref: ref}) do
    [Atom.to_string(op), url, ref && ref(ref), path] |> Enum.reject(&is_nil/1) |> Enum.join(" ")
  end

  defp ref(name) when is_binary(name), do: name
  defp ref(other), do: inspect(other)

  defp work(%{change: change}, %{bytes: bytes}) do
    case Enum.reject([change, bytes > 0 && "#{bytes} bytes"], &(&1 in [nil, false])) do
      [] -> ""
      work -> " (#{Enum.join(work, ", ")})"
    end
  end

  defp raised(:error, %module{}), do: "raised #{inspect(module)}"
  defp raised(:error, _other), do: "raised an error"
  defp raised(:exit, _reason), do: "exited"
  defp raised(:throw, _value), do: "threw"

  defp milliseconds(native) do
    us = System.convert_time_unit(native, :native, :microsecond)
    :erlang.float_to_binary(us / 1000, decimals: 1) <> " ms"
  end

  defp shown(path) when is_binary(path), do: path |> RedactedUrl.clean_text() |> OneLine.escape()
  defp shown(nil), do: "of an unknown path"
end
