defmodule Alumiini.Git.Bench.Soak.Origin do
  @moduledoc """
  A repository that is pushed to, and what each of its commits holds: a file `version` with a number
  that no other commit has, by which any read tells which commit it is of.
  """

  alias Alumiini.Git.Test.{GitCommand, HttpServer, Repository}

  @enforce_keys [:name, :path, :url, :versions]
  defstruct [:name, :path, :url, :versions]

  @type t :: %__MODULE__{name: String.t(), path: Path.t(), url: String.t(), versions: :ets.tid()}

  @spec create!(map, String.t(), pos_integer) :: t
  def create!(given, name, files) do
    origin = %__MODULE__{
      name: name,
      path: Repository.create!(given.origins, name),
      url: HttpServer.url(given.http, name),
      versions: :ets.new(:versions, [:public])
    }

    tree = for n <- 1..files, into: %{}, do: {"deploy/team#{rem(n, 7)}/#{n}.yaml", noise(n)}
    push!(origin, tree)
    origin
  end

  @doc "A commit more. Returns its id."
  @spec push!(t, map) :: String.t()
  def push!(origin, files \\ %{}) do
    version = "#{System.unique_integer([:positive, :monotonic])}\n"
    changed = Map.put(files, "version", version)
    changed = Map.put(changed, "deploy/team1/#{:rand.uniform(40)}.yaml", noise(:rand.uniform(99)))
    sha = Repository.commit!(origin.path, changed)
    :ets.insert(origin.versions, {sha, version})
    sha
  end

  @doc "What the file `version` of a commit holds; nil of one that was never pushed."
  @spec version(t, String.t()) :: String.t() | nil
  def version(origin, sha) do
    case :ets.lookup(origin.versions, sha) do
      [{_sha, version}] -> version
      # It may have been fetched before it was noted here.
      [] -> committed(origin, sha)
    end
  end

  defp committed(origin, sha) do
    case GitCommand.run(["cat-file", "-p", sha <> ":version"], cd: origin.path) do
      {version, 0} -> version
      {_message, _status} -> nil
    end
  end

  defp noise(n), do: "name: app-#{n}\nnoise: #{Base.encode64(:rand.bytes(300))}\n"
end
