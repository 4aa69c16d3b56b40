defmodule Alumiini.Git.Precompiled.Install do
  @moduledoc false

  # Puts a worker where it is run from. A running worker keeps the file it was started from, and
  # nobody ever sees half a binary, or one that does not run here.

  alias Alumiini.Git.Precompiled.{Checksums, Provenance, Temporary}

  @doc """
  `write` writes the binary to the path that it is given, `trial` says whether it will do. What is
  known of it is noted beside it. After an error, what was there is there still.
  """
  @spec put(
          destination :: Path.t(),
          write :: (Path.t() -> :ok | {:error, File.posix()}),
          trial :: (Path.t() -> :ok | {:error, String.t()}),
          Provenance.t()
        ) :: :ok | {:refused, String.t()} | {:error, String.t()}
  def put(destination, write, trial, origin) do
    temporary = Temporary.name(destination)

    try do
      with :ok <- write.(temporary),
           :ok <- File.chmod(temporary, 0o755),
           :ok <- trial.(temporary),
           {:ok, checksum} <- Checksums.sum_file(temporary),
           # The note first: a disk that is full for it must not leave a binary that was refused.
           :ok <- Provenance.write(destination, Map.put(origin, "checksum", checksum)),
           :ok <- rename(temporary, destination) do
        :ok
      else
        {:error, why} when is_binary(why) ->
          {:refused, why}

        {:error, reason} ->
          {:error,
           "the worker cannot be put into #{destination}: #{:file.format_error(reason)}. " <>
             "Mix must be able to write to #{Path.dirname(destination)} when it compiles"}
      end
    after
      _ = File.rm(temporary)
    end
  end

  defp rename(temporary, destination) do
    with {:error, reason} <- File.rename(temporary, destination) do
      _ = File.rm(Provenance.path(destination))
      {:error, reason}
    end
  end
end
