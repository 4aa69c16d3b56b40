defmodule Alumiini.Git.Test.Leftovers do
  @moduledoc """
  What an interrupted sync may leave in a working tree and its `.git`, and a finished one may not.
  """

  @doc """
  The files and directories at `path` that are there for the time of a sync only. None where `path`
  is not there.
  """
  @spec of(Path.t()) :: [Path.t()]
  def of(path) do
    beside = for name <- list(path), String.starts_with?(name, ".git.alumiini-"), do: name
    beside ++ below(path, ".git")
  end

  defp below(root, dir) do
    names = list(Path.join(root, dir))

    Enum.flat_map(names, fn name ->
      path = Path.join(dir, name)

      cond do
        leftover?(dir, name, names) -> [path]
        File.dir?(Path.join(root, path)) -> below(root, path)
        true -> []
      end
    end)
  end

  defp leftover?(".git", name, _names) when name in ["alumiini-checkout", "alumiini-incoming"],
    do: true

  defp leftover?(dir, name, names) do
    String.ends_with?(name, ".lock") or
      (dir == ".git/objects/pack" and
         (String.starts_with?(name, ["pack_git2_", "tmp_"]) or half_a_pack?(name, names)))
  end

  # A pack is of use only together with its index.
  defp half_a_pack?(name, names) do
    case Path.extname(name) do
      ".pack" -> (Path.rootname(name) <> ".idx") not in names
      ".idx" -> (Path.rootname(name) <> ".pack") not in names
      _other -> false
    end
  end

  defp list(dir) do
    case File.ls(dir) do
      {:ok, names} -> names
      {:error, _absent} -> []
    end
  end
end
