defmodule Alumiini.Git.Precompiled.Checksums do
  @moduledoc false

  # The checksum file of the package: a map of literal strings, read without running any of it.

  @file_name "checksum-alumiini_git.exs"

  # Ten lines of some 150 bytes are expected.
  @max_bytes 65_536

  @type t :: %{optional(archive :: String.t()) => checksum :: String.t()}

  @spec file_name() :: String.t()
  def file_name, do: @file_name

  @spec read(Path.t()) :: {:ok, t} | {:error, String.t()}
  def read(path) do
    with {:ok, %{size: size}} when size <= @max_bytes <- File.stat(path),
         {:ok, text} <- File.read(path) do
      parse(text, path)
    else
      {:ok, _too_large} ->
        {:error, "#{path} is too large to be a checksum file"}

      {:error, :enoent} ->
        {:error,
         "there is no checksum file #{path}. The package on Hex has one, a checkout from git " <>
           "has none: " <>
           "there, build the worker with ALUMIINI_GIT_BUILD=1"}

      {:error, reason} ->
        {:error, "the checksum file #{path} cannot be read: #{:file.format_error(reason)}"}
    end
  end

  @doc "Reads the text of a checksum file. `path` is for what is said of it."
  @spec parse(String.t(), Path.t()) :: {:ok, t} | {:error, String.t()}
  def parse(text, path) do
    # No atoms are made of what is in there; a map of strings needs none.
    with {:ok, {:%{}, _, pairs}} when is_list(pairs) <-
           Code.string_to_quoted(text, existing_atoms_only: true, emit_warnings: false),
         true <- Enum.all?(pairs, &pair?/1),
         checksums = Map.new(pairs),
         # Of two lines for one archive, neither can be trusted.
         true <- map_size(checksums) == length(pairs) do
      {:ok, checksums}
    else
      _other ->
        {:error,
         "#{path} is no checksum file: a map of archives to \"sha256:<64 hexadecimal " <>
           "digits>\" is expected, " <>
           "each archive once. Get the package again (mix deps.get after mix deps.clean " <>
           "alumiini_git)"}
    end
  end

  defp pair?({archive, checksum}) when is_binary(archive) and is_binary(checksum),
    do: Path.basename(archive) == archive and checksum =~ ~r/\Asha256:[0-9a-f]{64}\z/

  defp pair?(_other), do: false

  @doc "The text of a checksum file, the same for the same checksums."
  @spec format(t) :: String.t()
  def format(checksums) do
    lines =
      checksums
      |> Enum.sort()
      |> Enum.map_join(",\n", fn {archive, checksum} ->
        "  #{inspect(archive)} => #{inspect(checksum)}"
      end)

    "%{\n" <> lines <> "\n}\n"
  end

  @doc "The checksum that an archive must have."
  @spec fetch(t, archive :: String.t()) :: {:ok, String.t()} | :error
  def fetch(checksums, archive), do: Map.fetch(checksums, archive)

  @spec sum(iodata) :: String.t()
  def sum(bytes), do: "sha256:" <> Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)

  @spec sum_file(Path.t()) :: {:ok, String.t()} | {:error, File.posix()}
  def sum_file(path) do
    with {:ok, bytes} <- File.read(path), do: {:ok, sum(bytes)}
  end

  @doc "Whether these bytes are what the checksum stands for. `what` is for the sentence."
  @spec verify(binary, checksum :: String.t(), what :: String.t()) :: :ok | {:error, String.t()}
  def verify(bytes, expected, what) do
    case sum(bytes) do
      ^expected ->
        :ok

      found ->
        {:error, "the checksum of #{what} is wrong: #{expected} is expected, it has #{found}"}
    end
  end
end
