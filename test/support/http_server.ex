defmodule Alumiini.Git.Test.HttpServer do
  @moduledoc """
  A real Git server on loopback: HTTP/1.1 in front of `git http-backend`, for every repository under
  a directory.

      server = start_supervised!({HttpServer, root: root})
      HttpServer.url(server, "shop.git")

  Tests make it misbehave with `rule/3`, and follow what happens with `await/3`, `notify/2`, `log/1`
  and `stats/1`: no test needs to sleep.
  """

  use GenServer

  alias Alumiini.Git.Test.GitCommand
  alias Alumiini.Git.Test.HttpServer.{Connection, Counters, Rules}

  @acceptors 32

  @type server :: GenServer.server()
  @type condition ::
          {:requests, pos_integer}
          | {:requests, pos_integer, keyword}
          | {:connections, pos_integer}
          | {:open, non_neg_integer}
          | {:parked, pos_integer}
          | {:parked, Rules.id(), pos_integer}
          | {:pack_bytes, pos_integer}

  @doc """
  Starts a server. Options:

    * `:root` - the directory of the repositories (required)
    * `:tls` - options for `:ssl.handshake/2`, see `Alumiini.Git.Test.Certificates`
    * `:port` - a fixed port, to come back where another server was
    * `:host` - the name in `url/2`, `"127.0.0.1"`, or `"localhost"` with TLS
    * `:config` - Git configuration of the server, `[{"uploadpack.allowFilter", "false"}]`
    * `:log` - `false` keeps no log, for benchmarks
    * `:stderr` - `:inherit` shows what Git says there, and saves the shell that otherwise hides it
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options =
      Keyword.validate!(options, [
        :root,
        :tls,
        :host,
        :name,
        port: 0,
        config: [],
        log: true,
        stderr: :hide
      ])

    GenServer.start_link(__MODULE__, options, Keyword.take(options, [:name]))
  end

  @doc "Several servers may run under one supervisor."
  def child_spec(options) do
    %{
      id: {__MODULE__, make_ref()},
      start: {__MODULE__, :start_link, [options]},
      restart: :temporary
    }
  end

  @spec url(server, String.t()) :: String.t()
  def url(server, repository \\ "") do
    base_url(server) <> "/" <> repository
  end

  @doc "The URL with credentials in it."
  @spec url(server, String.t(), {String.t(), String.t()}) :: String.t()
  def url(server, repository, {user, password}) do
    [scheme, rest] = server |> url(repository) |> String.split("://")

    encoded =
      Enum.map_join([user, password], ":", &URI.encode(&1, fn c -> URI.char_unreserved?(c) end))

    "#{scheme}://#{encoded}@#{rest}"
  end

  @spec base_url(server) :: String.t()
  def base_url(server), do: GenServer.call(server, :base_url)

  @spec port(server) :: :inet.port_number()
  def port(server), do: GenServer.call(server, :port)

  @doc """
  Adds a rule to all requests, or with options to some: `:path` (a repository, or a regex), `:on`
  (`:info_refs`, `:upload_pack` or `:receive_pack`), `:skip` and `:first` (leave out the first so
  many, then apply to so many). Actions:

    * `{:require, {:basic, user, password}}`, `{:require, {:bearer, token}}` - 401 otherwise
    * `{:status, code}`, `{:status, code, body}`, `{:status, code, headers, body}` - instead of
      Git's answer
    * `:html` - 200 and a web page
    * `{:redirect, code, repository_url}` - the rest of the request's path is appended
    * `:silent` - read the request and never answer
    * `:hold` - answer after `release/2`
    * `{:cut, :close | :reset}` - end the connection instead of an answer
    * `:no_v2` - a server that speaks protocol v0 only
    * `{:config, pairs}` - Git configuration for these requests
    * `{:stop, {:pack | :body, n}, then}` - send `n` bytes, then `:stall`, `:hold` (until
      `release/2`), `:close`, `:reset`, or `:finish` (end the HTTP answer as if it were whole)
    * `{:corrupt, n}` - flip a bit in byte `n` of the pack, leaving its pkt-lines whole
    * `{:trickle, :head | :body | :pack, bytes, milliseconds}` - from there on, so many bytes each
      so often
    * `{:chunks, n}` - send at most `n` bytes at a time
    * `{:framing, :content_length}` - instead of chunks
    * `{:header, name, value}` - one more in the answer
    * `:close_after` - end the connection after the answer, without announcing it
    * `{:drop_next, :close | :reset}` - keep it, but end it once the next request has been read
  """
  @spec rule(server, term, keyword) :: Rules.id()
  def rule(server, action, options \\ []), do: ok!(GenServer.call(server, {:rule, action, options}))

  @doc "Opens the gate of a `:hold` rule, for those who wait there and for those who will come."
  @spec release(server, Rules.id()) :: :ok
  def release(server, rule), do: GenServer.call(server, {:release, rule})

  @doc "Removes a rule. What waits at its gate keeps waiting."
  @spec remove(server, Rules.id()) :: :ok
  def remove(server, rule), do: GenServer.call(server, {:remove, rule})

  @doc "Removes all rules, the log and the counts."
  @spec reset(server) :: :ok
  def reset(server), do: GenServer.call(server, :reset)

  @doc """
  Waits until a condition holds; raises with the server's counts if it does not come true in time.

    * `{:requests, n}`, `{:requests, n, path: …, on: …}` - that many requests were read
    * `{:connections, n}` - that many connections were accepted, `{:open, n}` - so many are open now
    * `{:parked, n}`, `{:parked, rule, n}` - that many connections wait at a gate, stall or stay
      silent now
    * `{:pack_bytes, n}` - that many bytes of packs were sent
  """
  @spec await(server, condition, timeout) :: :ok
  def await(server, condition, timeout \\ 10_000) do
    ref = notify(server, condition)

    receive do
      {^ref, :reached} -> :ok
    after
      timeout ->
        GenServer.call(server, {:forget, ref})

        # It may have come in between.
        receive do
          {^ref, :reached} -> :ok
        after
          0 -> raise "#{inspect(condition)} not reached in #{timeout} ms; #{inspect(stats(server))}"
        end
    end
  end

  @doc "As `await/3`, by message: `{ref, :reached}`."
  @spec notify(server, condition) :: reference
  def notify(server, condition), do: ok!(GenServer.call(server, {:notify, condition}))

  @doc "The requests so far, oldest first. `at` is when, in milliseconds of the monotonic clock."
  @spec log(server) :: [map]
  def log(server), do: GenServer.call(server, :log)

  @doc """
  Counts: connections, requests, bytes_in, bytes_out, pack_bytes, open, parked. Bytes are HTTP's,
  not those of TLS.
  """
  @spec stats(server) :: %{atom => non_neg_integer}
  def stats(server), do: GenServer.call(server, :stats)

  @spec ok!({:ok, result} | {:error, Exception.t()}) :: result when result: term
  defp ok!({:ok, result}), do: result
  defp ok!({:error, error}), do: raise(error)

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    if options[:tls], do: {:ok, _} = Application.ensure_all_started(:ssl)

    {:ok, listener} =
      :gen_tcp.listen(options[:port], [
        :binary,
        ip: {127, 0, 0, 1},
        active: false,
        reuseaddr: true,
        nodelay: true,
        backlog: 1024
      ])

    {:ok, port} = :inet.port(listener)
    table = :ets.new(__MODULE__, [:public, read_concurrency: true])
    :ets.insert(table, {:rules, []})

    shared = %{
      table: table,
      counters: Counters.new(),
      tls: options[:tls],
      root: Path.expand(options[:root]),
      environment: GitCommand.environment(),
      config: [
        {"safe.directory", "*"},
        {"http.receivepack", "true"},
        {"uploadpack.allowFilter", "true"},
        {"uploadpack.allowAnySHA1InWant", "true"} | options[:config]
      ],
      http_backend: String.to_charlist(Path.join(GitCommand.exec_path(), "git-http-backend")),
      stderr: options[:stderr],
      log?: options[:log]
    }

    scheme = if options[:tls], do: "https", else: "http"
    host = options[:host] || if(options[:tls], do: "localhost", else: "127.0.0.1")

    state = %{
      connection: %Connection{server: self(), listener: listener, shared: shared},
      base_url: "#{scheme}://#{host}:#{port}",
      port: port,
      next_rule: 1,
      rules: [],
      released: MapSet.new(),
      open: MapSet.new(),
      parked: %{},
      log: [],
      waiting: []
    }

    for _ <- 1..@acceptors, do: start_acceptor(state)
    {:ok, state}
  end

  defp start_acceptor(state), do: spawn_link(Connection, :run, [state.connection])

  @impl true
  def handle_call(:base_url, _from, state), do: {:reply, state.base_url, state}
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:log, _from, state), do: {:reply, Enum.reverse(state.log), state}
  def handle_call(:stats, _from, state), do: {:reply, counts(state), state}

  def handle_call({:rule, action, options}, _from, state) do
    rule = Rules.build(state.next_rule, action, options)
    {:reply, {:ok, rule.id}, put_rules(%{state | next_rule: rule.id + 1}, state.rules ++ [rule])}
  rescue
    error in [ArgumentError, FunctionClauseError] -> {:reply, {:error, error}, state}
  end

  def handle_call({:remove, id}, _from, state) do
    {:reply, :ok, put_rules(state, Enum.reject(state.rules, &(&1.id == id)))}
  end

  def handle_call({:release, id}, _from, state) do
    for {pid, ^id} <- state.parked, do: send(pid, {:release, id})
    parked = for {pid, gate} <- state.parked, gate != id, into: %{}, do: {pid, gate}
    {:reply, :ok, check(%{state | parked: parked, released: MapSet.put(state.released, id)})}
  end

  def handle_call(:reset, _from, state) do
    counters = state.connection.shared.counters
    for {name, n} <- Counters.all(counters), do: Counters.add(counters, name, -n)
    {:reply, :ok, put_rules(%{state | log: []}, [])}
  end

  def handle_call({:notify, condition}, {pid, _tag}, state) do
    ref = make_ref()
    if match?({:pack_bytes, _}, condition), do: watch_pack(state, 1)
    # Raises here, not later in the server, where the condition is none.
    reached?(condition, state)
    {:reply, {:ok, ref}, check(%{state | waiting: [{ref, pid, condition} | state.waiting]})}
  rescue
    error in [FunctionClauseError] -> {:reply, {:error, error}, state}
  end

  def handle_call({:forget, ref}, _from, state) do
    {gone, waiting} = Enum.split_with(state.waiting, fn {r, _, _} -> r == ref end)
    for {_, _, {:pack_bytes, _}} <- gone, do: watch_pack(state, -1)
    {:reply, :ok, %{state | waiting: waiting}}
  end

  @impl true
  def handle_info({:accepted, pid}, state) do
    start_acceptor(state)
    {:noreply, check(%{state | open: MapSet.put(state.open, pid)})}
  end

  def handle_info({:request, nil}, state), do: {:noreply, check(state)}

  def handle_info({:request, entry}, state),
    do: {:noreply, check(%{state | log: [entry | state.log]})}

  def handle_info(:pack_bytes, state), do: {:noreply, check(state)}

  def handle_info({:parked, pid, gate}, state) do
    if MapSet.member?(state.released, gate) do
      send(pid, {:release, gate})
      {:noreply, state}
    else
      {:noreply, check(%{state | parked: Map.put(state.parked, pid, gate)})}
    end
  end

  def handle_info({:EXIT, pid, _reason}, state) do
    {:noreply,
     check(%{state | open: MapSet.delete(state.open, pid), parked: Map.delete(state.parked, pid)})}
  end

  defp put_rules(state, rules) do
    :ets.insert(state.connection.shared.table, {:rules, rules})
    %{state | rules: rules}
  end

  defp counts(state) do
    state.connection.shared.counters
    |> Counters.all()
    |> Map.merge(%{open: MapSet.size(state.open), parked: map_size(state.parked)})
  end

  defp check(%{waiting: []} = state), do: state

  defp check(state) do
    {reached, waiting} =
      Enum.split_with(state.waiting, fn {_, _, condition} -> reached?(condition, state) end)

    for {ref, pid, condition} <- reached do
      if match?({:pack_bytes, _}, condition), do: watch_pack(state, -1)
      send(pid, {ref, :reached})
    end

    %{state | waiting: waiting}
  end

  defp reached?({:open, n}, state), do: MapSet.size(state.open) == n
  defp reached?({:parked, n}, state), do: map_size(state.parked) >= n

  defp reached?({:parked, rule, n}, state),
    do: Enum.count(state.parked, fn {_, gate} -> gate == rule end) >= n

  defp reached?({:requests, n, options}, state) do
    match = %{path: options[:path], on: options[:on]}
    Enum.count(state.log, &Rules.matches?(match, &1)) >= n
  end

  defp reached?({name, n}, state) when name in [:requests, :connections, :pack_bytes] do
    Counters.get(state.connection.shared.counters, name) >= n
  end

  defp watch_pack(state, n), do: Counters.add(state.connection.shared.counters, :pack_watchers, n)
end
