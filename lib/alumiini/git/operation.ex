defmodule Alumiini.Git.Operation do
  @moduledoc false

  # What all operations have in common on the way out: what telemetry may say of a call, where its
  # request goes, and how its progress is told.

  alias Alumiini.Git.{Error, OneLine, Options, RedactedUrl, Remote, Telemetry}
  alias Alumiini.Git.Server.Call

  @phases %{
    "connect" => :connect,
    "receive" => :receive,
    "index" => :index,
    "checkout" => :checkout
  }

  @doc """
  Runs `function`, a call of the operation `op` with `options`, within its telemetry. It returns the
  result, and the bytes that it is about, or other measurements and metadata.
  """
  @spec call(atom, map, keyword, (() -> {result, non_neg_integer} | {result, map, map})) :: result
        when result: {:ok, term} | {:error, Error.t()}
  def call(op, fields, options, function),
    do: Telemetry.call(op, metadata(options, fields), function)

  defp metadata(options, fields) do
    fields
    |> Map.new(fn {key, value} -> {key, shown(value)} end)
    |> Map.put(:server, server(options))
    |> Map.put(:telemetry_metadata, Keyword.get(options, :telemetry_metadata, %{}))
  end

  @doc """
  A path or a ref as it may be shown: arguments in the wrong order make a URL of one.
  """
  @spec shown(shown) :: shown when shown: term
  def shown(text) when is_binary(text), do: text |> RedactedUrl.clean_text() |> OneLine.escape()
  def shown({kind, text}), do: {kind, shown(text)}
  def shown({kind, text, options}), do: {kind, shown(text), options}
  def shown(atom) when is_atom(atom), do: atom

  @doc """
  Makes a request, with the options of a call; to a remote, if there is one. With `:op` among them
  it is made for the function of that name, where the wire has another one for it.
  """
  @spec request(map, keyword, Remote.t() | nil) :: {:ok, map} | {:error, Error.t()}
  def request(request, options, remote \\ nil) do
    call = [timeout: Options.Check.timeout(options), op: options[:op]]

    {request, call} =
      case options[:progress] do
        nil -> {request, call}
        progress -> {Map.put(request, "progress", true), [on_event: on_event(progress)] ++ call}
      end

    if remote,
      do: Remote.call(remote, server(options), request, call),
      else: Call.run(server(options), request, call)
  end

  @doc "Takes a lease: a request that a process on the server's node makes, and goes on with."
  @spec lease(map, keyword) :: {:ok, map} | {:error, Error.t()}
  def lease(request, options),
    do: Call.run(server(options), request, timeout: Options.Check.timeout(options), as: :lease)

  @doc """
  Makes a request whose answer may come in pages, all within the time of the one call. `take` gets
  what a page holds and what was taken before it; with what it has then, it returns the fields of
  the request that are others from there on, such as the commit that the first page was of.
  """
  @spec pages(map, keyword, taken, (term, taken -> {:ok, taken, map} | :error)) ::
          {:ok, taken} | {:error, Error.t()} | :error
        when taken: term
  def pages(request, options, taken, take) do
    timeout = Options.Check.timeout(options)
    pages(request, options, taken, take, {timeout, now() + timeout})
  end

  defp pages(request, options, taken, take, {timeout, deadline} = whole) do
    with {:ok, %{"ok" => page} = reply} <- request(request, options),
         {:ok, taken, pinned} <- take.(page, taken) do
      case reply do
        %{"next" => %{} = next} ->
          options = Keyword.put(options, :timeout, max(1, deadline - now()))
          request = request |> Map.merge(pinned) |> Map.put("after", next)
          pages(request, options, taken, take, whole)

        _last ->
          {:ok, taken}
      end
    else
      # Not the time that was left for one page.
      {:error, %Error{reason: :timeout, op: op}} when is_map_key(request, "after") ->
        message = "it did not end within #{timeout} ms; the work was stopped"
        {:error, Error.new(:timeout, op, message)}

      not_taken ->
        not_taken
    end
  end

  @doc "The same where each page is a list, of which `from_wire` makes one."
  @spec lists(map, keyword, (term -> {:ok, list} | :error)) ::
          {:ok, list | map} | {:error, Error.t()} | :error
  def lists(request, options, from_wire) do
    take = fn page, taken ->
      with {:ok, list} <- from_wire.(page), do: {:ok, [list | taken], %{}}
    end

    case pages(request, options, [], take) do
      {:ok, taken} when is_list(taken) -> {:ok, taken |> Enum.reverse() |> Enum.concat()}
      other -> other
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  @doc "The server of a call."
  @spec server(keyword) :: GenServer.server()
  def server(options), do: Keyword.get(options, :server, Alumiini.Git)

  # An event that this version does not know is nothing to tell.
  defp on_event(progress) do
    fn
      "progress", %{"phase" => phase, "done" => done, "total" => total, "bytes" => bytes} ->
        case @phases do
          %{^phase => phase} -> progress.(%{phase: phase, done: done, total: total, bytes: bytes})
          _unknown -> :ok
        end

      _name, _event ->
        :ok
    end
  end
end
