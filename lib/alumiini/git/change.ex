defmodule Alumiini.Git.Change do
  @moduledoc """
  What became of a path between two commits, as `Alumiini.Git.diff/4` returns it.

  | field | |
  | --- | --- |
  | `status` | `:added`, `:deleted`, `:modified` (its content or whether it is executable), `:renamed`, or `:type_changed` (between a file, a symbolic link and a submodule) |
  | `path` | where it is; of what was deleted, where it was. Bytes: Git does not promise UTF-8 |
  | `old_path` | of what was renamed, where it was; otherwise `nil` |
  | `mode`, `old_mode` | what it is and what it was, as `Alumiini.Git.Snapshot.File` has it; `nil` where it is not there |
  | `oid`, `old_oid` | the ids of its content, in hex; `nil` where it is not there |
  | `score` | of what was renamed, how much of the content is the same, in percent; otherwise `nil` |
  """

  @enforce_keys [:status, :path]
  defstruct [:status, :path, :old_path, :mode, :old_mode, :oid, :old_oid, :score]

  @type status :: :added | :deleted | :modified | :renamed | :type_changed

  @type t :: %__MODULE__{
          status: status,
          path: binary,
          old_path: binary | nil,
          mode: non_neg_integer | nil,
          old_mode: non_neg_integer | nil,
          oid: String.t() | nil,
          old_oid: String.t() | nil,
          score: 0..100 | nil
        }

  @statuses Map.new(~w(added deleted modified renamed type_changed)a, &{Atom.to_string(&1), &1})

  # All or nothing. The copies let go of the frame.
  @doc false
  @spec from_wire(term) :: {:ok, [t]} | :error
  def from_wire(changes) when is_list(changes) do
    changes = Enum.map(changes, &one/1)
    if :error in changes, do: :error, else: {:ok, changes}
  end

  def from_wire(_other), do: :error

  defp one(%{"status" => status, "path" => path} = wire)
       when is_map_key(@statuses, status) and is_binary(path) do
    %__MODULE__{
      status: Map.fetch!(@statuses, status),
      path: :binary.copy(path),
      old_path: copy(wire["old_path"]),
      mode: wire["mode"],
      old_mode: wire["old_mode"],
      oid: copy(wire["oid"]),
      old_oid: copy(wire["old_oid"]),
      score: wire["score"]
    }
  end

  defp one(_other), do: :error

  defp copy(text) when is_binary(text), do: :binary.copy(text)
  defp copy(_absent), do: nil
end
