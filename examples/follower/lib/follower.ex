defmodule Follower do
  @moduledoc """
  Follows a branch, and says when there is something new. The example of the Dockerfile.

  Environment: `GIT_URL`, `GIT_BRANCH` (default: main), `GIT_DIRECTORY` (default: /data/repository),
  `GIT_INTERVAL` (seconds from one look to the next, default: 30), `GIT_SCHEMES` (which remotes may
  be reached, default: https,ssh), and for private repositories `GIT_TOKEN`.
  """

  use Application
  use GenServer
  require Logger

  @longest :timer.minutes(10)

  @impl Application
  def start(_type, _arguments) do
    options = [
      url: System.fetch_env!("GIT_URL"),
      branch: System.get_env("GIT_BRANCH", "main"),
      directory: System.get_env("GIT_DIRECTORY", "/data/repository"),
      interval: "GIT_INTERVAL" |> System.get_env("30") |> String.to_integer() |> :timer.seconds()
    ]

    # Whoever can set the URL is not to read what is on this machine.
    schemes =
      for scheme <- "GIT_SCHEMES" |> System.get_env("https,ssh") |> String.split(","),
          do: String.to_existing_atom(scheme)

    # Nor is a link on the volume to lead to another directory.
    root = Path.dirname(options[:directory])
    children = [{Alumiini.Git, schemes: schemes, root: root}, {__MODULE__, options}]
    Supervisor.start_link(children, strategy: :one_for_one, name: Follower.Supervisor)
  end

  def start_link(options), do: GenServer.start_link(__MODULE__, Map.new(options), name: __MODULE__)

  @impl GenServer
  def init(%{interval: interval} = options),
    do: {:ok, Map.merge(options, %{sha: nil, error: nil, pause: interval}), {:continue, :sync}}

  @impl GenServer
  def handle_info(:sync, state), do: {:noreply, state, {:continue, :sync}}

  @impl GenServer
  def handle_continue(:sync, state) do
    state =
      with {:ok, sha} when sha != state.sha <- sync(state),
           {:ok, files} <- Alumiini.Git.files(state.directory) do
        Logger.info("#{state.branch} is at #{sha}, with #{length(files)} YAML files at its root")
        current(state, sha)
      else
        {:ok, sha} -> current(state, sha)
        {:error, error} -> failed(state, error)
      end

    Process.send_after(self(), :sync, state.pause)
    {:noreply, state}
  end

  defp sync(state), do: Alumiini.Git.sync(state.url, state.branch, state.directory, credentials())

  # Read for each call, so that no process keeps it, and a new one counts at once.
  defp credentials do
    case System.get_env("GIT_TOKEN") do
      token when token in [nil, ""] -> []
      token -> [auth: Alumiini.Git.Auth.token(token)]
    end
  end

  defp current(state, sha), do: %{state | sha: sha, error: nil, pause: state.interval}

  # No error ends this process: somebody may put right what is wrong. Each kind is logged once, and
  # the pauses grow.
  defp failed(state, error) do
    if error.reason != state.error, do: Logger.error(Exception.message(error))

    %{
      state
      | error: error.reason,
        pause: state.pause |> max(1_000) |> then(&min(2 * &1, max(@longest, state.interval)))
    }
  end
end
