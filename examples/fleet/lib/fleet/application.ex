defmodule Fleet.Application do
  @moduledoc """
  The application, told by the environment what to do:

    * `FLEET_REPOSITORIES` - a file with a URL in each line, read again each minute
    * `FLEET_DIRECTORY` - where this node keeps its repositories (default: /data)
    * `FLEET_DNS` - a name that has the addresses of all nodes, such as a headless service of
      Kubernetes; or `FLEET_NODES`, their names, separated by commas
    * `FLEET_QUORUM` - with fewer nodes than this in sight nothing is followed (default: 1)
    * `GIT_TOKEN` - for private repositories

  A node's name is what `RELEASE_NODE` says: `fleet@<address>` where there is `FLEET_DNS`.
  """

  use Application

  @impl true
  def start(_type, _arguments),
    do: Supervisor.start_link([{Fleet, options()}], strategy: :one_for_one)

  defp options do
    [
      directory: System.get_env("FLEET_DIRECTORY", "/data"),
      repositories: &__MODULE__.repositories/0,
      quorum: "FLEET_QUORUM" |> System.get_env("1") |> String.to_integer(),
      topologies: topologies(System.get_env("FLEET_DNS"), System.get_env("FLEET_NODES")),
      # Whoever can write the file is not to read what is on this machine.
      server: [schemes: [:https, :ssh]],
      follower: [ref: :default] ++ credentials(System.get_env("GIT_TOKEN"))
    ]
  end

  @doc "The URLs in the file; an empty line, and one that begins with #, is none."
  def repositories do
    for line <- "FLEET_REPOSITORIES" |> System.fetch_env!() |> File.stream!(),
        url = String.trim(line),
        url != "" and not String.starts_with?(url, "#"),
        do: url
  end

  defp topologies(nil, nil), do: []

  defp topologies(nil, nodes) do
    hosts = for name <- String.split(nodes, ","), do: name |> String.trim() |> String.to_atom()
    # Looked at again, for those that were not there.
    [fleet: [strategy: Cluster.Strategy.Epmd, config: [hosts: hosts, timeout: 5_000]]]
  end

  defp topologies(name, _nodes) do
    config = [polling_interval: 5_000, query: name, node_basename: "fleet"]
    [fleet: [strategy: Cluster.Strategy.DNSPoll, config: config]]
  end

  # Read again for each poll, so that a new one counts at once.
  defp credentials(token) when token in [nil, ""], do: []
  defp credentials(_token), do: [auth: {__MODULE__, :token, []}]

  @doc false
  def token, do: "GIT_TOKEN" |> System.fetch_env!() |> Alumiini.Git.Auth.token()
end
