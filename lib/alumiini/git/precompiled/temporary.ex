defmodule Alumiini.Git.Precompiled.Temporary do
  @moduledoc false

  # Names of files beside the one that they are to become, by a rename once they are whole.

  # Longer than anybody takes to fill one: a download has a quarter of an hour.
  @abandoned_s 60 * 60

  @doc """
  A name that nobody else takes. What others left behind, who were killed before they could remove
  it, is removed.
  """
  @spec name(Path.t()) :: Path.t()
  def name(path) do
    sweep(path)
    number = System.unique_integer([:positive])
    "#{path}.#{System.pid()}-#{number}-#{:rand.uniform(1_000_000)}.tmp"
  end

  # What cannot be looked at or removed is in nobody's way.
  defp sweep(path) do
    before = System.os_time(:second) - @abandoned_s

    _ =
      with {:ok, names} <- File.ls(Path.dirname(path)) do
        for name <- names,
            String.starts_with?(name, Path.basename(path) <> ".") and
              String.ends_with?(name, ".tmp"),
            left = Path.join(Path.dirname(path), name),
            {:ok, %{mtime: mtime}} when mtime < before <- [File.lstat(left, time: :posix)],
            do: File.rm(left)
      end

    :ok
  end
end
