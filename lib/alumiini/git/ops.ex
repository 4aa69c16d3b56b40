defmodule Alumiini.Git.Ops do
  @moduledoc false

  # The one list of operations, from which telemetry's events, the names in errors and the
  # documentation of both follow. Each has a function of `Alumiini.Git`, which documents it, and a
  # module below this one, which does it.

  @all [:sync, :update, :files, :read, :head, :checkout, :ls_remote, :refs] ++
         [:snapshot, :diff, :log, :export, :status, :lease, :release]
  # Of the wire, too, but no functions of `Alumiini.Git`, nor events.
  @internal [:hello, :normalize, :probe]
  @by_name Map.new(@all ++ @internal, &{Atom.to_string(&1), &1})

  @spec all() :: [atom, ...]
  def all, do: @all

  @doc "What errors call an operation of the wire."
  @spec name(String.t() | nil) :: atom
  def name(wire), do: Map.get(@by_name, wire, :request)
end
