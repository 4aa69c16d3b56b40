defmodule Alumiini.Git.Follower.Request do
  @moduledoc false

  # A call that a source makes, in a process of its own: a source never waits. The process is linked
  # to the source, so that the call ends with it, and is sensitive, since it opens what is sealed.
  # What the call came to is sent as `{Request, pid, result}`.

  alias Alumiini.Git
  alias Alumiini.Git.{Change, Error, Secret, Update}
  alias Alumiini.Git.Follower.Settings

  # A worker looks through the paths for each file, so many of them cost more than they save.
  @most_paths 64
  # Of a comparison, where it fails for a reason that may go away, ms.
  @pauses [500, 1_000, 2_000]

  @doc """
  Asks the remote what there is, and brings it. `hint` is a commit that the remote is said to have.
  """
  @spec update(Settings.remote(), GenServer.server(), String.t() | nil) :: pid
  def update(remote, server, hint), do: start(&update_now/1, {remote, server, hint})

  @doc """
  What changed between two commits that were synced, below these paths: `:all` where that cannot be
  told any more.
  """
  @spec changes(Settings.remote(), GenServer.server(), {String.t(), String.t()}, [binary]) :: pid
  def changes(remote, server, {from, to}, paths) do
    paths = if "" in paths or length(paths) > @most_paths, do: [], else: [paths: paths]
    start(&changes_now/1, {remote, server, from, to, paths})
  end

  @doc "Ends one whose result is not wanted any more; the worker stops, too."
  @spec stop(pid) :: :ok
  def stop(pid) do
    Process.unlink(pid)
    Process.exit(pid, :kill)
    :ok
  end

  defp start(function, argument), do: spawn_link(__MODULE__, :run, [self(), function, argument])

  @doc false
  @spec run(pid, (term -> term), term) :: true
  def run(source, function, argument) do
    Process.flag(:sensitive, true)
    send(source, {__MODULE__, self(), function.(argument)})
    # Its end is no news then: it would wake the source once more, for nothing.
    Process.unlink(source)
  end

  @spec update_now({Settings.remote(), GenServer.server(), String.t() | nil}) ::
          {:ok, Update.t()} | {:error, Error.t()}
  defp update_now({%{update: sealed}, server, hint}) do
    case Secret.reveal(sealed) do
      {:ok, {url, ref, path, options}} ->
        Git.update(url, ref, path, [server: server] ++ hinted(options, hint))

      :error ->
        {:error, Error.new(:protocol, :update, "the follower's node runs another version")}
    end
  catch
    # All else was checked when the follower was started.
    kind, reason -> {:error, Error.new(:auth, :update, raised(kind, reason))}
  end

  # A commit that is said to be there is fetched beside the question. What a poke names may be
  # anything.
  defp hinted(options, hint) do
    if is_binary(hint) and hint =~ ~r/\A[0-9a-fA-F]{40}\z/,
      do: [hint: hint] ++ options,
      else: options
  end

  # Not what it raised: that may hold anything.
  defp raised(:error, %module{}),
    do: "the function given as :auth raised #{inspect(module)}; it is called again at the next poll"

  defp raised(kind, _reason),
    do: "the function given as :auth ended with #{kind}; it is called again at the next poll"

  @spec changes_now(tuple) :: [Change.t()] | :all
  defp changes_now({%{path: path}, server, from, to, paths}),
    do: compare(fn -> Git.diff(path, from, to, [server: server] ++ paths) end, @pauses)

  # What was there before is gone after a repair, and may be after a force-push. More changes than
  # are told one by one are `:all`, too.
  defp compare(diff, pauses) do
    case {diff.(), pauses} do
      {{:ok, changes}, _pauses} ->
        changes

      {{:error, %Error{retryable?: true}}, [pause | pauses]} ->
        Process.sleep(pause)
        compare(diff, pauses)

      _lost ->
        :all
    end
  end
end
