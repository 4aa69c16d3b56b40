defmodule Alumiini.Git.Precompiled.Provenance do
  @moduledoc false

  # Where the worker in priv/ came from, in a small file beside it: for the doctor, and for people.
  # No secrets are in it.

  alias Alumiini.Git.Precompiled.{Checksums, Otp, Temporary}

  @suffix ".origin"
  @keys ~w(from archive archive_checksum checksum)

  @type t :: %{optional(String.t()) => String.t()}

  @spec path(binary :: Path.t()) :: Path.t()
  def path(binary), do: binary <> @suffix

  @doc "The text for a worker whose bytes have that checksum."
  @spec format(t) :: String.t()
  def format(origin) do
    for key <- @keys,
        value = origin[key],
        into: "",
        do: "#{key}: #{String.replace(value, ~r/\s/, " ")}\n"
  end

  @spec write(binary :: Path.t(), t) :: :ok | {:error, File.posix()}
  def write(binary, origin) do
    temporary = Temporary.name(path(binary))

    with :ok <- File.write(temporary, format(origin)),
         :ok <- File.rename(temporary, path(binary)) do
      :ok
    else
      {:error, reason} ->
        _ = File.rm(temporary)
        {:error, reason}
    end
  end

  @spec read(binary :: Path.t()) :: {:ok, t} | :error
  def read(binary) do
    case File.read(path(binary)) do
      {:ok, text} ->
        pairs =
          for line <- String.split(text, "\n", trim: true),
              [key, value] <- [String.split(line, ": ", parts: 2)],
              key in @keys,
              do: {key, value}

        {:ok, Map.new(pairs)}

      {:error, _reason} ->
        :error
    end
  end

  @doc """
  What the doctor says of a binary: where it came from, and whether it is still what it was then.
  """
  @spec tell(binary :: Path.t()) :: [{label :: String.t(), value :: String.t()}]
  def tell(binary) do
    # A sum cannot be taken without :crypto, which a release may not have.
    _ = Otp.load()

    case read(binary) do
      {:ok, %{"from" => from, "checksum" => checksum} = origin} ->
        archive = if origin["archive"], do: [{"archive", archive(origin)}], else: []
        [{"origin", from}] ++ archive ++ [{"checksum", holds(binary, checksum)}]

      {:ok, _other} ->
        [{"origin", "unknown: #{path(binary)} cannot be understood"}]

      :error ->
        [{"origin", "unknown: it was not put there by `mix compile`"}]
    end
  end

  defp archive(%{"archive" => archive, "archive_checksum" => checksum}),
    do: "#{archive} #{checksum}"

  defp archive(%{"archive" => archive}), do: archive

  defp holds(binary, checksum) do
    case if(Code.ensure_loaded?(:crypto), do: Checksums.sum_file(binary), else: :no_crypto) do
      :no_crypto ->
        "#{checksum} when it was installed; add :crypto to :extra_applications to see whether " <>
          "it still is"

      {:ok, ^checksum} ->
        "#{checksum}, as when it was installed"

      {:ok, found} ->
        "#{found} IS WRONG: it was #{checksum} when it was installed; compile again with --force"

      {:error, reason} ->
        "cannot be taken: #{:file.format_error(reason)}"
    end
  end
end
