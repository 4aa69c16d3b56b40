defmodule Fleet.Share do
  @moduledoc """
  Which node has which repository: the one with the highest hash of the two together (rendezvous
  hashing). Each node finds the same from the same list of nodes, whatever its order, without asking
  another; where a node goes, its repositories alone move, to all others in equal parts; and where
  one comes, it gets its part from each.
  """

  @hashes 4_294_967_296

  @doc "The node among `nodes` that has `url`, or `nil` where there are fewer than `quorum`."
  @spec owner(String.t(), [node], pos_integer) :: node | nil
  def owner(_url, nodes, quorum) when length(nodes) < quorum, do: nil
  def owner(_url, [], _quorum), do: nil

  # Of equal hashes the later name counts, so that the order of the list does not.
  def owner(url, nodes, _quorum),
    do: Enum.max_by(nodes, &{:erlang.phash2({&1, url}, @hashes), &1})
end
