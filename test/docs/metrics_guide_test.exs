defmodule Alumiini.Git.MetricsGuideTest do
  # Runs the examples of guides/metrics.md, and holds the names of metrics in it and in grafana.json
  # to those that there are. Not async: it starts the server of the default name, and the log is
  # everybody's.
  use Alumiini.Git.Test.GuideCase, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Telemetry
  alias Alumiini.Git.Telemetry.Metrics

  @guide "guides/metrics.md"
  @dashboard "guides/grafana.json"

  setup context do
    on_exit(&Telemetry.detach_default_logger/0)
    [logger, filter, slow, children, prom_ex, page] = blocks!(@guide, context)

    %{
      logger: logger,
      filter: filter,
      slow: slow,
      children: children,
      prom_ex: prom_ex,
      page: page
    }
  end

  test "the logger writes a line for each sync, and the filter leaves them out", context do
    id = __MODULE__
    :ok = :logger.add_handler(id, id, %{config: %{test: self()}})
    on_exit(fn -> :logger.remove_handler(id) end)
    run([context.logger])
    server = Git.Test.stub(sync: {:ok, context.sha})
    sync = fn -> Git.sync(context.url, "main", "/srv", server: server) end
    capture_log(sync)
    assert_received {:logged, "sync " <> _line}

    run([String.replace(context.filter, ":default", inspect(id))])
    capture_log(sync)
    refute_received {:logged, _line}
  end

  # Of `:logger`.
  def log(%{msg: {:string, line}, meta: %{domain: [:alumiini_git]}}, %{config: %{test: test}}),
    do: send(test, {:logged, to_string(line)})

  def log(_other, _config), do: :ok

  test "the handler tells of slow syncs", context do
    [slow] = compile!(context.slow)
    slow.attach()
    on_exit(fn -> :telemetry.detach("shop-slow-syncs") end)
    start_supervised!(Git)
    assert capture_log(fn -> Git.sync(context.url, "main", context.path) end) == ""

    event = [:alumiini_git, :sync, :stop]
    second = System.convert_time_unit(1_000, :millisecond, :native)
    measured = %{duration: 6 * second, queue_time: 2 * second, bytes: 17}
    log = capture_log(fn -> :telemetry.execute(event, measured, %{url: context.url}) end)
    assert log =~ "slow: #{context.url}, 2000 ms of it in the queue, 17 bytes"
  end

  test "the poller asks for what is there", context do
    {_value, bindings} = run([context.children])
    [Git, {:telemetry_poller, poller}, {TelemetryMetricsPrometheus, reporter}] = bindings[:children]
    assert reporter == [metrics: Metrics.metrics()]
    start_supervised!(Git)
    # A call waits until its worker is up.
    assert {:ok, _refs} = Git.refs(context.url)
    assert [%{up: 1}] = polled(poller[:measurements])
  end

  test "the plugin has all metrics, and asks for the numbers", context do
    [plugin] = compile!(context.prom_ex)
    events = plugin.event_metrics([])
    assert events.metrics == Metrics.event_metrics()
    polling = plugin.polling_metrics(server: Alumiini.Git)
    assert polling.metrics == Metrics.polling_metrics()
    assert polling.group_name != events.group_name
    start_supervised!(Git)
    assert [%{up: up}] = polled([polling.measurements_mfa])
    assert up in 0..1
  end

  test "the page has a row for each host", context do
    [page] = compile!(context.page)
    assert page.menu_link(%{}, %{}) == {:ok, "Git"}
    [{".live_table", table} | columns] = page.render(%{page: :page})
    assert table[:page] == :page
    fields = for {":col", attributes} <- columns, do: attributes[:field]
    assert fields -- Map.keys(struct(Git.Info.Host)) == []

    by = %{search: nil, sort_by: :host, sort_dir: :asc, limit: 50}
    assert table[:row_fetcher].(by, node()) == {[], 0}

    start_supervised!(Git)
    hold = HttpServer.rule(context.http, :hold)
    call = Task.async(fn -> Git.refs(context.url) end)
    HttpServer.await(context.http, {:parked, hold, 1})
    assert {[row], 1} = table[:row_fetcher].(by, node())
    assert row[:running] == 1
    assert Enum.all?(fields, &is_map_key(row, &1))
    assert {[], 0} = table[:row_fetcher].(%{by | search: "example.com"}, node())
    assert {[], 1} = table[:row_fetcher].(%{by | limit: 0}, node())
    Task.shutdown(call, :brutal_kill)
  end

  # What the functions that a poller calls make of the server's numbers.
  defp polled(measurements) do
    id = make_ref()
    event = [:alumiini_git, :server, :info]
    :ok = :telemetry.attach(id, event, &__MODULE__.tell/4, {self(), id})
    for {module, function, arguments} <- measurements, do: apply(module, function, arguments)
    :telemetry.detach(id)
    told(id)
  end

  def tell(_event, measurements, _metadata, {test, id}), do: send(test, {id, measurements})

  defp told(id) do
    receive do
      {^id, measurements} -> [measurements | told(id)]
    after
      0 -> []
    end
  end

  ## Names

  test "each metric that the guide and the dashboard name is there" do
    for page <- [@guide, @dashboard] do
      named = for [name] <- Regex.scan(~r/\balumiini_git_\w+/, Document.read!(page)), do: name
      assert length(named) > 5

      unknown =
        Enum.uniq(named) -- ["alumiini_git_event_metrics", "alumiini_git_polling_metrics" | names()]

      assert {page, unknown} == {page, []}
    end
  end

  test "the dashboard is JSON, and each panel asks for something" do
    {:ok, dashboard} = Jason.decode(Document.read!(@dashboard))
    panels = Enum.reject(dashboard["panels"], &(&1["type"] == "row"))
    assert length(panels) > 10

    for panel <- panels do
      assert {panel["title"], panel["targets"] != []} == {panel["title"], true}
      for target <- panel["targets"], do: assert(target["expr"] =~ "alumiini_git_")
      # No two lie upon each other.
      place = panel["gridPos"]
      assert place["x"] + place["w"] <= 24
    end

    places = for panel <- panels, do: Map.take(panel["gridPos"], ["x", "y"])
    assert places == Enum.uniq(places)
    ids = for panel <- dashboard["panels"], do: panel["id"]
    assert ids == Enum.uniq(ids)
  end

  # As the reporter of Prometheus calls them.
  defp names do
    for metric <- Metrics.metrics(),
        name = Enum.join(metric.name, "_"),
        suffix <- suffixes(metric),
        do: name <> suffix
  end

  defp suffixes(%Elixir.Telemetry.Metrics.Distribution{}), do: ["_bucket", "_sum", "_count"]
  defp suffixes(_other), do: [""]
end
