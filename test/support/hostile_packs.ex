defmodule Alumiini.Git.Test.HostilePacks do
  @moduledoc """
  Packs that cost whoever takes them in more than they weigh, made byte by byte (gitformat-pack).
  """

  @blob 3
  @ref_delta 7

  @doc "So many deltas, each before the object that it is a delta of."
  @spec backwards(pos_integer) :: binary
  def backwards(count) do
    contents = for n <- 0..count, do: "object #{n}\n"
    [first | _] = contents

    deltas =
      for [base, content] <- Enum.chunk_every(contents, 2, 1, :discard) do
        entry(@ref_delta, Base.decode16!(id(base), case: :lower), delta(base, [{:insert, content}]))
      end

    pack([entry(@blob, "", first) | deltas] |> Enum.reverse())
  end

  @doc "Two deltas that each say to be of what the other makes."
  @spec circle() :: binary
  def circle do
    [one, other] = ["one\n", "other\n"]

    pack([
      entry(@ref_delta, Base.decode16!(id(one), case: :lower), delta(one, [{:insert, other}])),
      entry(@ref_delta, Base.decode16!(id(other), case: :lower), delta(other, [{:insert, one}]))
    ])
  end

  @doc "A delta that makes so many MiB of one."
  @spec bomb(pos_integer) :: binary
  def bomb(mebibytes) do
    base = :binary.copy(<<0>>, 1_048_576)

    pack([
      entry(@blob, "", base),
      entry(
        @ref_delta,
        Base.decode16!(id(base), case: :lower),
        delta(base, List.duplicate({:copy, byte_size(base)}, mebibytes))
      )
    ])
  end

  @doc "What a server of protocol v0 says of one branch, and then sends."
  @spec answers(binary, String.t()) :: %{info_refs: iodata, upload_pack: iodata}
  def answers(pack, commit \\ String.duplicate("ab", 20)) do
    refs = [pkt("#{commit} refs/heads/main\0shallow ofs-delta\n"), "0000"]

    %{
      info_refs: [pkt("# service=git-upload-pack\n"), "0000", refs],
      upload_pack: [pkt("shallow #{commit}"), "0000", pkt("NAK\n"), pack]
    }
  end

  @doc "A line as Git's protocols have it."
  @spec pkt(iodata) :: iodata
  def pkt(text) do
    length = IO.iodata_length(text) + 4
    [length |> Integer.to_string(16) |> String.pad_leading(4, "0") |> String.downcase(), text]
  end

  defp id(content),
    do: :crypto.hash(:sha, ["blob #{byte_size(content)}\0", content]) |> Base.encode16(case: :lower)

  defp pack(entries) do
    pack = IO.iodata_to_binary(["PACK", <<2::32, length(entries)::32>>, entries])
    pack <> :crypto.hash(:sha, pack)
  end

  # Type and size: four bits of it, then seven in each byte.
  defp entry(type, base, content) do
    size = byte_size(content)
    [header(type, Bitwise.band(size, 15), Bitwise.bsr(size, 4)), base, :zlib.compress(content)]
  end

  defp header(type, low, 0), do: <<0::1, type::3, low::4>>
  defp header(type, low, more), do: [<<1::1, type::3, low::4>>, varint(more)]

  defp delta(base, steps) do
    size =
      Enum.reduce(steps, 0, fn {_kind, what}, sum ->
        sum + if(is_binary(what), do: byte_size(what), else: what)
      end)

    IO.iodata_to_binary([
      varint(byte_size(base)),
      varint(size),
      for step <- steps do
        case step do
          {:insert, content} -> [byte_size(content), content]
          # From 0 on, three bytes of size.
          {:copy, length} -> [0b1111_0000, <<length::little-24>>]
        end
      end
    ])
  end

  defp varint(number) when number < 128, do: <<number>>
  defp varint(number), do: [<<1::1, number::7>>, varint(Bitwise.bsr(number, 7))]
end
