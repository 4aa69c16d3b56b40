defmodule Alumiini.Git.Test.HttpServer.PackScanTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Test.HttpServer.PackScan

  test "finds the pack however the answer is cut up" do
    pack = for n <- 1..997, into: "", do: <<rem(n * 31, 256)>>

    # A first data byte of 1 must not be taken for a band.
    parts = [<<1>> <> pack, "", pack, "x", <<0, 0, 0, 1>>]

    answer =
      IO.iodata_to_binary([
        line("shallow-info\n"),
        line("shallow 0123456789012345678901234567890123456789"),
        "0001",
        line("packfile\n"),
        line(<<2, "Counting objects\r">>),
        Enum.map(parts, &line(<<1, &1::binary>>)),
        line(<<2, "done\n">>),
        "0004",
        "0000"
      ])

    expected = IO.iodata_to_binary(parts)

    for size <- [1, 2, 3, 5, 7, 64, 1000, byte_size(answer)] do
      {pieces, _state} = Enum.map_reduce(cut(answer, size), PackScan.new(), &PackScan.scan(&2, &1))
      pieces = List.flatten(pieces)
      assert IO.iodata_to_binary(for {:pack, data} <- pieces, do: data) == expected
      assert IO.iodata_to_binary(for {_kind, data} <- pieces, do: data) == answer
    end
  end

  test "finds no pack in what is no Git answer" do
    assert {[{:other, _} | _] = parts, _} =
             PackScan.scan(PackScan.new(), "<!DOCTYPE html>" <> <<1, 1, 1>>)

    assert Enum.all?(parts, &match?({:other, _}, &1))
  end

  defp line(data),
    do: [(byte_size(data) + 4) |> Integer.to_string(16) |> String.pad_leading(4, "0"), data]

  defp cut(data, size) when byte_size(data) <= size, do: [data]

  defp cut(data, size) do
    {piece, rest} = :erlang.split_binary(data, size)
    [piece | cut(rest, size)]
  end
end
