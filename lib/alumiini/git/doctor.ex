defmodule Alumiini.Git.Doctor do
  @moduledoc """
  Tells which worker runs, and step by step how far one gets with a remote: where a name leads,
  whether a connection is made, whether the certificate or the host key is trusted, whether the
  remote lets one in. Each step that fails says what to do.

  `mix alumiini_git.doctor` does that where there is Mix. In a release, ask the node that runs:

      $ bin/my_app rpc '"https://git.example.com/shop.git"
          |> Alumiini.Git.Doctor.run(auth: MyApp.git_auth())
          |> Alumiini.Git.Doctor.to_text()
          |> IO.puts()'
      The worker
        binary    /app/lib/alumiini_git-0.1.0/priv/alumiini-git
        ⋮
      https://git.example.com/shop.git
        ✓ resolve       1.8 ms  git.example.com is 192.0.2.7
        ✓ connect      10.2 ms  192.0.2.7:443 took the connection
        ✗ tls          25.0 ms
          the TLS certificate of https://git.example.com/shop.git is from an issuer that …

  or, where the node does not run, with `eval` in place of `rpc`. Other processes of the machine can
  read what follows `rpc`, so credentials are to come from a function of the application, which is
  called on the node.

  For programs there is JSON, by `to_json/1`:

      {
        "ok": false,
        "worker": {"binary": "/app/lib/…/alumiini-git", "version": "0.1.0", …},
        "url": "https://git.example.com/shop.git",
        "steps": [
          {"name": "resolve", "ok": true, "us": 1840, "note": "…", "error": null},
          {"name": "tls", "ok": false, "us": 25000, "note": "",
           "error": {"reason": "certificate", "message": "…", "retryable": false, "detail": {…}}}
        ],
        "error": null
      }

  Nothing in it is secret.
  """

  alias Alumiini.Git.Doctor.{Json, Report}
  alias Alumiini.Git.{Error, OneLine, Options, RedactedUrl, Reference, Remote, Server}
  alias Alumiini.Git.Precompiled.Provenance
  alias Alumiini.Git.Server.{Binary, Protocol}

  @options [:server, :timeout, :ref] ++ Options.Check.remote()
  @timeout 30_000

  @typedoc "An option of `run/2`."
  @type option ::
          {:server, GenServer.server() | nil}
          | {:timeout, pos_integer}
          | {:ref, Alumiini.Git.ref()}
          | Options.remote()

  @doc """
  Looks at the worker, and with a URL at that remote. Returns an `Alumiini.Git.Doctor.Report`,
  whatever is wrong.

  ## Options

    * `:server` - whose worker, with what it says of proxies, certificates and addresses, as in
      `Alumiini.Git.Options`. Default: `Alumiini.Git`, where that runs on this node, else `nil`,
      which starts one for the time, with no options
    * `:ref` - also look for this ref, as `Alumiini.Git.ls_remote/3` takes it
    * `:timeout` - for each request, in milliseconds. Default: 30,000
    * `:auth`, `:allow_insecure`, `:tls`, `:proxy`, `:no_proxy` - see `Alumiini.Git.Options`

  ## Examples

      report = Alumiini.Git.Doctor.run("https://git.example.com/shop.git", ref: "main")
      if not Alumiini.Git.Doctor.ok?(report), do: IO.puts(Alumiini.Git.Doctor.to_text(report))
  """
  @spec run(String.t() | nil, [option]) :: Report.t()
  def run(url \\ nil, options \\ []) do
    {server, options} = checked!(url, options)

    asked = %{
      url: url,
      ref: options[:ref],
      timeout: Keyword.get(options, :timeout, @timeout),
      options: Keyword.drop(options, [:server, :ref, :timeout]),
      own?: server == nil
    }

    if server, do: worker(server, asked), else: with_server(&worker(&1, asked))
  end

  defp checked!(url, options) do
    given? = Keyword.keyword?(options) and Keyword.has_key?(options, :server)
    own? = given? and options[:server] == nil
    options = if own?, do: Keyword.delete(options, :server), else: options
    Options.Check.call!(:"Doctor.run", @options, options)
    _ = url != nil and Options.Check.url!(url)

    if url == nil and Keyword.drop(options, [:server, :timeout]) != [],
      do: raise(ArgumentError, "these options say how to reach a URL, but there is none")

    _ = options[:ref] != nil and Reference.ls_remote!(options[:ref])

    cond do
      own? -> {nil, options}
      given? -> {options[:server], options}
      Process.whereis(Alumiini.Git) -> {Alumiini.Git, options}
      true -> {nil, options}
    end
  end

  # A Mix task and `eval` run where nothing is started.
  defp with_server(function) do
    {:ok, _started} = Application.ensure_all_started(:alumiini_git)
    {:ok, server} = Alumiini.Git.start_link(name: nil)

    try do
      function.(server)
    after
      GenServer.stop(server)
    end
  end

  defp worker(server, asked) do
    # Any request waits for a worker that is up, and is told why there is none. Not `hello`, which
    # would tell the worker other rules than the server's.
    ping = %{"op" => "ping"}

    with {:ok, _pong} <- Server.call(server, ping, timeout: asked.timeout, op: :probe),
         {:ok, info} <- Alumiini.Git.info(server, timeout: asked.timeout) do
      found = [
        {"version", info.version},
        {"target", info.target},
        {"libgit2", info.libgit2},
        {"protocol", Integer.to_string(Protocol.version())}
      ]

      remote(%Report{worker: binary(server, info.binary) ++ found}, server, asked)
    else
      {:error, error} -> %Report{worker: unstarted(asked), error: error}
    end
  end

  # Where the binary came from, and whether it is still what it was then. One that was configured
  # has no such note, and one of another node is on that node's disk.
  defp binary(server, path) do
    provenance = if here?(server) and in_priv?(path), do: Provenance.tell(path), else: []
    if path, do: [{"binary", path} | provenance], else: []
  end

  # Which one another server would have started, its error says.
  defp unstarted(%{own?: false}), do: []

  defp unstarted(_own) do
    case Binary.locate(nil) do
      {:ok, path} -> binary(self(), path)
      {:error, _nowhere} -> []
    end
  end

  defp here?(server) do
    case server do
      {name, node} when is_atom(name) and is_atom(node) and name not in [:global] -> node == node()
      pid when is_pid(pid) -> node(pid) == node()
      name -> match?(pid when is_pid(pid) and node(pid) == node(), GenServer.whereis(name))
    end
  rescue
    # The registry of a `{:via, module, name}` is not running.
    ArgumentError -> false
  end

  defp in_priv?(path) do
    Application.get_env(:alumiini_git, :binary) == nil and Binary.locate(nil) == {:ok, path}
  end

  defp remote(report, _server, %{url: nil}), do: report

  defp remote(report, server, asked) do
    remote = Remote.new(asked.url, asked.options)
    report = %{report | url: remote.shown}

    case Remote.call(remote, server, %{"op" => "probe"}, timeout: asked.timeout) do
      {:ok, %{"ok" => steps}} when is_list(steps) ->
        ref(%{report | steps: Enum.map(steps, &step/1)}, server, asked)

      {:ok, _other} ->
        %{report | error: Error.unexpected(:probe)}

      {:error, error} ->
        %{report | error: error}
    end
  end

  defp step(%{"step" => name} = step) when is_binary(name) do
    error = if is_map(step["error"]), do: Error.from_reply(step["error"], :probe)

    note =
      if is_binary(step["note"]),
        do: step["note"] |> RedactedUrl.clean_text() |> OneLine.escape(),
        else: ""

    %{name: name, us: step["us"], note: note, error: error}
  end

  defp step(_other), do: %{name: "probe", us: nil, note: "", error: Error.unexpected(:probe)}

  # A step of our own: the probe asks for no ref in particular.
  defp ref(report, server, %{ref: ref} = asked) when ref != nil do
    if Report.ok?(report) do
      options = [server: server, timeout: asked.timeout] ++ asked.options
      {us, result} = :timer.tc(fn -> Alumiini.Git.ls_remote(asked.url, ref, options) end)

      step =
        case {result, shown(ref)} do
          {{:ok, sha}, shown} -> %{name: "ref", us: us, note: "#{shown} is #{sha}", error: nil}
          {{:error, error}, shown} -> %{name: "ref", us: us, note: shown, error: error}
        end

      %{report | steps: report.steps ++ [step]}
    else
      report
    end
  end

  defp ref(report, _server, _no_ref), do: report

  defp shown(ref) when is_binary(ref), do: ref |> RedactedUrl.clean_text() |> OneLine.escape()
  defp shown(ref), do: ref |> inspect() |> RedactedUrl.clean_text()

  @doc "Whether all is well."
  @spec ok?(Report.t()) :: boolean
  def ok?(%Report{} = report), do: Report.ok?(report)

  @doc "The report as people read it, as `mix alumiini_git.doctor` prints it, without colours."
  @spec to_text(Report.t()) :: String.t()
  def to_text(%Report{} = report),
    do: for(line <- Report.lines(report), into: "", do: plain(line) <> "\n")

  defp plain(line), do: line |> IO.ANSI.format(false) |> IO.iodata_to_binary()

  @doc "The report as JSON, on one line. What is not UTF-8 in a name is `\\uFFFD` there."
  @spec to_json(Report.t()) :: String.t()
  def to_json(%Report{} = report) do
    Json.encode(%{
      ok: Report.ok?(report),
      worker: Map.new(report.worker),
      url: report.url,
      steps: for(step <- report.steps, do: json(step)),
      error: json_error(report.error)
    })
  end

  defp json(step) do
    step = Map.put(step, :ok, step.error == nil)
    %{step | error: json_error(step.error), us: if(is_integer(step.us), do: step.us)}
  end

  defp json_error(nil), do: nil

  defp json_error(%Error{} = error) do
    %{
      reason: error.reason,
      message: error.message,
      retryable: error.retryable?,
      detail: error.detail
    }
  end
end
