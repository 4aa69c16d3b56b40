defmodule Alumiini.Git.Test.ReleaseArchive do
  @moduledoc "Archives as a release has them, and such as none should have."

  @type entry ::
          {name :: String.t(), content :: binary}
          | {:symlink | :hardlink | :directory, String.t(), String.t()}

  @doc "A tar.gz with these entries, whatever their names are."
  @spec build([entry]) :: binary
  def build(entries) do
    z = :zlib.open()
    # Quick rather than small.
    :ok = :zlib.deflateInit(z, :best_speed, :deflated, 16 + 15, 8, :default)
    bytes = :zlib.deflate(z, [Enum.map(entries, &entry/1), <<0::8192>>], :finish)
    :ok = :zlib.deflateEnd(z)
    :zlib.close(z)
    IO.iodata_to_binary(bytes)
  end

  @doc "A program that says that it is a worker of that version."
  @spec worker(String.t()) :: String.t()
  def worker(version),
    do: "#!/bin/sh\necho 'alumiini-git #{version} protocol 1 libgit2 1.9.7 x86_64-unknown-linux-gnu'\n"

  @doc "A checksum file."
  @spec checksums(%{String.t() => binary}) :: String.t()
  def checksums(archives) do
    lines =
      for {name, bytes} <- archives do
        ~s(  "#{name}" => "sha256:#{Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)}"\n)
      end

    "%{\n" <> Enum.join(lines, ",") <> "}\n"
  end

  defp entry({name, content}), do: [header(name, ?0, byte_size(content), ""), content, padding(content)]
  defp entry({:symlink, name, to}), do: header(name, ?2, 0, to)
  defp entry({:hardlink, name, to}), do: header(name, ?1, 0, to)
  defp entry({:directory, name, _}), do: header(name, ?5, 0, "")

  defp padding(content), do: :binary.copy(<<0>>, rem(512 - rem(byte_size(content), 512), 512))

  # The header of ustar; the checksum is taken with spaces in its place.
  defp header(name, type, size, link) do
    before = [field(name, 100), "0000755\0", "0000000\0", "0000000\0", octal(size), octal(0)]
    rest = [type, field(link, 100), "ustar\0", "00", :binary.copy(<<0>>, 247)]
    sum = [before, "        ", rest] |> IO.iodata_to_binary() |> :binary.bin_to_list() |> Enum.sum()
    [before, String.pad_leading(Integer.to_string(sum, 8), 6, "0"), "\0 ", rest]
  end

  defp field(text, size), do: text <> :binary.copy(<<0>>, size - byte_size(text))
  defp octal(number), do: String.pad_leading(Integer.to_string(number, 8), 11, "0") <> "\0"
end
