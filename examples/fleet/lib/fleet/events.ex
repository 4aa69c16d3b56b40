defmodule Fleet.Events do
  @moduledoc """
  What syn tells: a node has come or gone, and the same repository is registered by two nodes.
  """

  @behaviour :syn_event_handler

  @impl true
  def on_process_joined(:fleet, :placements, _pid, _meta, _reason), do: Fleet.Placement.look()
  def on_process_joined(_scope, _group, _pid, _meta, _reason), do: :ok

  @impl true
  def on_process_left(:fleet, :placements, _pid, _meta, _reason), do: Fleet.Placement.look()
  def on_process_left(_scope, _group, _pid, _meta, _reason), do: :ok

  # After a netsplit. The one that is right stays registered; the other is stopped by its own node,
  # which sees that the repository is another's. syn would kill one of them, and not always that.
  @impl true
  def resolve_registry_conflict(_scope, url, {one, _, _}, {other, _, _}) do
    if Fleet.Share.owner(url, [node(one), node(other)], 1) == node(one), do: one, else: other
  end
end
