defmodule Alumiini.Git.Follower.Settings do
  @moduledoc false

  # What a follower was started with: checked, and with everything that may be secret sealed. The
  # URL and the options of a call are one closure, so that neither a state nor a crash shows them.

  alias Alumiini.Git.{Operation, Options, Ops, Secret}
  alias Alumiini.Git.Options.Value
  alias Alumiini.Git.Webhook.Repository

  @own [:url, :ref, :path, :name, :interval, :backoff_max]
  # A function would be called in a process that the owner does not know, and hints come by pokes.
  @passed Ops.Update.options() -- [:progress, :hint]
  @known @own ++ @passed
  # Erlang's timers go to 2^32-1 ms, and jitter may add to it.
  @longest 2_147_483_647
  # What a call has where nothing is said, so that saying it makes no other follower.
  @defaults [
    depth: 1,
    force: false,
    working_tree: false,
    allow_insecure: false,
    timeout: Options.Check.timeout([])
  ]

  @enforce_keys [:name, :server, :interval, :backoff_max, :remote, :request]
  defstruct [:name, :server, :interval, :backoff_max, :remote, :request]

  @typedoc """
  The remote as it may be shown, and `update`, the sealed arguments of `Alumiini.Git.update/4`
  without the server.
  """
  @type remote :: %{
          url: String.t(),
          ref: Alumiini.Git.ref(),
          path: binary,
          shown: binary,
          name: String.t() | :default | :tags | nil,
          update: Secret.t()
        }

  @type t :: %__MODULE__{
          name: GenServer.name() | nil,
          server: GenServer.server(),
          interval: pos_integer,
          backoff_max: pos_integer,
          remote: remote,
          request: %{name: binary, key: %{atom => Secret.t()}, label: Secret.t()}
        }

  @doc "The same options, sealed, for a child specification: supervisors print theirs."
  @spec seal(keyword | Secret.t()) :: Secret.t()
  def seal(options), do: if(Secret.sealed?(options), do: options, else: Secret.seal(options))

  @doc "What a child is called, where it has no name. Wrong options are for `check!/1` to refuse."
  @spec id(keyword | Secret.t()) :: term
  def id(options) do
    options = open(options)

    if Keyword.keyword?(options) and is_binary(options[:url]) do
      shown = for key <- [:ref, :path], do: shown(options[key])
      options[:name] || List.to_tuple([Alumiini.Git.Follower, url(options[:url]) | shown])
    else
      Alumiini.Git.Follower
    end
  end

  defp shown(text) when is_binary(text), do: Operation.shown(text)
  defp shown({kind, text}) when is_atom(kind) and is_binary(text), do: Operation.shown({kind, text})
  defp shown(atom) when is_atom(atom), do: atom
  defp shown(_other), do: nil

  defp url(url), do: Alumiini.Git.RedactedUrl.clean(url)

  @doc "The options of `Alumiini.Git.Follower.start_link/1`, checked and complete."
  @spec check!(keyword | Secret.t()) :: t
  def check!(options) do
    options = open(options)
    Options.Check.known!(options, @known, "Alumiini.Git.Follower.start_link/1")

    for key <- [:url, :ref, :path], not Keyword.has_key?(options, key) do
      raise ArgumentError,
            "Alumiini.Git.Follower.start_link/1 needs the option #{inspect(key)}: a follower " <>
              "has a URL, a ref and a path"
    end

    # The first of two counts, as everywhere with keywords.
    options = Enum.uniq_by(options, &elem(&1, 0))
    name!(options[:name])
    interval = Keyword.get(options, :interval, 30_000)
    backoff_max = Keyword.get(options, :backoff_max, 600_000)
    Value.positive!(:interval, interval, @longest)
    Value.positive!(:backoff_max, backoff_max, @longest)

    [url, ref, path] = for key <- [:url, :ref, :path], do: options[key]
    passed = Keyword.drop(options, @own)
    {remote, _reference, path} = Ops.Update.check!(:update, url, ref, path, passed)
    {server, passed} = Keyword.pop(passed, :server, Alumiini.Git)
    passed = Keyword.merge(@defaults, passed)

    %__MODULE__{
      name: options[:name],
      server: server,
      interval: interval,
      backoff_max: backoff_max,
      remote: %{
        url: remote.shown,
        ref: Operation.shown(ref),
        path: path,
        shown: Operation.shown(path),
        name: full_name(ref),
        update: Secret.seal({url, ref, path, passed})
      },
      request: %{
        name: directory(path),
        key: Map.new([url: url, ref: comparable(ref)] ++ passed, &sealed/1),
        label: label(url)
      }
    }
  end

  defp name!(name) when is_atom(name), do: :ok
  defp name!({:global, _term}), do: :ok
  defp name!({:via, module, _term}) when is_atom(module), do: :ok

  defp name!(other),
    do: Value.wrong!(:name, "an atom, {:global, term} or {:via, module, term}", other)

  defp open(options) do
    if Secret.sealed?(options) do
      {:ok, options} = Secret.reveal(options)
      options
    else
      options
    end
  end

  defp sealed({key, value}), do: {key, Secret.seal(value)}

  @doc """
  What a follower's source is found by: which repository its URL means. Sealed, for a URL that was
  mistyped may have a secret anywhere.
  """
  @spec label(String.t()) :: Secret.t()
  def label(url), do: url |> Repository.key() |> Secret.seal()

  # Two ways to write one directory. What links lead to is for the worker to find out.
  defp directory(path) do
    names = for name <- :binary.split(path, "/", [:global]), name not in ["", "."], do: name
    "/" <> Enum.join(names, "/")
  end

  # A branch in two ways, and what cannot be compared.
  defp comparable({:branch, branch}), do: branch
  defp comparable({:semver, requirement}), do: {:semver, requirement, []}

  defp comparable({:semver, requirement, options}) do
    options =
      Enum.map(options, fn
        {:filter, filter} -> {:filter, {Regex.source(filter), Regex.opts(filter)}}
        option -> option
      end)

    {:semver, requirement, Enum.sort(options)}
  end

  defp comparable(ref), do: ref

  # As a push names it; of a version it may be any tag, and a commit is never pushed to.
  defp full_name({:branch, branch}), do: "refs/heads/" <> branch
  defp full_name({:tag, tag}), do: "refs/tags/" <> tag
  defp full_name({:ref, name}), do: name
  defp full_name({:commit, _sha}), do: nil
  defp full_name(:default), do: :default
  defp full_name(branch) when is_binary(branch), do: "refs/heads/" <> branch
  defp full_name(_semver), do: :tags
end
