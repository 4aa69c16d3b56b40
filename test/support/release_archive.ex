defmodule Alumiini.Git.Test.ReleaseArchive do
  @moduledoc "Archives as a release has them, and such as none should have."

  @type entry ::
          {name :: String.t(), content :: binary}
          | {:symlink | :hardlink | :directory, String.t(), String.t()}
          | {:sparse, String.t(), size :: pos_integer}
          | {:renamed, String.t(), to :: String.t()}

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
    do:
      "#!/bin/sh\necho 'alumiini-git #{version} protocol 1 libgit2 1.9.7 " <>
        "x86_64-unknown-linux-gnu'\n"

  @doc "A checksum file."
  @spec checksums(%{String.t() => binary}) :: String.t()
  def checksums(archives) do
    lines =
      for {name, bytes} <- archives do
        ~s(  "#{name}" => "sha256:#{Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)}")
      end

    "%{\n" <> Enum.join(lines, ",\n") <> "\n}\n"
  end

  defp entry({name, content}),
    do: [header(name, ?0, byte_size(content), ""), content, padding(content)]

  defp entry({:symlink, name, to}), do: header(name, ?2, 0, to)
  defp entry({:hardlink, name, to}), do: header(name, ?1, 0, to)
  defp entry({:directory, name, _}), do: header(name, ?5, 0, "")

  # GNU's way to say that a file is all holes but for its last block.
  defp entry({:sparse, name, size}) do
    empty = &:binary.copy(<<0>>, &1)
    holes = [octal(size - 512), octal(512), empty.(72), <<0>>, octal(size)]
    [header(name, ?S, 512, "", ["ustar  \0", empty.(121), holes]), :binary.copy("x", 512)]
  end

  # By a header of pax, which comes before the entry and has the last word.
  defp entry({:renamed, name, to}) do
    record = " path=#{to}\n"
    record = "#{byte_size(record) + 2}#{record}"
    [header("pax", ?x, byte_size(record), ""), record, padding(record), entry({name, "x"})]
  end

  defp padding(content), do: :binary.copy(<<0>>, rem(512 - rem(byte_size(content), 512), 512))

  # The header of ustar; the checksum is taken with spaces in its place.
  defp header(name, type, size, link, extra \\ "ustar\0" <> "00") do
    before = [field(name, 100), "0000755\0", "0000000\0", "0000000\0", octal(size), octal(0)]
    rest = [type, field(link, 100), field(IO.iodata_to_binary(extra), 255)]
    sum = [before, "        ", rest] |> IO.iodata_to_binary() |> :binary.bin_to_list() |> Enum.sum()
    [before, String.pad_leading(Integer.to_string(sum, 8), 6, "0"), "\0 ", rest]
  end

  defp field(text, size), do: text <> :binary.copy(<<0>>, size - byte_size(text))
  defp octal(number), do: String.pad_leading(Integer.to_string(number, 8), 11, "0") <> "\0"
end
