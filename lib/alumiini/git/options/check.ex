defmodule Alumiini.Git.Options.Check do
  @moduledoc false

  # What callers may pass. Whatever is wrong raises ArgumentError in their own process, before
  # anything is sent. A message names keys and what would be right; it never shows a value that
  # could be a secret.

  alias Alumiini.Git.{Addresses, Auth, Remote, Secret}
  alias Alumiini.Git.Options.{Read, Value}
  alias Alumiini.Git.Remote.{Proxy, Tls}

  import Value, only: [boolean!: 2, positive!: 3, wrong!: 3]

  # Erlang's timers go to 2^32-1 ms; past 24 days nobody waits for Git.
  @longest 2_147_483_647
  # The worker's limits, as `protocol/README.md` has them.
  @most_bytes 67_108_864
  @deepest 2_147_483_646
  @most_prefixes 256
  @most_kept 1_000
  @slowest 0.001
  @fastest 1_000_000

  @start [
           :name,
           :binary,
           :max_pending,
           :max_requests,
           :max_requests_per_host,
           :max_requests_per_second_per_host,
           :grace,
           :handshake_timeout
         ] ++
           [
             :heartbeat,
             :backoff_initial,
             :backoff_max,
             :auth,
             :tls,
             :proxy,
             :no_proxy,
             :schemes,
             :allow_local,
             :addresses,
             :root
           ]
  # Of `start_link/1`: what may hold a secret.
  @secret [:auth, :tls, :proxy]
  @common [:server, :timeout, :telemetry_metadata]
  @remote [:auth, :allow_insecure, :tls, :proxy, :no_proxy]
  @default_timeout 300_000
  @schemes [:https, :http, :ssh, :file]
  @read Read.keys()

  @type start :: %{
          name: GenServer.name() | nil,
          binary: Path.t() | nil,
          max_pending: pos_integer,
          max_requests: pos_integer,
          max_requests_per_host: pos_integer,
          max_requests_per_second_per_host: number | :infinity,
          schemes: [atom] | nil,
          allow_local: [Path.t()] | nil,
          addresses: Addresses.rules() | nil,
          root: Path.t() | nil,
          grace: pos_integer,
          handshake_timeout: pos_integer,
          heartbeat: pos_integer,
          backoff_initial: pos_integer,
          backoff_max: pos_integer,
          remote: map
        }

  @doc """
  The same options with what may be secret sealed, for a child specification: supervisors print
  theirs. `start!/1` takes both.
  """
  @spec seal(term) :: term
  def seal(options) do
    if Keyword.keyword?(options) do
      Enum.map(options, fn {key, value} ->
        if key in @secret and not Secret.sealed?(value),
          do: {key, Secret.seal(value)},
          else: {key, value}
      end)
    else
      options
    end
  end

  defp unseal({key, value}) when key in @secret and is_function(value, 0) do
    {:ok, value} = Secret.reveal(value)
    {key, value}
  end

  defp unseal(option), do: option

  @doc "The options of `Alumiini.Git.start_link/1`, checked and complete."
  @spec start!(keyword) :: start
  def start!(options) do
    known!(options, @start, "Alumiini.Git.start_link/1")
    options = Enum.map(options, &unseal/1)
    Enum.each(options, fn {key, value} -> start_option!(key, value) end)

    Map.merge(
      %{
        name: Alumiini.Git,
        binary: nil,
        remote: Remote.defaults(options),
        max_pending: 4096,
        max_requests: 256,
        max_requests_per_host: 32,
        max_requests_per_second_per_host: :infinity,
        schemes: nil,
        allow_local: nil,
        addresses: nil,
        root: nil,
        grace: 5_000,
        handshake_timeout: 5_000,
        heartbeat: 10_000,
        backoff_initial: 100,
        backoff_max: 10_000
      },
      # The first of two counts, as everywhere with keywords.
      options |> Keyword.drop([:auth, :tls, :proxy, :no_proxy]) |> Enum.reverse() |> Map.new()
    )
  end

  defp start_option!(:name, name) do
    case name do
      name when is_atom(name) ->
        :ok

      {:global, _term} ->
        :ok

      {:via, module, _term} when is_atom(module) ->
        :ok

      _other ->
        wrong!(:name, "an atom, {:global, term}, {:via, module, term}, or nil for none", name)
    end
  end

  defp start_option!(:binary, path) do
    if path != nil and not (is_binary(path) and Path.type(path) == :absolute) do
      wrong!(:binary, "an absolute path", path)
    end
  end

  defp start_option!(:schemes, schemes) do
    if not (is_list(schemes) and schemes != [] and Enum.all?(schemes, &(&1 in @schemes))) do
      wrong!(:schemes, "a list of some of #{inspect(@schemes)}", schemes)
    end
  end

  defp start_option!(:allow_local, dirs) do
    absolute? = &(is_binary(&1) and Path.type(&1) == :absolute)

    if not (is_list(dirs) and Enum.all?(dirs, absolute?)) do
      wrong!(:allow_local, "a list of absolute paths of directories", dirs)
    end
  end

  defp start_option!(:addresses, rules) do
    if not Addresses.valid?(rules) do
      right =
        ":any, :public, or a keyword list of :default (:any, :public or :none), :allow and " <>
          ~s|:deny (lists of ranges such as "10.0.0.0/8" and "fd00::/8", | <>
          "without bits beyond their length)"

      wrong!(:addresses, right, rules)
    end
  end

  defp start_option!(:root, root) do
    # Paths are held against it step by step.
    if not (is_binary(root) and Path.type(root) == :absolute and ".." not in Path.split(root)) do
      wrong!(:root, "the absolute path of a directory, without `..`", root)
    end
  end

  defp start_option!(:max_requests_per_second_per_host, :infinity), do: :ok

  defp start_option!(:max_requests_per_second_per_host = key, rate) do
    if not (is_number(rate) and rate >= @slowest and rate <= @fastest) do
      wrong!(key, "a number from #{@slowest} to #{@fastest}, or :infinity for no limit", rate)
    end
  end

  # A worker on a machine that is busy may take as long as that to answer.
  defp start_option!(:heartbeat, value) do
    positive!(:heartbeat, value, @longest)
    if value < 100, do: wrong!(:heartbeat, "at least 100 ms", value)
  end

  # One that is not by URL would go to whatever host a call names.
  defp start_option!(:auth, auth) do
    if not Auth.for_urls?(auth) do
      raise ArgumentError,
            "option :auth of a server must be made by Alumiini.Git.Auth.for_urls/1, which says " <>
              "for which URLs credentials are"
    end

    if Auth.functions?(auth) do
      raise ArgumentError,
            "option :auth of a server cannot have functions among its credentials: the server " <>
              "has no process to call them in; give them as the option of a call or a follower"
    end
  end

  defp start_option!(key, value) when key in [:tls, :proxy, :no_proxy],
    do: remote_option!(key, value)

  defp start_option!(key, value), do: positive!(key, value, @longest)

  @doc "Those of every call."
  @spec common() :: [atom]
  def common, do: @common

  @doc "Those of calls to a remote."
  @spec remote() :: [atom]
  def remote, do: @remote

  @doc "Checks the options of a call of `Alumiini.Git`'s `function`, which knows those in `known`."
  @spec call!(atom, [atom], keyword) :: :ok
  def call!(function, known, options) do
    known!(options, known, "Alumiini.Git.#{function}")

    Enum.each(options, fn
      {:max_bytes, value} when function in [:snapshot, :export] -> Read.max_bytes!(function, value)
      {key, value} when key in @read -> Read.check!(key, value)
      {key, value} -> call_option!(key, value)
    end)
  end

  defp call_option!(:timeout, value), do: positive!(:timeout, value, @longest)
  # What it may be, the one function that has it says.
  defp call_option!(:ref, _value), do: :ok

  defp call_option!(:telemetry_metadata, value) do
    if not (is_map(value) and not is_struct(value)), do: wrong!(:telemetry_metadata, "a map", value)
  end

  defp call_option!(:max_bytes, value), do: positive!(:max_bytes, value, @most_bytes)
  defp call_option!(:keep, value), do: positive!(:keep, value, @most_kept)
  defp call_option!(:depth, :infinity), do: :ok

  defp call_option!(:depth, value) do
    if not (is_integer(value) and value in 1..@deepest) do
      wrong!(:depth, "a positive number of commits, or :infinity for the full history", value)
    end
  end

  defp call_option!(:hint, value) do
    if not (is_nil(value) or (is_binary(value) and value =~ ~r/\A[0-9a-fA-F]{40}\z/)),
      do: wrong!(:hint, "the full id of a commit: 40 hexadecimal digits", value)
  end

  defp call_option!(key, value) when key in [:force, :allow_insecure, :working_tree],
    do: boolean!(key, value)

  defp call_option!(:progress, value) do
    if not is_function(value, 1), do: wrong!(:progress, "a function of one argument", value)
  end

  defp call_option!(:auth, %Auth{}), do: :ok
  defp call_option!(:auth, function) when is_function(function, 0), do: :ok
  defp call_option!(:auth, {m, f, a}) when is_atom(m) and is_atom(f) and is_list(a), do: :ok

  defp call_option!(:auth, _perhaps_a_secret) do
    raise ArgumentError,
          "option :auth must be made by a function of Alumiini.Git.Auth, such as " <>
            "Alumiini.Git.Auth.token/2, " <>
            "or be a function of no arguments or {module, function, arguments} that returns " <>
            "such a value"
  end

  defp call_option!(key, value) when key in [:tls, :proxy, :no_proxy],
    do: remote_option!(key, value)

  defp call_option!(:prefix, value) do
    list? = is_list(value) and Enum.all?(value, &is_binary/1) and length(value) <= @most_prefixes

    if not (is_binary(value) or list?) do
      wrong!(:prefix, "a string, or a list of at most #{@most_prefixes} strings", value)
    end
  end

  defp call_option!(:hosts, value), do: boolean!(:hosts, value)
  defp call_option!(:server, server), do: server!(server)

  @doc "Checks what names a server."
  @spec server!(term) :: :ok
  def server!(server) do
    case server do
      server when is_pid(server) ->
        :ok

      server when is_atom(server) and server not in [nil, true, false] ->
        :ok

      {name, node} when is_atom(name) and is_atom(node) ->
        :ok

      {:global, _term} ->
        :ok

      {:via, module, _term} when is_atom(module) ->
        :ok

      _other ->
        wrong!(
          :server,
          "a pid, a name, {name, node}, {:global, term} or {:via, module, term}",
          server
        )
    end
  end

  # What these make of the value is made again where it is needed; here it is whether they raise.
  defp remote_option!(:tls, value), do: Tls.seal!(value)
  defp remote_option!(:proxy, value), do: Proxy.seal!(value)
  defp remote_option!(:no_proxy, value), do: Proxy.no_proxy!(value)

  @doc "How long a call may take, in milliseconds."
  @spec timeout(keyword) :: pos_integer
  def timeout(options), do: Keyword.get(options, :timeout, @default_timeout)

  @doc "The URL of a remote, as it was given."
  @spec url!(term) :: binary
  def url!(url) do
    # Not the value: there may be a password in it.
    if not (is_binary(url) and url != "") do
      raise ArgumentError, "the URL must be a string that is not empty"
    end

    url
  end

  @doc "The absolute path of a repository. The worker has a current directory of its own."
  @spec path!(term, String.t()) :: binary
  def path!(path, what \\ "the path of the repository") do
    if not (is_binary(path) and path != "") do
      raise ArgumentError, "#{what} must be a string that is not empty, got: #{shown(path)}"
    end

    # Not Path.absname/1, which takes no names that are not UTF-8.
    case Path.type(path) do
      :relative -> below(File.cwd!(), path)
      _absolute -> path
    end
  end

  # Where the current directory is in a working tree, these lead out of it, and are meant: the
  # worker takes none that does.
  defp below(dir, ".."), do: Path.dirname(dir)
  defp below(dir, "../" <> path), do: dir |> Path.dirname() |> below(path)
  defp below(dir, path), do: dir <> "/" <> path

  @doc "Checks a name within a repository."
  @spec name!(term, String.t()) :: :ok
  def name!(name, what) do
    if not is_binary(name),
      do: raise(ArgumentError, "#{what} must be a string, got: #{shown(name)}")

    :ok
  end

  @doc "Raises where `function`, which knows the options in `known`, is given others."
  @spec known!(term, [atom], String.t()) :: :ok
  def known!(options, known, function) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "the options of #{function} must be a keyword list"
    end

    case Enum.find(options, fn {key, _value} -> key not in known end) do
      nil ->
        :ok

      {key, _value} ->
        raise ArgumentError,
              "unknown option #{inspect(key)} of #{function}; the known ones are " <>
                Enum.map_join(known, ", ", &inspect/1)
    end
  end

  @doc "See `Alumiini.Git.Options.Value.shown/1`."
  @spec shown(term) :: String.t()
  defdelegate shown(value), to: Value
end
