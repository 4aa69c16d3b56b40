defmodule Alumiini.Git.Error do
  # Six on a line, so that a terminal can show it.
  @ops Alumiini.Git.Ops.all()
       |> Enum.map(&"`#{inspect(&1)}`")
       |> Enum.chunk_every(6)
       |> Enum.map_join(",\n      ", &Enum.join(&1, ", "))

  @moduledoc """
  What went wrong, as every function of `Alumiini.Git` returns it in `{:error, error}`.

  It is an exception, so it can be raised, and `Exception.message/1` gives a sentence that says what
  failed, on what, and what to do about it. It holds no secrets, and is on one line: control
  characters in names and URLs are `\\n` or `\\u{1b}` there, in `detail`, too.

  Its fields:

    * `reason` - one of the atoms below; match on this
    * `op` - the function that was called, as an atom:
      #{@ops};
      `:info` of `Alumiini.Git.info/2`, `:webhook` of `Alumiini.Git.Webhook`
    * `message` - the sentence
    * `detail` - a map, empty where there is nothing to add; its keys are below
    * `retryable?` - whether the same call may succeed later without anyone changing anything

  ## Reasons

  The list is closed: matching on these is matching on everything.

  ### Retryable

    * `:network` - the remote could not be reached, or the connection broke
    * `:rate_limited` - the remote asked for fewer requests
    * `:timeout` - the call's `:timeout` was over
    * `:overloaded` - more requests are pending than `:max_pending` allows
    * `:incomplete` - the working tree waits for its next sync
    * `:locked` - another Git program holds a lock of the repository
    * `:worker_unavailable` - there is no worker, or no server. Not retryable where nothing
      changes by itself: there is no binary, or no server of that name

  ### Not retryable

    * `:invalid` - the worker refused what was asked for: a URL that is none, credentials over
      plain HTTP
    * `:unsupported` - a scheme, a kind of ref or a repository that this version does not speak
    * `:auth` - the remote wants other credentials
    * `:host_key` - the SSH host key is not known or not the known one
    * `:certificate` - the certificate of the remote does not verify
    * `:protocol` - the remote's answer is not Git's, or library and worker are of different
      protocol versions
    * `:ref_not_found` - the remote or the repository has no such ref
    * `:repo_not_found` - there is no repository at that URL, or it may not be seen with these
      credentials
    * `:path_not_found` - there is no such file or directory
    * `:not_a_repository` - the directory is not a Git repository
    * `:occupied` - the directory holds something else; nothing was touched
    * `:dirty` - there are local changes or commits; nothing was touched
    * `:unsafe_path` - the path leads out of the repository, or into `.git`
    * `:too_large` - over a limit, such as `:max_bytes`
    * `:signature` - the commit's signature is not good
    * `:corrupt` - the repository is damaged
    * `:io` - the file system refused: full, read-only, no permission
    * `:cancelled` - the request was cancelled
    * `:internal` - a defect of this library; please report it
    * `:worker_exited` - this request ended three workers, the last of which had nothing else to
      do

  ## Details

  Keys of `detail`, each where it is known:

    * `:url` - without credentials; of what is no URL its scheme
    * `:path` - the directory that was given
    * `:file` - what is meant there, relative to `:path` where it is below it
    * `:ref` - what was asked for
    * `:status` - of HTTP
    * `:near` - ref names close to the one asked for
    * `:limit` - what was exceeded
    * `:changed` - paths with local changes, at most 20
    * `:retry_after` - seconds, as the remote said them, or what is left of them
    * `:fingerprint` - `SHA256:…` of the host key that the remote showed
    * `:line` - what to add to `known_hosts` to accept that key

  ## Examples

      case Alumiini.Git.sync(url, "main", path) do
        {:ok, sha} -> deploy(path, sha)
        {:error, %Alumiini.Git.Error{reason: :auth}} -> renew_credentials()
        {:error, error} -> Logger.error(Exception.message(error))
      end

  A process that follows a repository goes on after any of them, also one that is not retryable:
  somebody may put right what is wrong, and a process that stops each time takes its supervisor
  down. README.md has one that waits longer after each error, and logs it once.
  [Troubleshooting](troubleshooting.md) says of each reason what to do.
  """

  alias Alumiini.Git.{OneLine, RedactedUrl}

  @retryable [
    :network,
    :rate_limited,
    :timeout,
    :overloaded,
    :incomplete,
    :locked,
    :worker_unavailable
  ]
  @final [
    :invalid,
    :unsupported,
    :auth,
    :host_key,
    :certificate,
    :protocol,
    :ref_not_found,
    :repo_not_found,
    :path_not_found,
    :not_a_repository,
    :occupied,
    :dirty,
    :unsafe_path,
    :too_large,
    :signature,
    :corrupt,
    :io,
    :cancelled,
    :internal,
    :worker_exited
  ]
  # The Elixir side says these; a worker cannot.
  @never_on_the_wire [:worker_unavailable, :worker_exited]

  @wire_kinds Map.new((@retryable ++ @final) -- @never_on_the_wire, &{Atom.to_string(&1), &1})
  @details ~w(url path file ref status near limit changed retry_after fingerprint line)a
  @wire_detail Map.new(@details, &{Atom.to_string(&1), &1})

  @typedoc "Why it failed. See the table in the module's documentation."
  @type reason ::
          :network
          | :rate_limited
          | :timeout
          | :overloaded
          | :incomplete
          | :locked
          | :worker_unavailable
          | :invalid
          | :unsupported
          | :auth
          | :host_key
          | :certificate
          | :protocol
          | :ref_not_found
          | :repo_not_found
          | :path_not_found
          | :not_a_repository
          | :occupied
          | :dirty
          | :unsafe_path
          | :too_large
          | :signature
          | :corrupt
          | :io
          | :cancelled
          | :internal
          | :worker_exited

  @type t :: %__MODULE__{
          reason: reason,
          op: atom,
          message: String.t(),
          detail: map,
          retryable?: boolean
        }

  defexception [:reason, :op, :message, detail: %{}, retryable?: false]

  # `raise Alumiini.Git.Error, "sentence"` is for users' own tests and code.
  @impl true
  def exception(message) when is_binary(message),
    do: %__MODULE__{reason: :internal, message: message}

  def exception(fields) when is_list(fields), do: struct!(__MODULE__, fields)

  @impl true
  def message(%__MODULE__{op: op, message: message, reason: reason}) do
    sentence = message || "it failed (#{inspect(reason)})"
    if op, do: "#{op}: #{sentence}", else: sentence
  end

  @doc false
  @spec new(reason, atom, String.t(), map) :: t
  def new(reason, op, message, detail \\ %{}) when reason in @retryable or reason in @final do
    %__MODULE__{
      reason: reason,
      op: op,
      message: OneLine.escape(message),
      detail: Map.new(detail, fn {key, value} -> {key, on_one_line(value)} end),
      retryable?: reason in @retryable
    }
  end

  defp on_one_line(text) when is_binary(text), do: OneLine.escape(text)
  defp on_one_line(list) when is_list(list), do: Enum.map(list, &on_one_line/1)
  defp on_one_line(value), do: value

  # One that will come again unless somebody does something, of a reason that is retryable
  # otherwise.
  @doc false
  @spec final(reason, atom, String.t()) :: t
  def final(reason, op, message), do: %{new(reason, op, message) | retryable?: false}

  # From an error reply. What a newer worker adds to the list of kinds reads as `internal`, with its
  # own sentence. The list here says what is retryable, so that `reason` and `retryable?` always
  # agree.
  @doc false
  @spec from_reply(map, atom) :: t
  def from_reply(%{"err" => message} = reply, op) when is_binary(message) do
    reason = Map.get(@wire_kinds, reply["kind"], :internal)
    new(reason, op, message |> RedactedUrl.clean_text() |> :binary.copy(), detail(reply["detail"]))
  end

  def from_reply(_not_an_error, op), do: unexpected(op)

  @doc false
  @spec unexpected(atom) :: t
  def unexpected(op) do
    new(
      :internal,
      op,
      "the worker's answer is not of the form that this library knows; please report it"
    )
  end

  @doc false
  @spec reasons() :: %{retryable: [reason], final: [reason], never_on_the_wire: [reason]}
  def reasons, do: %{retryable: @retryable, final: @final, never_on_the_wire: @never_on_the_wire}

  @doc false
  @spec details() :: [atom]
  def details, do: @details

  defp detail(detail) when is_map(detail) do
    for {key, value} <- detail, atom = @wire_detail[key], into: %{}, do: {atom, clean(atom, value)}
  end

  defp detail(_none), do: %{}

  defp clean(:url, url) when is_binary(url), do: RedactedUrl.clean(url)
  # Of an argument in the wrong place it may be a URL, too.
  defp clean(_key, text) when is_binary(text), do: RedactedUrl.clean_text(text)
  defp clean(key, list) when is_list(list), do: Enum.map(list, &clean(key, &1))
  defp clean(_key, value), do: value
end
