defmodule Alumiini.Git.Test.Fixture do
  @moduledoc """
  A repository on disk, as `Alumiini.Git.Test.repository/2` makes it, without `git`.

  | field | |
  | --- | --- |
  | `path` | its directory, a bare repository |
  | `url` | the same as a `file://` URL, for `Alumiini.Git.sync/4` |
  | `branch` | the branch that its HEAD is on |
  | `commits` | the ids of all commits, in the order in which they were made |
  | `refs` | the id of each ref by its full name; of an annotated tag that of the tag |
  """

  alias Alumiini.Git.Options.Check
  alias Alumiini.Git.Test.Objects

  @enforce_keys [:path, :url, :branch]
  defstruct [:path, :url, :branch, commits: [], refs: %{}, trees: %{}]

  @type t :: %__MODULE__{
          path: Path.t(),
          url: String.t(),
          branch: String.t(),
          commits: [String.t()],
          refs: %{String.t() => String.t()},
          # What is in each commit.
          trees: map
        }

  @keys [:files, :branch, :from, :message, :author, :email, :timestamp, :tag]
  @regular "100644"
  @executable "100755"
  @link "120000"
  # An hour apart, so that a log has one order.
  @began 1_700_000_000
  @apart 3_600

  @doc false
  @spec create!(Path.t(), String.t()) :: t
  def create!(path, branch) do
    name!(branch, "the branch")

    if File.exists?(path) and File.ls!(path) != [] do
      raise ArgumentError, "the directory of a fixture must be absent or empty: #{path}"
    end

    for part <- ["objects/info", "objects/pack", "refs/heads", "refs/tags"],
        do: File.mkdir_p!(Path.join(path, part))

    File.write!(Path.join(path, "HEAD"), "ref: refs/heads/#{branch}\n")

    File.write!(Path.join(path, "config"), """
    [core]
    \trepositoryformatversion = 0
    \tfilemode = true
    \tbare = true
    """)

    %__MODULE__{path: path, url: "file://" <> path, branch: branch}
  end

  @doc false
  @spec commit!(t, map | keyword) :: t
  def commit!(fixture, files) when is_map(files), do: commit!(fixture, files: files)

  def commit!(%__MODULE__{} = fixture, commit) do
    keyword!(commit)
    branch = Keyword.get(commit, :branch, fixture.branch)
    name!(branch, "the branch")
    ref = "refs/heads/" <> branch
    parent = parent(fixture, ref, commit)
    files = changed(fixture.trees[parent] || %{}, Keyword.get(commit, :files, %{}))
    tree = Objects.write_tree!(fixture.path, files)
    sha = Objects.write!(fixture.path, "commit", content(fixture, tree, parent, commit))
    files = Map.put(fixture.trees, sha, files)

    %{fixture | commits: fixture.commits ++ [sha], trees: files}
    |> ref!(ref, sha)
    |> tags!(commit, sha)
  end

  def commit!(_other, _commit),
    do: raise(ArgumentError, "the repository must be what Alumiini.Git.Test.repository/2 returned")

  # A new branch begins where it says, or at the tip of the one that HEAD is on.
  defp parent(fixture, ref, commit) do
    case {commit[:from], fixture.refs} do
      {nil, %{^ref => tip}} -> tip
      {nil, refs} -> refs["refs/heads/" <> fixture.branch]
      {from, _refs} -> from!(fixture, from)
    end
  end

  defp from!(fixture, from) do
    if is_binary(from) and is_map_key(fixture.trees, from),
      do: from,
      else: raise(ArgumentError, "option :from must be the id of a commit of the fixture")
  end

  defp content(fixture, tree, parent, commit) do
    number = length(fixture.commits) + 1
    message = Keyword.get(commit, :message, "Change #{number}")

    [
      "tree #{tree}\n",
      if(parent, do: "parent #{parent}\n", else: []),
      ["author ", who(fixture, commit), "\n"],
      ["committer ", who(fixture, commit), "\n\n"],
      lines(message)
    ]
  end

  defp who(fixture, commit) do
    name = Keyword.get(commit, :author, "Fixture Author")
    email = Keyword.get(commit, :email, "author@example.com")
    timestamp = Keyword.get(commit, :timestamp, @began + @apart * length(fixture.commits))
    "#{name} <#{email}> #{timestamp} +0000"
  end

  defp lines(message), do: if(String.ends_with?(message, "\n"), do: message, else: message <> "\n")

  ## Files

  defp changed(files, changes) when is_map(changes) do
    files = Enum.reduce(changes, files, &change/2)
    dirs = for {path, _file} <- files, dir <- above(path), uniq: true, do: dir

    case Enum.find(dirs, &is_map_key(files, &1)) do
      nil -> files
      both -> raise ArgumentError, "#{inspect(both)} is both a file and a directory"
    end
  end

  defp changed(_files, _other),
    do: raise(ArgumentError, "the files of a commit must be a map of paths to contents")

  defp change({path, what}, files) do
    path!(path)

    case what do
      :delete -> delete!(files, path)
      content when is_binary(content) -> Map.put(files, path, {@regular, content})
      {:executable, content} when is_binary(content) -> Map.put(files, path, {@executable, content})
      {:symlink, target} when is_binary(target) -> Map.put(files, path, {@link, target})
      other -> wrong_content!(path, other)
    end
  end

  defp delete!(files, path) do
    if not is_map_key(files, path),
      do: raise(ArgumentError, "#{inspect(path)} is to be deleted, and is not there")

    Map.delete(files, path)
  end

  defp wrong_content!(path, other) do
    raise ArgumentError,
          "#{inspect(path)} must be a string, {:executable, string}, {:symlink, target} or " <>
            ":delete, got: #{Check.shown(other)}"
  end

  defp above(path) do
    path
    |> String.split("/")
    |> Enum.drop(-1)
    |> Enum.scan(&(&2 <> "/" <> &1))
  end

  # What Git takes in a tree.
  defp path!(path) do
    parts = if is_binary(path), do: :binary.split(path, "/", [:global]), else: [""]

    if Enum.any?(parts, &(&1 in ["", ".", ".."] or String.downcase(&1) == ".git")) or
         :binary.match(path, <<0>>) != :nomatch do
      raise ArgumentError,
            "a path of a commit must be relative, without `..`, `.git` and empty parts, got: " <>
              inspect(path)
    end
  end

  ## Refs

  defp tags!(fixture, commit, sha) do
    commit
    |> Keyword.get(:tag, [])
    |> List.wrap()
    |> Enum.reduce(fixture, fn
      {name, message}, fixture when is_binary(message) ->
        name!(name, "the tag")
        ref!(fixture, "refs/tags/" <> name, annotated!(fixture, name, message, commit, sha))

      name, fixture ->
        name!(name, "the tag")
        ref!(fixture, "refs/tags/" <> name, sha)
    end)
  end

  defp annotated!(fixture, name, message, commit, sha) do
    Objects.write!(fixture.path, "tag", [
      "object #{sha}\ntype commit\ntag #{name}\n",
      ["tagger ", who(fixture, commit), "\n\n"],
      lines(message)
    ])
  end

  defp ref!(fixture, ref, oid) do
    path = Path.join(fixture.path, ref)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path <> ".lock", oid <> "\n")
    File.rename!(path <> ".lock", path)
    put_in(fixture.refs[ref], oid)
  end

  # As git-check-ref-format(1) has it.
  defp name!(name, what) do
    sound? =
      is_binary(name) and name != "" and
        not (name =~ ~r{[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\z|\A/|\.\z|\A-|\A@\z}) and
        not Enum.any?(String.split(name, "/"), &(&1 =~ ~r/\A\.|\.lock\z/))

    if not sound?,
      do: raise(ArgumentError, "#{what} of a fixture must have a name that Git takes")
  end

  defp keyword!(commit) do
    if not Keyword.keyword?(commit),
      do: raise(ArgumentError, "a commit of a fixture must be a map of files or a keyword list")

    case Keyword.keys(commit) -- @keys do
      [] ->
        Enum.each(commit, &option!/1)

      [key | _] ->
        raise ArgumentError,
              "unknown option #{inspect(key)} of a fixture's commit; the known ones are " <>
                Enum.map_join(@keys, ", ", &inspect/1)
    end
  end

  # A line break or a bracket would be another line of the commit.
  defp option!({key, value}) when key in [:author, :email] do
    if not (is_binary(value) and value != "" and not (value =~ ~r/[\x00\n<>]/)),
      do: raise(ArgumentError, "option #{inspect(key)} must be a string without < > and line ends")
  end

  defp option!({:message, value}) do
    if not (is_binary(value) and :binary.match(value, <<0>>) == :nomatch),
      do: raise(ArgumentError, "option :message must be a string, got: #{Check.shown(value)}")
  end

  defp option!({:timestamp, value}) do
    if not (is_integer(value) and value >= 0),
      do: raise(ArgumentError, "option :timestamp must be a number of seconds since 1970")
  end

  defp option!(_other), do: :ok
end
