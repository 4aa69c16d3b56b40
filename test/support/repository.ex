defmodule Alumiini.Git.Test.Repository do
  @moduledoc """
  Bare repositories for tests to fetch from, made and changed by the `git` command.

      origin = Repository.create!(dir, "shop.git")
      files = %{"deploy/app.yaml" => "…", "run.sh" => {:executable, "…"}}
      first = Repository.commit!(origin, files)
  """

  alias Alumiini.Git.Test.{FastImport, GitCommand}

  @type path :: Path.t()
  @type id :: String.t()

  @doc """
  A bare repository `name` in `dir`, with HEAD on `main` and nothing in it. Options: `:branch`,
  `:object_format`.
  """
  @spec create!(Path.t(), String.t(), keyword) :: path
  def create!(dir, name \\ "origin.git", options \\ []) do
    path = Path.join(dir, name)
    format = options[:object_format] || "sha1"
    branch = options[:branch] || "main"

    GitCommand.run!([
      "init",
      "--quiet",
      "--bare",
      "--template=",
      "--initial-branch=#{branch}",
      "--object-format=#{format}",
      path
    ])

    path
  end

  @doc """
  Commits files on top of a branch (which begins if it is not there), and returns the commit's id.

  Contents as in `t:Alumiini.Git.Test.FastImport.content/0`. Options: `:branch` (`"main"`),
  `:message`, `:author`, `:time`, `:zone`, `:from` (a revision to start from), `:merge`, `:only`
  (without the parent's files).
  """
  @spec commit!(path, FastImport.files(), keyword) :: id
  def commit!(repository, files, options \\ []) do
    hd(commits!(repository, [options |> Map.new() |> Map.put(:files, files)]))
  end

  @doc "Many commits in one go, oldest first; each as the options of `commit!/3` and `:files`."
  @spec commits!(path, Enumerable.t()) :: [id]
  def commits!(repository, commits) do
    FastImport.run!(repository, with_parents(repository, commits))
  end

  # fast-import starts a branch anew unless told where it stands.
  defp with_parents(repository, commits) do
    {commits, _} =
      Enum.map_reduce(commits, MapSet.new(), fn commit, begun ->
        commit = Map.put_new(commit, :branch, "main")
        known? = MapSet.member?(begun, commit.branch) or commit[:from] != nil
        tip = if known?, do: nil, else: rev_parse(repository, "refs/heads/#{commit.branch}")
        commit = if tip, do: Map.put(commit, :from, tip), else: commit
        {commit, MapSet.put(begun, commit.branch)}
      end)

    commits
  end

  @doc "A history of `count` commits, each of which changes one file of `spread`."
  @spec history!(path, pos_integer, keyword) :: [id]
  def history!(repository, count, options \\ []) do
    {spread, options} = Keyword.pop(options, :spread, 10)
    extra = Map.new(options)

    commits!(
      repository,
      for n <- 1..count do
        Map.merge(extra, %{
          files: %{"history/#{rem(n, spread)}.yaml" => "revision: #{n}\n"},
          message: "Revision #{n}\n"
        })
      end
    )
  end

  @doc "Puts the branch elsewhere, forward or not."
  @spec move_branch!(path, String.t(), String.t()) :: :ok
  def move_branch!(repository, branch, revision) do
    GitCommand.run!(["update-ref", "refs/heads/#{branch}", rev_parse!(repository, revision)],
      cd: repository
    )

    :ok
  end

  @doc "A commit that replaces the newest `back` ones (a force-push, as clients see it)."
  @spec rewrite!(path, String.t(), non_neg_integer, FastImport.files(), keyword) :: id
  def rewrite!(repository, branch, back, files, options \\ []) do
    from = rev_parse!(repository, "refs/heads/#{branch}~#{back}")
    commit!(repository, files, [branch: branch, from: from] ++ options)
  end

  @spec delete_branch!(path, String.t()) :: :ok
  def delete_branch!(repository, branch) do
    GitCommand.run!(["update-ref", "-d", "refs/heads/#{branch}"], cd: repository)
    :ok
  end

  @spec set_head!(path, String.t()) :: :ok
  def set_head!(repository, branch) do
    GitCommand.run!(["symbolic-ref", "HEAD", "refs/heads/#{branch}"], cd: repository)
    :ok
  end

  @doc "A tag; annotated with a `:message`."
  @spec tag!(path, String.t(), String.t(), keyword) :: :ok
  def tag!(repository, name, revision, options \\ []) do
    annotation = if options[:message], do: ["-a", "-m", options[:message]], else: []
    GitCommand.run!(["tag"] ++ annotation ++ [name, revision], cd: repository)
    :ok
  end

  @doc """
  A commit of a tree that git would not make: entries `{mode, name, content}` or `{mode, name, {:id,
  id}}`, unchecked.
  """
  @spec commit_raw_tree!(path, String.t(), [{String.t(), binary, iodata | {:id, id}}]) :: id
  def commit_raw_tree!(repository, branch, entries) do
    bytes =
      for {mode, name, content} <- entries do
        [mode, " ", name, 0, Base.decode16!(blob!(repository, content), case: :lower)]
      end

    tree = hash!(repository, "tree", bytes)

    commit =
      GitCommand.run!(["commit-tree", "-m", "A tree of raw entries", tree], cd: repository)
      |> String.trim()

    GitCommand.run!(["update-ref", "refs/heads/#{branch}", commit], cd: repository)
    commit
  end

  defp blob!(_repository, {:id, id}), do: id
  defp blob!(repository, content), do: hash!(repository, "blob", content)

  @doc "Writes an object as it is, and returns its id."
  @spec hash!(path, String.t(), iodata) :: id
  def hash!(repository, type, content) do
    file = Path.join(repository, "raw-object-#{System.unique_integer([:positive])}")
    File.write!(file, content)

    try do
      ["hash-object", "-t", type, "--literally", "--no-filters", "-w", file]
      |> GitCommand.run!(cd: repository)
      |> String.trim()
    after
      File.rm!(file)
    end
  end

  @doc "The commit's id, or nil where there is none of that name."
  @spec rev_parse(path, String.t()) :: id | nil
  def rev_parse(repository, revision \\ "HEAD") do
    arguments = ["rev-parse", "--verify", "--quiet", "#{revision}^{commit}"]

    case GitCommand.run(arguments, cd: repository) do
      {id, 0} -> String.trim(id)
      _ -> nil
    end
  end

  @spec rev_parse!(path, String.t()) :: id
  def rev_parse!(repository, revision \\ "HEAD") do
    rev_parse(repository, revision) || raise "#{repository} has no commit #{revision}"
  end

  @doc "Packs everything into one pack, as a hosted repository is."
  @spec repack!(path) :: :ok
  def repack!(repository) do
    GitCommand.run!(["repack", "-a", "-d", "-q"], cd: repository)
    :ok
  end
end
