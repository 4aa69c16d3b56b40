defmodule Alumiini.Git.Precompiled.Cache do
  @moduledoc false

  # Archives that were downloaded and verified, under the names they have in a release: a directory
  # of release archives is a cache. What is in there is verified each time, and given out as the
  # very bytes that were verified.

  alias Alumiini.Git.Precompiled.{Checksums, Download, Temporary}

  @max_bytes 64 * 1024 * 1024

  @spec directory(%{optional(String.t()) => String.t()}) :: Path.t()
  def directory(environment) do
    case Map.get(environment, "ALUMIINI_GIT_CACHE") do
      unset when unset in [nil, ""] ->
        :user_cache |> :filename.basedir("alumiini_git") |> to_string()

      directory ->
        Path.expand(directory)
    end
  end

  @doc "The bytes of an archive, or that there is none; what is not as it must be is removed."
  @spec fetch(Path.t(), archive :: String.t(), checksum :: String.t()) ::
          {:ok, binary} | :missing | {:poisoned, String.t()}
  def fetch(directory, archive, checksum) do
    path = Path.join(directory, archive)

    case read(path) do
      {:ok, bytes} ->
        case Checksums.verify(bytes, checksum, path) do
          :ok -> {:ok, bytes}
          {:error, why} -> poisoned(path, why)
        end

      {:error, :enoent} ->
        :missing

      {:error, why} ->
        poisoned(path, why)
    end
  end

  defp read(path) do
    case File.stat(path) do
      {:ok, %{type: :regular, size: size}} when size <= @max_bytes ->
        with {:error, reason} <- File.read(path),
             do: {:error, "#{path} in the cache cannot be read: #{:file.format_error(reason)}"}

      {:ok, _other} ->
        {:error, "#{path} in the cache is no archive"}

      # The cache itself may be missing, or be a file.
      {:error, reason} when reason in [:enoent, :enotdir] ->
        {:error, :enoent}

      {:error, reason} ->
        {:error, "#{path} in the cache cannot be read: #{:file.format_error(reason)}"}
    end
  end

  defp poisoned(path, why) do
    case File.rm(path) do
      removed when removed in [:ok, {:error, :enoent}] ->
        {:poisoned, why <> "; it has been removed"}

      {:error, reason} ->
        {:poisoned, why <> "; it cannot be removed: #{:file.format_error(reason)}"}
    end
  end

  @doc "Removes an archive that is of no use."
  @spec drop(Path.t(), archive :: String.t()) :: :ok
  def drop(directory, archive) do
    _ = File.rm(Path.join(directory, archive))
    :ok
  end

  @doc """
  Fills the cache: `download` writes to the path that it is given, and what it wrote gets its name
  once it is verified. Two who do that at once do not meet.
  """
  @spec store(Path.t(), String.t(), String.t(), (Path.t() -> {:ok, term} | {:error, String.t()})) ::
          {:ok, binary} | {:error, String.t()} | {:wrong_checksum, term, String.t()}
  def store(directory, archive, checksum, download) do
    path = Path.join(directory, archive)
    temporary = Temporary.name(path)

    try do
      with :ok <- create(directory),
           {:ok, how} <- download.(temporary),
           {:ok, bytes} <- posix(File.read(temporary), temporary) do
        case Checksums.verify(bytes, checksum, archive) do
          :ok -> with :ok <- posix(File.rename(temporary, path), path), do: {:ok, bytes}
          {:error, why} -> {:wrong_checksum, how, why}
        end
      end
    after
      _ = File.rm(temporary)
    end
  end

  defp create(directory) do
    case File.mkdir_p(directory) do
      :ok ->
        :ok

      {:error, reason} ->
        {:error,
         "the cache #{directory} cannot be created: #{:file.format_error(reason)}. " <>
           "Set ALUMIINI_GIT_CACHE to a directory that can be written to"}
    end
  end

  defp posix({:error, reason}, path), do: {:error, Download.cannot_write(path, reason)}
  defp posix(ok, _path), do: ok
end
