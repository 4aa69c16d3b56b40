defmodule Follower do
  @moduledoc """
  Follows a branch, and says when there is something new. The example of the Dockerfile.

  Environment: `GIT_URL`, `GIT_BRANCH` (default: main), `GIT_DIRECTORY` (default: /data/repository), and for private
  repositories `GIT_TOKEN`.
  """

  use Application
  use GenServer
  require Logger

  @impl Application
  def start(_type, _arguments) do
    Supervisor.start_link([Alumiini.Git, __MODULE__], strategy: :one_for_one, name: Follower.Supervisor)
  end

  def start_link(_options), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @impl GenServer
  def init([]) do
    state = %{
      url: System.fetch_env!("GIT_URL"),
      branch: System.get_env("GIT_BRANCH", "main"),
      directory: System.get_env("GIT_DIRECTORY", "/data/repository"),
      sha: nil
    }

    {:ok, state, {:continue, :sync}}
  end

  @impl GenServer
  def handle_continue(:sync, state) do
    Process.send_after(self(), :sync, :timer.seconds(30))

    case Alumiini.Git.sync(state.url, state.branch, state.directory, options()) do
      {:ok, sha} when sha == state.sha ->
        {:noreply, state}

      {:ok, sha} ->
        {:ok, files} = Alumiini.Git.files(state.directory)
        Logger.info("#{state.branch} is at #{sha}, with #{length(files)} YAML files at its root")
        {:noreply, %{state | sha: sha}}

      {:error, error} ->
        Logger.error(Exception.message(error))
        {:noreply, state}
    end
  end

  @impl GenServer
  def handle_info(:sync, state), do: {:noreply, state, {:continue, :sync}}

  defp options do
    case System.get_env("GIT_TOKEN") do
      token when token in [nil, ""] -> []
      token -> [auth: Alumiini.Git.Auth.token(token)]
    end
  end
end
