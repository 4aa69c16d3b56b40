defmodule Fleet.ShareTest do
  use ExUnit.Case, async: true

  alias Fleet.Share

  @urls for n <- 1..1_000, do: "https://git.example.com/team-#{n}.git"
  @nodes [:"a@10.0.0.1", :"b@10.0.0.2", :"c@10.0.0.3"]

  defp owners(nodes), do: Map.new(@urls, &{&1, Share.owner(&1, nodes, 1)})

  test "each node has about the same number" do
    for {node, count} <- Enum.frequencies(Map.values(owners(@nodes))) do
      assert node in @nodes
      assert_in_delta count, 333, 60
    end
  end

  test "the order of the nodes does not matter" do
    assert owners(@nodes) == owners(Enum.reverse(@nodes))
  end

  test "where a node goes, its repositories move and no others, to both that are left" do
    before = owners(@nodes)
    left = owners(@nodes -- [:"b@10.0.0.2"])
    moved = for {url, node} <- before, left[url] != node, do: url
    assert Enum.all?(moved, &(before[&1] == :"b@10.0.0.2"))
    assert moved |> Enum.map(&left[&1]) |> Enum.uniq() |> length() == 2
  end

  test "with fewer nodes than the quorum nobody has it" do
    assert Share.owner("u", [:"a@10.0.0.1"], 2) == nil
    assert Share.owner("u", [:"a@10.0.0.1"], 1) == :"a@10.0.0.1"
    assert Share.owner("u", [], 1) == nil
  end
end
