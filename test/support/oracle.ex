defmodule Alumiini.Git.Test.Oracle do
  @moduledoc """
  What git itself says, to hold our answers against.

  `assert_tree_equals/3` takes the truth from the *server's* repository, so that nothing which was
  fetched wrongly can confirm itself.
  """

  alias Alumiini.Git.Test.{Directory, GitCommand, Repository}

  @type entry :: %{path: binary, mode: String.t(), type: String.t(), oid: String.t()}
  @type difference ::
          {:missing | :unexpected | :empty_directory | :content | :kind | :executable_bit, binary}

  @doc "All entries of a commit's tree, directories gone into; or those at and below some paths."
  @spec ls_tree(Path.t(), String.t(), [binary]) :: [entry]
  def ls_tree(repository, revision, paths \\ []) do
    for line <-
          git!(repository, ["ls-tree", "-r", "-z", "--full-tree", revision, "--" | paths])
          |> :binary.split(<<0>>, [:global]),
        line != "" do
      [meta, path] = :binary.split(line, "\t")
      [mode, type, oid] = String.split(meta, " ")
      %{path: path, mode: mode, type: type, oid: oid}
    end
  end

  @doc "The commits at which the history of a clone ends; none where it has all."
  @spec shallow(Path.t()) :: [String.t()]
  def shallow(path) do
    case File.read(Path.join(path, ".git/shallow")) do
      {:ok, text} -> text |> String.split() |> Enum.sort()
      {:error, :enoent} -> []
    end
  end

  @doc "The bytes of one file of a commit."
  @spec cat_file(Path.t(), String.t(), binary) :: binary
  def cat_file(repository, revision, path) do
    entry =
      Enum.find(ls_tree(repository, revision), &(&1.path == path)) ||
        raise "no #{path} in #{revision}"

    repository |> cat_files([entry.oid]) |> Map.fetch!(entry.oid)
  end

  @doc "The contents of many blobs, `%{oid => bytes}`, from one `git cat-file --batch`."
  @spec cat_files(Path.t(), [String.t()]) :: %{String.t() => binary}
  def cat_files(_repository, []), do: %{}

  def cat_files(repository, oids) do
    oids = Enum.uniq(oids)
    # No object has that name; git answers the question about it last, so its answer is the end.
    stop = "end-of-batch"

    output =
      GitCommand.converse!(
        ["cat-file", "--batch"],
        [Enum.map(oids, &[&1, "\n"]), stop, "\n"],
        &String.ends_with?(&1, stop <> " missing\n"),
        cd: repository
      )

    parse_batch(output, %{})
  end

  defp parse_batch(output, found) do
    [line, rest] = :binary.split(output, "\n")

    case String.split(line, " ") do
      [oid, "blob", size] ->
        size = String.to_integer(size)
        {content, "\n" <> rest} = :erlang.split_binary(rest, size)
        parse_batch(rest, Map.put(found, oid, content))

      [_stop, "missing"] ->
        found
    end
  end

  @doc "Raises unless `git fsck --strict` has nothing to say."
  @spec fsck!(Path.t()) :: :ok
  def fsck!(repository) do
    # Dangling objects are no fault: a rewritten branch leaves some.
    case GitCommand.run(["fsck", "--strict", "--full", "--no-dangling", "--no-progress"],
           cd: repository
         ) do
      {"", 0} ->
        :ok

      {output, status} ->
        flunk("git fsck --strict in #{repository} ended with #{status}: #{output}")
    end
  end

  @doc """
  Raises unless git finds the working tree as committed: nothing changed, staged, untracked or
  ignored.
  """
  @spec status!(Path.t()) :: :ok
  def status!(repository) do
    case GitCommand.run(["status", "--porcelain", "--untracked-files=all", "--ignored"],
           cd: repository
         ) do
      {"", 0} -> :ok
      {output, _} -> flunk("git status in #{repository} is not empty:\n#{output}")
    end
  end

  @doc """
  Raises unless `path` holds exactly the files of `commit` as `origin` has them, or those at and
  below some paths, and git is content with it.
  """
  @spec assert_synced(Path.t(), Path.t(), String.t(), [binary]) :: :ok
  def assert_synced(path, origin, commit, paths \\ []) do
    case Repository.rev_parse(path) do
      ^commit -> :ok
      other -> flunk("HEAD of #{path} is #{inspect(other)}, not #{commit}")
    end

    assert_tree_equals(path, origin, commit, paths)
    status!(path)
    fsck!(path)
  end

  @doc """
  Raises unless `path` holds `commit` as `origin` has it, with nothing checked out: a `.git` alone,
  which git takes for a bare repository and is content with.
  """
  @spec assert_synced_bare(Path.t(), Path.t(), String.t()) :: :ok
  def assert_synced_bare(path, origin, commit) do
    case {Directory.names(path), File.exists?(Path.join(path, ".git/index"))} do
      {[".git"], false} -> :ok
      other -> flunk("#{path} holds more than it may: #{inspect(other)}")
    end

    found = {Repository.rev_parse(path), git!(path, ["rev-parse", "--is-bare-repository"])}

    if found != {commit, "true\n"},
      do: flunk("git finds #{inspect(found)} in #{path}, not #{commit}")

    case GitCommand.run(["status"], cd: path) do
      {output, 128} ->
        if output =~ "work tree", do: :ok, else: flunk("git status in #{path}: #{output}")

      other ->
        flunk("git status in #{path}: #{inspect(other)}")
    end

    if ls_tree(path, commit) != ls_tree(origin, commit),
      do: flunk("the tree in #{path} is another one")

    fsck!(path)
  end

  @doc """
  Raises unless the working tree at `path` is the commit, or some paths of it, byte for byte:
  contents, modes, links, and nothing else.
  """
  @spec assert_tree_equals(Path.t(), Path.t(), String.t(), [binary]) :: :ok
  def assert_tree_equals(path, origin, commit, paths \\ []) do
    case differences(path, origin, commit, paths) do
      [] -> :ok
      some -> flunk("#{path} is not #{commit}: #{inspect(Enum.take(some, 20), limit: :infinity)}")
    end
  end

  @doc "How the working tree at `path` differs from the commit, or from some paths of it."
  @spec differences(Path.t(), Path.t(), String.t(), [binary]) :: [difference]
  def differences(path, origin, commit, paths \\ []) do
    entries = ls_tree(origin, commit, paths)
    # A submodule's place is an empty directory, and its commit is not the origin's to know.
    {submodules, files} = Enum.split_with(entries, &(&1.type == "commit"))
    contents = cat_files(origin, Enum.map(files, & &1.oid))
    actual = walk(path, "")
    expected = MapSet.new(files, & &1.path)
    places = MapSet.new(submodules, & &1.path)

    unexpected =
      for {name, kind} <- actual,
          not MapSet.member?(expected, name),
          not MapSet.member?(places, name) do
        {if(kind == :empty_directory, do: kind, else: :unexpected), name}
      end

    Enum.flat_map(files, &compare(path, &1, Map.fetch(actual, &1.path), contents[&1.oid])) ++
      unexpected
  end

  defp compare(_root, entry, :error, _content), do: [{:missing, entry.path}]

  defp compare(root, %{mode: "120000"} = entry, {:ok, :symlink}, content) do
    # `File.read_link/1` takes no target that is not UTF-8.
    {:ok, target} = :file.read_link_all(join(root, entry.path))
    if name_bytes(target) == content, do: [], else: [{:content, entry.path}]
  end

  defp compare(root, %{mode: "100" <> _ = mode} = entry, {:ok, {:file, executable?}}, content) do
    if(File.read!(join(root, entry.path)) == content, do: [], else: [{:content, entry.path}]) ++
      if executable? == (mode == "100755"), do: [], else: [{:executable_bit, entry.path}]
  end

  defp compare(_root, entry, {:ok, _other}, _content), do: [{:kind, entry.path}]

  # Everything below `path` but its `.git`: files, links, and directories that hold nothing.
  defp walk(root, dir) do
    names = for name <- list(join(root, dir)), join(dir, name) != ".git", do: name

    if names == [] and dir != "" do
      %{dir => :empty_directory}
    else
      Enum.reduce(names, %{}, fn name, found -> Map.merge(found, look(root, join(dir, name))) end)
    end
  end

  defp look(root, path) do
    case File.lstat!(join(root, path)) do
      %{type: :directory} -> walk(root, path)
      %{type: :symlink} -> %{path => :symlink}
      %{type: :regular, mode: mode} -> %{path => {:file, Bitwise.band(mode, 0o100) != 0}}
      %{type: other} -> %{path => other}
    end
  end

  # `File.ls/1` leaves out names that are not UTF-8.
  defp list(dir) do
    {:ok, names} = :file.list_dir_all(dir)
    Enum.map(names, &name_bytes/1)
  end

  defp name_bytes(name) when is_binary(name), do: name

  defp name_bytes(name) do
    case :file.native_name_encoding() do
      :utf8 -> List.to_string(name)
      # Each of its "characters" is a byte.
      :latin1 -> :erlang.list_to_binary(name)
    end
  end

  # `Path.join/2` would do for text; names here may be any bytes.
  defp join("", name), do: name
  defp join(dir, ""), do: dir
  defp join(dir, name), do: dir <> "/" <> name

  defp git!(repository, args), do: GitCommand.run!(args, cd: repository)

  defp flunk(message), do: raise(ExUnit.AssertionError, message: message)
end
