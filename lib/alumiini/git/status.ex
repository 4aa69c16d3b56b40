defmodule Alumiini.Git.Status do
  @moduledoc """
  What differs from the commit in a working tree, as `Alumiini.Git.status/2` returns it.

  | field | |
  | --- | --- |
  | `status` | `:modified` (its content or whether it is executable), `:deleted`, `:untracked` (not in the commit; a directory of nothing else is one, with a slash at its end), or `:type_changed` (a file where the commit has a link, or the other way round) |
  | `path` | where. Bytes: Git does not promise UTF-8 |
  """

  @enforce_keys [:status, :path]
  defstruct [:status, :path]

  @type status :: :modified | :deleted | :untracked | :type_changed
  @type t :: %__MODULE__{status: status, path: binary}

  @statuses Map.new(~w(modified deleted untracked type_changed)a, &{Atom.to_string(&1), &1})

  # All or nothing. The copies let go of the frame.
  @doc false
  @spec from_wire(term) :: {:ok, [t]} | :error
  def from_wire(changes) when is_list(changes) do
    changes = Enum.map(changes, &one/1)
    if :error in changes, do: :error, else: {:ok, changes}
  end

  def from_wire(_other), do: :error

  defp one(%{"status" => status, "path" => path})
       when is_map_key(@statuses, status) and is_binary(path),
       do: %__MODULE__{status: Map.fetch!(@statuses, status), path: :binary.copy(path)}

  defp one(_other), do: :error
end
