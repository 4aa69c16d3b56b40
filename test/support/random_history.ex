defmodule Alumiini.Git.Test.RandomHistory do
  @moduledoc """
  A repository that changes at random and the same way for the same seed: commits, force-pushes,
  branches that come, move and go. What is there afterwards, git says.

      history = RandomHistory.new(origin, 42)
      {step, history} = RandomHistory.step(history)
  """

  alias Alumiini.Git.Test.Repository

  defstruct [:repository, :random, count: 0, branches: %{}]

  @type step ::
          {:commit, branch :: String.t(), id :: String.t()}
          | {:force_push, branch :: String.t(), id :: String.t()}
          | {:branch, branch :: String.t(), id :: String.t()}
          | {:move, branch :: String.t(), id :: String.t()}
          | {:delete, branch :: String.t()}
  # For each branch its commits, newest first, and the paths in each.
  @type t :: %__MODULE__{
          repository: Path.t(),
          random: :rand.state(),
          count: non_neg_integer,
          branches: %{String.t() => [{String.t(), [binary]}]}
        }

  @names ~w(app.yaml config.yml secret.yaml run.sh data.bin README values.yaml .hidden) ++
           ["with space.yaml", "grüße.yaml", "latin1-\xfc.yaml"]
  @directories ["", "deploy", "deploy/base", "deploy/overlays/prod", "app.yaml", "docs/a/b/c"]

  @doc "Starts with one commit on `main`."
  @spec new(Path.t(), integer) :: t
  def new(repository, seed) do
    {_step, history} =
      commit(%__MODULE__{repository: repository, random: :rand.seed_s(:exsss, seed)}, "main")

    history
  end

  @spec branches(t) :: [String.t()]
  def branches(history), do: history.branches |> Map.keys() |> Enum.sort()

  @doc "The newest commit of a branch."
  @spec tip(t, String.t()) :: String.t()
  def tip(history, branch), do: history.branches |> Map.fetch!(branch) |> hd() |> elem(0)

  @doc "One of `list`, by the same random numbers."
  @spec pick(t, [item]) :: {item, t} when item: term
  def pick(history, list) do
    {n, random} = :rand.uniform_s(length(list), history.random)
    {Enum.at(list, n - 1), %{history | random: random}}
  end

  @doc "One random change."
  @spec step(t) :: {step, t}
  def step(history) do
    {kind, history} =
      pick(history, [
        :commit,
        :commit,
        :commit,
        :commit,
        :force_push,
        :force_push,
        :branch,
        :move,
        :delete
      ])

    {branch, history} = pick(history, branches(history))
    step(kind, branch, history)
  end

  defp step(:commit, branch, history), do: commit(history, branch)

  defp step(:force_push, branch, history) do
    commits = history.branches[branch]
    {back, history} = pick(history, Enum.to_list(0..min(length(commits) - 1, 4)))

    {{:commit, branch, id}, history} =
      commit(put(history, branch, Enum.drop(commits, back)), branch)

    {{if(back == 0, do: :commit, else: :force_push), branch, id}, history}
  end

  defp step(:branch, branch, history) do
    {back, history} = pick(history, Enum.to_list(0..(length(history.branches[branch]) - 1)))
    name = "topic/#{history.count}"

    history =
      put(%{history | count: history.count + 1}, name, Enum.drop(history.branches[branch], back))

    point(history, :branch, name)
  end

  defp step(:move, branch, history) do
    {other, history} = pick(history, branches(history))
    history |> put(branch, history.branches[other]) |> point(:move, branch)
  end

  # Something must be left to follow.
  defp step(:delete, "main", history), do: commit(history, "main")

  defp step(:delete, branch, history) do
    Repository.delete_branch!(history.repository, branch)
    {{:delete, branch}, %{history | branches: Map.delete(history.branches, branch)}}
  end

  defp point(history, kind, branch) do
    Repository.move_branch!(history.repository, branch, tip(history, branch))
    {{kind, branch, tip(history, branch)}, history}
  end

  defp put(history, branch, commits),
    do: %{history | branches: Map.put(history.branches, branch, commits)}

  ## Commits

  defp commit(history, branch) do
    commits = Map.get(history.branches, branch, [])
    paths = with [{_, paths} | _] <- commits, do: paths
    {size, history} = pick(history, [1, 1, 2, 3, 5, 8])

    {files, paths, history} =
      Enum.reduce(1..size, {[], paths, history}, fn _, {files, paths, history} ->
        {{path, content}, history} = change(history, paths)
        {[{path, content} | files], after_change(paths, path, content), history}
      end)

    from = with [{id, _} | _] <- commits, do: [from: id]
    count = history.count + 1

    id =
      Repository.commit!(
        history.repository,
        Enum.reverse(files),
        [branch: branch, message: "Step #{count}\n", time: 1_700_000_000 + count] ++ from
      )

    history = put(%{history | count: count}, branch, [{id, paths} | commits])
    {{:commit, branch, id}, history}
  end

  defp change(history, paths) do
    case pick(history, [:add, :add, :change, :delete]) do
      {:delete, history} when paths != [] ->
        {path, history} = pick(history, paths)
        {{path, :delete}, history}

      {:change, history} when paths != [] ->
        {path, history} = pick(history, paths)
        write(history, path)

      {_add, history} ->
        {directory, history} = pick(history, @directories)
        {name, history} = pick(history, @names)
        write(history, if(directory == "", do: name, else: directory <> "/" <> name))
    end
  end

  defp write(history, path) do
    {kind, history} = pick(history, [:text, :text, :crlf, :binary, :empty, :executable, :symlink])
    {number, history} = pick(history, Enum.to_list(1..1000))
    {{path, content(kind, number)}, history}
  end

  defp content(:text, n), do: String.duplicate("line: #{n}\n", rem(n, 50) + 1)
  defp content(:crlf, n), do: "line: #{n}\r\nother: true\r\n"
  defp content(:binary, n), do: for(i <- 0..(n * 3), into: <<>>, do: <<rem(i * n, 256)>>)
  defp content(:empty, _n), do: ""
  defp content(:executable, n), do: {:executable, "#!/bin/sh\nexit #{n}\n"}
  defp content(:symlink, n), do: {:symlink, "target-#{n}"}

  defp after_change(paths, path, :delete), do: List.delete(paths, path)

  # A file where a directory was, or the other way round, takes its place.
  defp after_change(paths, path, _content) do
    kept = Enum.reject(paths, &(&1 == path or below?(&1, path) or below?(path, &1)))
    Enum.sort([path | kept])
  end

  defp below?(path, directory),
    do: :binary.match(path, directory <> "/") == {0, byte_size(directory) + 1}
end
