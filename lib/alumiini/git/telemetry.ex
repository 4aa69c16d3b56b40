defmodule Alumiini.Git.Telemetry do
  @moduledoc """
  The [telemetry](https://github.com/beam-telemetry/telemetry) events of this library.

  In the table `op` stands for each of #{Enum.map_join(Alumiini.Git.Ops.all(), ", ", &"`#{&1}`")}.
  `events/0` lists all of them, ready for `:telemetry.attach_many/4`. A test reads this table and
  holds it true.

  | event | measurements | metadata |
  | --- | --- | --- |
  | `[:alumiini_git, op, :start]` | `system_time` `monotonic_time` | `op` `server` `url` `path` `ref` `telemetry_metadata` `telemetry_span_context` |
  | `[:alumiini_git, op, :stop]` | `duration` `queue_time` `monotonic_time` `bytes` `objects` `requests` `retries` | `op` `server` `url` `path` `ref` `result` `change` `telemetry_metadata` `telemetry_span_context` |
  | `[:alumiini_git, op, :exception]` | `duration` `monotonic_time` | `op` `server` `url` `path` `ref` `kind` `reason` `stacktrace` `telemetry_metadata` `telemetry_span_context` |
  | `[:alumiini_git, :worker, :up]` | `system_time` `monotonic_time` `duration` | `server` `os_pid` `version` `attempt` `isolated` |
  | `[:alumiini_git, :worker, :down]` | `system_time` `monotonic_time` `uptime` | `server` `os_pid` `version` `attempt` `isolated` `reason` |
  | `[:alumiini_git, :repo, :repaired]` | `system_time` `monotonic_time` | `server` `path` `reason` |
  | `[:alumiini_git, :server, :info]` | `up` `pending` `in_flight` `queued` `workers` `attempts` | `server` `result` `version` `target` |
  | `[:alumiini_git, :host, :info]` | `running` `waiting` `limit` `failing` `held_for` `open` | `server` `host` `proxy` `circuit` |
  | `[:alumiini_git, :follower, :poll]` | `duration` `monotonic_time` `followers` | `server` `url` `path` `ref` `result` `moved` `poked` |
  | `[:alumiini_git, :follower, :move]` | `system_time` `monotonic_time` `changes` | `server` `url` `path` `ref` `from` `to` `compared` |

  Times and durations are in native units (`System.convert_time_unit/3`), but for `held_for`.

  ## Calls

  Executed in the process that calls, as `:telemetry.span/3` does. A call that returns an error
  stops like any other, with its reason in `result`; `:exception` is for calls that raise, which only a `:progress` function, one
  given as `:auth` or, in tests, a stub can make them. A call whose `:auth` function is asked a
  second time is one call. Wrong options raise before the start.

    * `op` - the function, as an atom
    * `server` - the `:server` option as it was given
    * `url` - of `sync`, `update`, `ls_remote` and `refs`, without credentials, query and fragment;
      of what is no URL its scheme (`https:[hidden]`); otherwise `nil`
    * `path` - the repository's directory; `nil` for `ls_remote` and `refs`
    * `ref` - the ref as it was given; for `checkout` the revision, for `diff` the second one, for
      `lease` and `release` the commit, and for calls that take `:at` or `:from` what was given
      there; otherwise `nil`
    * `result` - `:ok`, or a `t:Alumiini.Git.Error.reason/0`
    * `telemetry_metadata` - the `:telemetry_metadata` of the call, as it was given; an empty map if
      there was none
    * `change` - for `sync` and `update` that did not fail, what was done: `:none` (there was
      nothing new; files may have been put right), `:updated`, `:cloned` or `:repaired`; otherwise
      `nil`
    * `bytes` - for `read` the size of the file; for `snapshot` that of all contents that it holds,
      for `export` that of all files that were written; for `sync` and `update` what came over the
      network for it; otherwise 0
    * `objects` - for `sync` and `update` how many objects came; otherwise 0
    * `queue_time` - how much of `duration` its requests waited for their turn at the remote's host
      (see "Requests to one host" in `Alumiini.Git.Options`); 0 for calls that talk to no remote,
      and for those that end with `:timeout`, of which the worker does not tell
    * `requests` - how many requests were made to the remote for it, each a round trip at least. 0
      where the answer was there already (the commit that `{:commit, sha}` names, say), or came
      with that of another call that wanted the same: the sum over all calls is what remotes were
      asked. Counted for calls of which the worker tells, as `queue_time`
    * `retries` - how many requests were made once more: on a new connection, since the one that was
      there had ended; at a later turn, since the host was slow; by the next worker, since the one
      before ended; or since `:auth` gave new credentials
    * `telemetry_span_context` - the same reference in the events of one call
    * `kind`, `reason`, `stacktrace` - what was raised, as `try`/`catch` has it, without the
      arguments of functions

  ## Workers

  Executed in the server, so a slow handler delays every call: send a message instead.

    * `server` - the name of the server, or its pid if it has none
    * `os_pid` - the process id of the worker, `nil` if it could not be started
    * `version` - of the worker, `nil` if it never told
    * `attempt` - counts the workers that this server started, from 1
    * `isolated` - whether it was started for one request that had been in flight when two others
      ended
    * `reason` - why it is down: `{:exit_status, status}` (128 and the signal's number if a signal
      killed it), `{:port, posix}`, `:enoent`, `:eacces`, `:enoexec` or another reason for which it
      was not started, `:protocol`, `:handshake_timeout`, `:garbage`, `:unresponsive` (it did not
      let go of a cancelled request), `:silent` (it did not answer for as long as `:heartbeat`
      says), `:writer`, `:done` (an isolated one that is not needed any more), `:shutdown` (the
      server stops), `:server_down` (the server was killed; that is told by another process)
    * `duration` - from its start to its answer to the handshake
    * `uptime` - since then; 0 if it was never up

  ## Repositories

  `[:alumiini_git, :repo, :repaired]` tells that a damaged repository has been built anew: once for
  each time, however many calls shared the work. Executed in the server. `path` is its directory and
  `reason` a sentence.

  ## Numbers of a server

  Executed by `dispatch_info/2`, in the process that calls it: the fields of `Alumiini.Git.Info`
  and, for each host that is told there, `Alumiini.Git.Info.Host`. A host of which there is nothing to
  tell any more is told of once more, with zeros.

    * `up` - 1 if a worker is up, 0 if not
    * `result` - `:ok`, or why the server did not tell, a `t:Alumiini.Git.Error.reason/0`; then all
      measurements are 0
    * `held_for` - in milliseconds; 0 if the host may be asked
    * `open` - 1 if the host could not be reached, 0 if not

  ## Followers

  Executed in the process that all followers of the same share (`Alumiini.Git.Follower`), on the
  server's node. A poll has the events of its `update` beside, and a move those of its `diff`, each
  in a process of its own.

    * `server` - the name of the server, or its pid if it has none
    * `url`, `path`, `ref` - what is followed, as above
    * `followers` - how many share the poll
    * `result` - `:ok`, or a `t:Alumiini.Git.Error.reason/0`
    * `moved` - whether the poll found another commit than the one before
    * `poked` - whether somebody asked for the poll
    * `from`, `to` - the commits of a move that was told to the followers. Moves that come quickly
      are one
    * `changes` - how many files differ below what is subscribed to
    * `compared` - whether the two could be compared. Where not, `changes` is 0, and subscribers are
      told that anything may have changed

  ## Logs

  The guide [Telemetry and metrics](metrics.md) has handlers, metrics and what to be alarmed by.

  The library logs nothing of calls by itself. `attach_default_logger/1` has each of them logged.
  What it does log, a worker that ends for one, has the metadata `domain: [:alumiini_git]`, too.
  """

  alias Alumiini.Git.{OneLine, Ops, Stacktrace, Tally}
  alias Alumiini.Git.Options
  alias Alumiini.Git.Telemetry.{DefaultLogger, ServerInfo}

  @doc """
  The names of all events.

      events = Alumiini.Git.Telemetry.events()
      :telemetry.attach_many("git-metrics", events, &MyApp.Metrics.handle/4, nil)
  """
  @spec events() :: [[atom, ...]]
  def events do
    for(op <- Ops.all(), event <- [:start, :stop, :exception], do: [:alumiini_git, op, event]) ++
      [
        [:alumiini_git, :worker, :up],
        [:alumiini_git, :worker, :down],
        [:alumiini_git, :repo, :repaired],
        [:alumiini_git, :server, :info],
        [:alumiini_git, :host, :info],
        [:alumiini_git, :follower, :poll],
        [:alumiini_git, :follower, :move]
      ]
  end

  @doc """
  Has one line logged for each call that ends, each worker that starts or ends, and each repository
  that is repaired, until `detach_default_logger/0`. Called once, when the application starts:

      :ok = Alumiini.Git.Telemetry.attach_default_logger(events: [:sync, :update, :worker, :repo])

  Returns `{:error, :already_exists}` where it is attached already.

  ## Options

    * `:level` - of calls that succeed, of workers that start, and of those that are not needed any
      more. Default: `:info`
    * `:error_level` - of all else. Default: `:error`
    * `:events` - `:all`, or a list of functions (`:sync`, `:read`, …), `:worker`, `:repo` and
      `:follower` (the moves; each poll is an `:update`). Default: `:all`

  ## Lines

  What is logged is in the events: no secret, no line break, and of what was raised its kind alone.

      sync https://git.example.com/shop.git main /var/lib/shop: ok (updated, 5120 bytes) in 48.1 ms
      read /var/lib/shop: path_not_found in 0.2 ms
      the worker 4857 of Alumiini.Git is down: {:exit_status, 137}

  Each has the logger metadata `domain: [:alumiini_git]`, by which a filter of a handler can take or
  leave it (`:logger_filters.domain/2`). Calls have `op`, `result` (`:raised` for those that raise),
  `duration_us` and `telemetry_metadata`, too.
  """
  @spec attach_default_logger(
          level: Logger.level(),
          error_level: Logger.level(),
          events: :all | [atom]
        ) :: :ok | {:error, :already_exists}
  def attach_default_logger(options \\ []), do: DefaultLogger.attach(events(), options)

  @doc "Ends what `attach_default_logger/1` began."
  @spec detach_default_logger() :: :ok | {:error, :not_found}
  def detach_default_logger, do: DefaultLogger.detach()

  @doc """
  Executes `[:alumiini_git, :server, :info]` with what `Alumiini.Git.info/2` tells of a server, and
  `[:alumiini_git, :host, :info]` for each host that it asks. For a poller:

      {:telemetry_poller,
       period: 10_000, measurements: [{Alumiini.Git.Telemetry, :dispatch_info, [Alumiini.Git]}]}

  A server that does not run, or does not tell in time, has `up` 0. Options are those of
  `Alumiini.Git.info/2`; with `hosts: false` hosts are left out, and the worker is not asked.
  """
  @spec dispatch_info(GenServer.server(), [Options.info()]) :: :ok
  def dispatch_info(server \\ Alumiini.Git, options \\ []),
    do: ServerInfo.dispatch(server, Keyword.put_new(options, :hosts, true))

  # Runs a call. The function returns the result and the bytes it is about, or other measurements
  # and metadata.
  @doc false
  @spec call(atom, map, function) :: {:ok, term} | {:error, Alumiini.Git.Error.t()}
  def call(op, metadata, function) do
    metadata =
      %{op: op, url: nil, path: nil, ref: nil, telemetry_metadata: %{}}
      |> Map.merge(metadata)
      |> Map.put(:telemetry_span_context, make_ref())

    start = System.monotonic_time()

    execute([op, :start], %{system_time: System.system_time(), monotonic_time: start}, metadata)

    outer = Tally.begin()

    try do
      function.()
    catch
      kind, reason ->
        _ = Tally.finish(outer)
        stop = System.monotonic_time()

        stacktrace = Stacktrace.without_arguments(__STACKTRACE__)
        raised = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: stacktrace})
        execute([op, :exception], %{duration: stop - start, monotonic_time: stop}, raised)
        :erlang.raise(kind, reason, stacktrace)
    else
      {result, bytes} when is_integer(bytes) ->
        measured = Map.put(Tally.finish(outer), :bytes, bytes)
        stop(op, start, metadata, result, measured, %{})

      {result, measured, told} ->
        measured = Map.merge(measured, Tally.finish(outer))
        stop(op, start, metadata, result, measured, told)
    end
  end

  defp stop(op, start, metadata, result, measured, told) do
    stop = System.monotonic_time()

    measurements =
      Map.merge(%{duration: stop - start, monotonic_time: stop, bytes: 0, objects: 0}, measured)

    metadata = Map.merge(metadata, %{result: outcome(result), change: nil})
    execute([op, :stop], measurements, Map.merge(metadata, told))
    result
  end

  defp outcome({:ok, _value}), do: :ok
  defp outcome({:error, %{reason: reason}}), do: reason

  @doc false
  @spec worker_up(term, map) :: :ok
  def worker_up(server, worker) do
    measurements = Map.put(now(), :duration, worker.up_at - worker.opened_at)
    execute([:worker, :up], measurements, worker_metadata(server, worker))
  end

  @doc false
  @spec worker_down(term, map, term) :: :ok
  def worker_down(server, worker, reason) do
    now = now()
    uptime = if worker.up_at, do: now.monotonic_time - worker.up_at, else: 0
    metadata = worker |> then(&worker_metadata(server, &1)) |> Map.put(:reason, reason)
    execute([:worker, :down], Map.put(now, :uptime, uptime), metadata)
  end

  @doc false
  @spec repaired(term, binary | nil, binary) :: :ok
  def repaired(server, path, reason) do
    execute([:repo, :repaired], now(), %{server: server, path: path, reason: OneLine.escape(reason)})
  end

  @doc false
  @spec follower_poll(term, map, map) :: :ok
  def follower_poll(server, remote, poll) do
    stop = System.monotonic_time()

    measurements = %{
      duration: stop - poll.began,
      monotonic_time: stop,
      followers: poll.followers
    }

    told = %{result: poll.result, moved: poll.moved?, poked: poll.poked?}
    execute([:follower, :poll], measurements, Map.merge(followed(server, remote), told))
  end

  @doc false
  @spec follower_move(term, map, String.t(), String.t(), list | :all) :: :ok
  def follower_move(server, remote, from, to, changes) do
    count = if is_list(changes), do: length(changes), else: 0
    told = %{from: from, to: to, compared: is_list(changes)}
    metadata = Map.merge(followed(server, remote), told)
    execute([:follower, :move], Map.put(now(), :changes, count), metadata)
  end

  defp followed(server, remote),
    do: %{server: server, url: remote.url, path: remote.shown, ref: remote.ref}

  defp worker_metadata(server, worker) do
    %{
      server: server,
      os_pid: worker.os_pid,
      version: worker.version,
      attempt: worker.attempt,
      isolated: worker.job != :main
    }
  end

  defp now, do: %{system_time: System.system_time(), monotonic_time: System.monotonic_time()}

  defp execute(event, measurements, metadata) do
    :telemetry.execute([:alumiini_git | event], measurements, metadata)
  end
end
