defmodule Alumiini.Git.MetricsTest do
  # The metrics, held against the events that are documented, and against what a call makes of them.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Ops, Telemetry}
  alias Alumiini.Git.Telemetry.Metrics
  alias Alumiini.Git.Test.DocumentedEvents

  # What the reporter of Prometheus calls it.
  defp name(metric), do: Enum.join(metric.name, ".")

  test "each is of a documented event, measurement and tags, and has a name of its own" do
    documented = DocumentedEvents.all()
    metrics = Metrics.metrics()
    assert metrics == Metrics.event_metrics() ++ Metrics.polling_metrics()
    names = Enum.map(metrics, &name/1)
    assert names == Enum.uniq(names)

    for metric <- metrics do
      assert is_map_key(documented, metric.event_name)
      %{measurements: measurements, metadata: metadata} = documented[metric.event_name]
      event = {Map.new(measurements, &{&1, 1_000}), Map.new(metadata, &{&1, :none})}
      assert {name(metric), is_number(measure(metric, event))} == {name(metric), true}
      # Each tag has a text.
      tags = metric.tag_values.(elem(event, 1))
      assert {name(metric), metric.tags -- Map.keys(tags)} == {name(metric), []}
      assert Enum.all?(Map.take(tags, metric.tags), fn {_tag, text} -> is_binary(text) end)
    end
  end

  test "all events but starts are in some metric" do
    measured = for metric <- Metrics.metrics(), uniq: true, do: metric.event_name
    others = Telemetry.events() -- measured
    assert Enum.sort(others) == Enum.sort(for op <- Ops.all(), do: [:alumiini_git, op, :start])
  end

  test "the table in the documentation has their names, kinds and tags" do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Metrics)

    rows =
      for "| `alumiini_git." <> _ = row <- String.split(doc, "\n"),
          [name, kind, tags, more] = row |> String.split("|", trim: true),
          name <- names(String.trim(name, " "), more),
          into: %{},
          do: {name, {String.trim(kind), words(tags)}}

    told =
      for metric <- Metrics.metrics(), into: %{}, do: {name(metric), {kind(metric), metric.tags}}

    assert rows == told
  end

  # `call`, `remote` and `…` stand for several.
  defp names(name, more) do
    name = String.trim(name, "`")

    case String.split(name, ".") do
      ["alumiini_git", "call" | rest] -> for op <- Ops.all(), do: join([op | rest])
      ["alumiini_git", "remote" | rest] -> for op <- remote(), do: join([op | rest])
      ["alumiini_git", "sync" | rest] -> for op <- [:sync, :update], do: join([op | rest])
      ["alumiini_git", of, "info", "…"] -> for field <- words(more), do: join([of, "info", field])
      ["alumiini_git" | rest] -> [join(rest)]
    end
  end

  defp remote, do: [:sync, :update, :ls_remote, :refs]
  defp join(segments), do: Enum.join(["alumiini_git" | segments], ".")

  defp words(cell),
    do: for([_, word] <- Regex.scan(~r/`(\w+)`/, cell), do: String.to_atom(word))

  defp kind(%module{}) do
    case module |> Module.split() |> List.last() do
      "LastValue" -> "last value"
      other -> String.downcase(other)
    end
  end

  test "they tell what happened" do
    stop = fn measurements, metadata ->
      {Map.merge(
         %{duration: 0, queue_time: 0, bytes: 0, objects: 0, requests: 1, retries: 0},
         measurements
       ), Map.merge(%{server: Alumiini.Git, result: :ok, change: nil}, metadata)}
    end

    half = System.convert_time_unit(500, :millisecond, :native)
    assert value("alumiini_git.sync.stop.duration", stop.(%{duration: half}, %{})) == 0.5

    unasked = "alumiini_git.sync.stop.unasked"
    assert value(unasked, stop.(%{requests: 0}, %{})) == 1
    assert value(unasked, stop.(%{requests: 1}, %{})) == 0
    assert value(unasked, stop.(%{requests: 0}, %{result: :timeout})) == 0

    changes = metric("alumiini_git.sync.stop.changes")
    refute changes.keep.(%{change: nil})
    assert changes.keep.(%{change: :none})
  end

  test "tags are short texts, whatever the metadata is" do
    tags = fn name, metadata -> metric(name).tag_values.(metadata) end

    for {reason, text} <- [
          {{:exit_status, 137}, "exit_status 137"},
          {:silent, "silent"},
          {{:port, :epipe}, "{:port, :epipe}"}
        ] do
      assert %{reason: ^text, server: "Alumiini.Git"} =
               tags.("alumiini_git.worker.down.count", %{server: Alumiini.Git, reason: reason})
    end

    assert %{server: "no name", result: "ok"} =
             tags.("alumiini_git.read.stop.duration", %{server: self(), result: :ok})

    assert %{host: "https://git.example.com", server: "{:via, Registry, {R, 1}}"} =
             tags.("alumiini_git.host.info.waiting", %{
               server: {:via, Registry, {R, 1}},
               host: "https://git.example.com"
             })
  end

  defp metric(name), do: Enum.find(Metrics.metrics(), &(name(&1) == name))
  defp value(name, event), do: measure(metric(name), event)

  # As reporters do.
  defp measure(%{measurement: function}, {measurements, _metadata}) when is_function(function, 1),
    do: function.(measurements)

  defp measure(%{measurement: function}, {measurements, metadata}) when is_function(function, 2),
    do: function.(measurements, metadata)

  defp measure(%{measurement: key}, {measurements, _metadata}), do: measurements[key]
end
