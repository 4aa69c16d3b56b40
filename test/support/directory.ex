defmodule Alumiini.Git.Test.Directory do
  @moduledoc "What is in a directory, to see whether anything there was touched."

  @type contents :: %{binary => tuple}

  @doc """
  Everything at and below `path`, for `==`: kinds, modes, digests of contents and targets of links;
  of files also which file it is and when it was written, so that one that was replaced by its equal
  shows. `path` itself is `""`.

  `:except` leaves out paths relative to `path`, with all that they hold.
  """
  @spec contents(Path.t(), except: [binary]) :: contents
  def contents(path, options \\ []) do
    except = MapSet.new(options[:except] || [])

    case File.lstat(path) do
      {:ok, stat} -> look(path, "", stat, except, %{})
      {:error, :enoent} -> %{}
    end
  end

  @doc "What differs between two looks at a directory: paths, sorted."
  @spec touched(contents, contents) :: [binary]
  def touched(before, later) do
    for path <- Map.keys(Map.merge(before, later)), before[path] != later[path], do: path
  end

  @doc "The names directly below `path`, sorted."
  @spec names(Path.t()) :: [binary]
  def names(path) do
    {:ok, names} = :file.list_dir_all(path)
    # Names that are not UTF-8 come as bytes already.
    names |> Enum.map(&if is_binary(&1), do: &1, else: List.to_string(&1)) |> Enum.sort()
  end

  defp look(root, name, stat, except, found) do
    path = if name == "", do: root, else: root <> "/" <> name
    mode = Bitwise.band(stat.mode, 0o7777)

    case stat.type do
      :directory ->
        found = Map.put(found, name, {:directory, mode})

        for child <- names(path), child = below(name, child), child not in except, reduce: found do
          found -> look(root, child, File.lstat!(root <> "/" <> child), except, found)
        end

      :regular ->
        Map.put(found, name, {:file, mode, stat.inode, stat.mtime, :erlang.md5(File.read!(path))})

      :symlink ->
        Map.put(found, name, {:symlink, stat.inode, File.read_link!(path)})

      other ->
        Map.put(found, name, {other, mode, stat.inode})
    end
  end

  defp below("", child), do: child
  defp below(name, child), do: name <> "/" <> child
end
