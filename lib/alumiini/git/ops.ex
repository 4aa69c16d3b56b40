defmodule Alumiini.Git.Ops do
  @moduledoc false

  # The one list of operations, from which telemetry's events, the names in errors and the
  # documentation of both follow: each file of `ops/` does one, and `Alumiini.Git` has a function of
  # that name, which documents it.

  @files Path.wildcard(Path.join([__DIR__, "ops", "*.ex"]))
  @all for file <- @files, do: file |> Path.basename(".ex") |> String.to_atom()
  # Of the wire, too, but no functions of `Alumiini.Git`, nor events.
  # `hosts` is a part of what `Alumiini.Git.info/2` tells, which is about no repository.
  @internal [:hello, :normalize, :probe, :info, :hosts]
  @by_name Map.new(@all ++ @internal, &{Atom.to_string(&1), &1})

  @spec all() :: [atom, ...]
  def all, do: @all

  @doc "What errors call an operation of the wire."
  @spec name(String.t() | nil) :: atom
  def name(wire), do: Map.get(@by_name, wire, :request)

  # A new file there is found without a change of this one. A release has no sources.
  @doc false
  @spec __mix_recompile__?() :: boolean
  def __mix_recompile__? do
    files = Path.wildcard(Path.join([__DIR__, "ops", "*.ex"]))
    files != [] and files != @files
  end
end
