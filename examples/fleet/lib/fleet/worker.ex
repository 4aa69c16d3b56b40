defmodule Fleet.Worker do
  @moduledoc """
  Logs what is new in a repository. Put your own in its place (the option `:worker` of `Fleet`): it
  is started with a map of `url`, `path` and `follower`, on the node that follows the repository.

  A node that takes a repository over subscribes with `since: nil`: it is told the state as a whole,
  with `changes: :all`, since it does not know what the other node was done with. Whoever keeps that
  in a database subscribes with the commit from there.
  """

  use GenServer

  require Logger

  alias Alumiini.Git.Follower

  def start_link(repository), do: GenServer.start_link(__MODULE__, repository)

  @impl true
  def init(repository) do
    {:ok, _current} = Follower.subscribe(repository.follower, :all, since: nil, errors: true)
    {:ok, repository}
  end

  @impl true
  def handle_info({:alumiini_git, _follower, {:error, error}}, repository) do
    Logger.error(Exception.message(error))
    {:noreply, repository}
  end

  def handle_info({:alumiini_git, _follower, update}, repository) do
    changes = if update.changes == :all, do: "all", else: length(update.changes)
    url = Fleet.Repository.shown(repository.url)
    Logger.info("#{url} is at #{update.sha}, with #{changes} of its files to look at")
    {:noreply, repository}
  end
end
