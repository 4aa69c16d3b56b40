defmodule Alumiini.Git.Test.Objects do
  @moduledoc false

  # Writes the objects of a repository, as Git has them: loose, one file each. For fixtures, where
  # there may be no `git`.

  @type tree :: %{binary => {mode :: String.t(), content :: binary}}

  @doc "Writes an object that is not there yet, and returns its id."
  @spec write!(Path.t(), String.t(), iodata) :: String.t()
  def write!(dir, type, content) do
    content = IO.iodata_to_binary(content)
    object = [type, " ", Integer.to_string(byte_size(content)), 0, content]
    oid = sha1(object)
    <<first::binary-size(2), rest::binary>> = oid
    path = Path.join([dir, "objects", first, rest])

    if not File.exists?(path) do
      File.mkdir_p!(Path.dirname(path))
      # Whoever reads meanwhile finds none or all of it.
      beside = path <> ".tmp"
      File.write!(beside, :zlib.compress(object))
      File.rename!(beside, path)
    end

    oid
  end

  @doc "Writes the trees of these files and what is in them, and returns the id of the top."
  @spec write_tree!(Path.t(), tree) :: String.t()
  def write_tree!(dir, files) do
    files
    |> Enum.group_by(
      fn {path, _file} -> path |> :binary.split("/") |> hd() end,
      fn {path, file} -> {:binary.split(path, "/"), file} end
    )
    |> Enum.map(&entry!(dir, &1))
    # Git sorts a directory as if its name had a slash at its end.
    |> Enum.sort_by(fn {mode, name, _oid} -> if mode == "40000", do: name <> "/", else: name end)
    |> Enum.map(fn {mode, name, oid} -> [mode, " ", name, 0, Base.decode16!(oid, case: :lower)] end)
    |> then(&write!(dir, "tree", &1))
  end

  defp entry!(dir, {name, [{[name], {mode, content}}]}),
    do: {mode, name, write!(dir, "blob", content)}

  defp entry!(dir, {name, below}) do
    files = Map.new(below, fn {[_name, rest], file} -> {rest, file} end)
    {"40000", name, write_tree!(dir, files)}
  end

  # Of the standard library, but Mix clears the code path of what no application asks for.
  defp sha1(data) do
    if not Code.ensure_loaded?(:crypto) and Code.ensure_loaded?(Mix) and
         function_exported?(Mix, :ensure_application!, 1),
       do: apply(Mix, :ensure_application!, [:crypto])

    :sha |> :crypto.hash(data) |> Base.encode16(case: :lower)
  end
end
