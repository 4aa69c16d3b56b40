defmodule Fleet.Repository do
  @moduledoc """
  What a node runs for one repository: a follower, under the name that finds it from each node, and
  the worker that subscribes to it. It is not restarted as a whole: `Fleet.Placement` does that, if
  the repository still is this node's.
  """

  use Supervisor, restart: :temporary

  def start_link(argument), do: Supervisor.start_link(__MODULE__, argument)

  @impl true
  def init({url, options}) do
    path = path(options.directory, url)
    follower = [name: Fleet.follower(url), url: url, path: path] ++ options.follower
    worker = {options.worker, %{url: url, path: path, follower: Fleet.follower(url)}}
    Supervisor.init([{Alumiini.Git.Follower, follower}, worker], strategy: :rest_for_one)
  end

  @doc """
  Tells all nodes again who follows `url`. When a netsplit heals, a node that takes no part in the
  conflict of two others can come to know neither of them.
  """
  def announce(supervisor, url) do
    for {_id, follower, _type, [Alumiini.Git.Follower]} <- Supervisor.which_children(supervisor),
        is_pid(follower),
        # With the same metadata syn would say nothing.
        do: :syn.register(:fleet, url, follower, System.unique_integer())

    :ok
  catch
    # It ends; the placement is about to hear of that.
    :exit, _reason -> :ok
  end

  @doc "Where a node keeps a repository: a name that each URL has for itself, in any file system."
  def path(directory, url) do
    digest = :sha256 |> :crypto.hash(url) |> Base.encode16(case: :lower)
    Path.join(directory, binary_part(digest, 0, 32))
  end

  @doc "A URL as it may be logged: without what may be a password."
  def shown(url), do: String.replace(url, ~r{//[^/@]*@}, "//")
end
