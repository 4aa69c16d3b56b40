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

  @impl Application
  def start(_type, _arguments) do
    # Whoever can set the URL is not to read what is on this machine.
    schemes =
      for scheme <- "GIT_SCHEMES" |> System.get_env("https,ssh") |> String.split(","),
          do: String.to_existing_atom(scheme)

    path = System.get_env("GIT_DIRECTORY", "/data/repository")
    # Nor is a link on the volume to lead to another directory.
    git = {Alumiini.Git, schemes: schemes, root: Path.dirname(path)}
    children = [git, {Alumiini.Git.Follower, followed(path)}, {__MODULE__, path}]
    Supervisor.start_link(children, strategy: :rest_for_one, name: Follower.Supervisor)
  end

  defp followed(path) do
    [
      name: Follower.Branch,
      url: System.fetch_env!("GIT_URL"),
      ref: {:branch, System.get_env("GIT_BRANCH", "main")},
      path: path,
      interval: "GIT_INTERVAL" |> System.get_env("30") |> String.to_integer() |> :timer.seconds()
    ] ++ credentials(System.get_env("GIT_TOKEN"))
  end

  # Read again for each poll, so that a new one counts at once.
  defp credentials(token) when token in [nil, ""], do: []
  defp credentials(_token), do: [auth: {__MODULE__, :token, []}]

  @doc false
  def token, do: "GIT_TOKEN" |> System.fetch_env!() |> Alumiini.Git.Auth.token()

  def start_link(path), do: GenServer.start_link(__MODULE__, path, name: __MODULE__)

  @impl GenServer
  def init(path) do
    {:ok, _current} =
      Alumiini.Git.Follower.subscribe(Follower.Branch, :all, since: nil, errors: true)

    {:ok, path}
  end

  @impl GenServer
  def handle_info({:alumiini_git, _follower, {:error, error}}, path) do
    Logger.error(Exception.message(error))
    {:noreply, path}
  end

  def handle_info({:alumiini_git, _follower, %{sha: sha, ref: ref}}, path) do
    "refs/heads/" <> branch = ref

    case Alumiini.Git.files(path, at: sha) do
      {:ok, files} ->
        Logger.info("#{branch} is at #{sha}, with #{length(files)} YAML files at its root")

      {:error, error} ->
        Logger.error(Exception.message(error))
    end

    {:noreply, path}
  end
end
