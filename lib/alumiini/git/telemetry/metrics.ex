if Code.ensure_loaded?(Telemetry.Metrics) do
  defmodule Alumiini.Git.Telemetry.Metrics do
    @moduledoc """
    The events of this library as metrics of
    [Telemetry.Metrics](https://github.com/beam-telemetry/telemetry_metrics), for any reporter of
    these: Prometheus, StatsD, LiveDashboard.

        {TelemetryMetricsPrometheus, metrics: Alumiini.Git.Telemetry.Metrics.metrics()}

    It is there where `telemetry_metrics` is among your dependencies. (If you add that later,
    compile this library anew: `mix deps.compile alumiini_git --force`.)

    The guide [Telemetry and metrics](metrics.md) has a plugin for PromEx, a page for LiveDashboard,
    a dashboard for Grafana, and what to be alarmed by.

    ## Metrics

    `call` stands for each function of `Alumiini.Git` that is a call, such as `sync` or `read`, and
    `remote` for those that ask a remote: `sync`, `update`, `ls_remote` and `refs`. Of reporters,
    that of Prometheus joins names with `_`.

    | name | kind | tags | |
    | --- | --- | --- | --- |
    | `alumiini_git.call.stop.duration` | distribution | `server` `result` | seconds |
    | `alumiini_git.call.exception.count` | counter | `server` `kind` | calls that raised |
    | `alumiini_git.remote.stop.queue_time` | distribution | `server` | seconds in the queue of a host |
    | `alumiini_git.remote.stop.requests` | sum | `server` | requests to remotes |
    | `alumiini_git.remote.stop.retries` | sum | `server` | requests that were made again |
    | `alumiini_git.remote.stop.unasked` | sum | `server` | calls that succeeded without a request |
    | `alumiini_git.sync.stop.bytes` | sum | `server` | bytes of objects that came; of `update`, too |
    | `alumiini_git.sync.stop.changes` | counter | `server` `change` | what was done; of `update`, too |
    | `alumiini_git.worker.up.count` | counter | `server` | workers that started |
    | `alumiini_git.worker.down.count` | counter | `server` `reason` | workers that ended |
    | `alumiini_git.repo.repaired.count` | counter | `server` | repositories that were built anew |
    | `alumiini_git.follower.poll.count` | counter | `server` `result` | polls of followers |
    | `alumiini_git.follower.move.count` | counter | `server` | moves that followers told |
    | `alumiini_git.server.info.…` | last value | `server` | `up` `pending` `in_flight` `queued` `workers` |
    | `alumiini_git.host.info.…` | last value | `server` `host` | `running` `waiting` `limit` `failing` `held_for` `open` |

    No URL, path or ref is a tag: each would be a series of its own. The last two need a poller
    (`Alumiini.Git.Telemetry.dispatch_info/2`).
    """

    import Telemetry.Metrics, only: [counter: 2, distribution: 2, last_value: 2, sum: 2]

    alias Alumiini.Git.Ops

    @remote [:sync, :update, :ls_remote, :refs]
    @syncs [:sync, :update]
    # In seconds. "Nothing new" is some milliseconds, a clone may be minutes.
    @buckets [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
    @server [:up, :pending, :in_flight, :queued, :workers]
    @host [:running, :waiting, :limit, :failing, :held_for, :open]

    @doc "All metrics."
    @spec metrics() :: [Telemetry.Metrics.t()]
    def metrics, do: event_metrics() ++ polling_metrics()

    @doc "Those of events that happen by themselves."
    @spec event_metrics() :: [Telemetry.Metrics.t()]
    def event_metrics do
      Enum.flat_map(Ops.all(), &call/1) ++
        Enum.flat_map(@remote, &remote/1) ++ Enum.flat_map(@syncs, &sync/1) ++ others()
    end

    @doc "Those of what a poller asks for, `Alumiini.Git.Telemetry.dispatch_info/2`."
    @spec polling_metrics() :: [Telemetry.Metrics.t()]
    def polling_metrics do
      for(field <- @server, do: number("server", field, [:server])) ++
        for field <- @host, do: number("host", field, [:server, :host])
    end

    defp call(op) do
      [
        distribution("alumiini_git.#{op}.stop.duration",
          unit: {:native, :second},
          description: "Duration of #{op}.",
          tags: [:server, :result],
          tag_values: &tags/1,
          reporter_options: [buckets: @buckets]
        ),
        counter("alumiini_git.#{op}.exception.count",
          measurement: :duration,
          description: "How often #{op} raised.",
          tags: [:server, :kind],
          tag_values: &tags/1
        )
      ]
    end

    defp remote(op) do
      [
        distribution("alumiini_git.#{op}.stop.queue_time",
          unit: {:native, :second},
          description: "How long #{op} waited for its turn at hosts.",
          tags: [:server],
          tag_values: &tags/1,
          reporter_options: [buckets: @buckets]
        ),
        sum("alumiini_git.#{op}.stop.requests",
          description: "Requests that #{op} made to remotes.",
          tags: [:server],
          tag_values: &tags/1
        ),
        sum("alumiini_git.#{op}.stop.retries",
          description: "Requests that #{op} made again.",
          tags: [:server],
          tag_values: &tags/1
        ),
        sum("alumiini_git.#{op}.stop.unasked",
          measurement: &unasked/2,
          description: "Calls of #{op} that succeeded without a request of their own.",
          tags: [:server],
          tag_values: &tags/1
        )
      ]
    end

    defp sync(op) do
      [
        sum("alumiini_git.#{op}.stop.bytes",
          unit: :byte,
          description: "Bytes of objects that came for #{op}.",
          tags: [:server],
          tag_values: &tags/1
        ),
        counter("alumiini_git.#{op}.stop.changes",
          measurement: :duration,
          description: "What #{op} did, where it did not fail.",
          tags: [:server, :change],
          tag_values: &tags/1,
          keep: &(&1.change != nil)
        )
      ]
    end

    defp others do
      [
        happened("worker.up", [:server], "Workers that started."),
        happened("worker.down", [:server, :reason], "Workers that ended."),
        happened("repo.repaired", [:server], "Damaged repositories that were built anew."),
        happened("follower.poll", [:server, :result], "Polls of followers."),
        happened("follower.move", [:server], "Moves that followers told.")
      ]
    end

    defp happened(event, tags, description) do
      counter("alumiini_git.#{event}.count",
        measurement: :monotonic_time,
        description: description,
        tags: tags,
        tag_values: &tags/1
      )
    end

    defp number(of, field, tags) do
      last_value("alumiini_git.#{of}.info.#{field}",
        description: "The field #{field} of a #{of}.",
        tags: tags,
        tag_values: &tags/1
      )
    end

    defp unasked(%{requests: 0}, %{result: :ok}), do: 1
    defp unasked(_measurements, _metadata), do: 0

    # A reporter makes text of them, of which atoms and strings alone are sure to have some.
    defp tags(metadata) do
      for key <- [:server, :reason, :kind, :result, :change, :host],
          is_map_key(metadata, key),
          into: %{},
          do: {key, tag(metadata[key])}
    end

    defp tag(value) when is_binary(value), do: value
    defp tag({:exit_status, status}), do: "exit_status #{status}"
    # A server without a name is another one after each restart.
    defp tag(server) when is_pid(server), do: "no name"
    # `Alumiini.Git`, but `ok`.
    defp tag(atom) when is_atom(atom), do: atom |> inspect() |> String.trim_leading(":")
    defp tag(value), do: inspect(value)
  end
end
