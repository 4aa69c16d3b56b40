defmodule Alumiini.Git.Test.HttpServer.Counters do
  @moduledoc "What a server has seen, counted without a message per event."

  @slots %{connections: 1, requests: 2, bytes_in: 3, bytes_out: 4, pack_bytes: 5, pack_watchers: 6}

  @type name :: :connections | :requests | :bytes_in | :bytes_out | :pack_bytes | :pack_watchers

  @spec new() :: :atomics.atomics_ref()
  def new, do: :atomics.new(map_size(@slots), signed: true)

  @spec add(:atomics.atomics_ref(), name, integer) :: integer
  def add(counters, name, n), do: :atomics.add_get(counters, @slots[name], n)

  @spec get(:atomics.atomics_ref(), name) :: integer
  def get(counters, name), do: :atomics.get(counters, @slots[name])

  @spec all(:atomics.atomics_ref()) :: %{name => integer}
  def all(counters) do
    for name <- [:connections, :requests, :bytes_in, :bytes_out, :pack_bytes], into: %{} do
      {name, get(counters, name)}
    end
  end
end
