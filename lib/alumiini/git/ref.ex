defmodule Alumiini.Git.Ref do
  @moduledoc """
  A ref of a remote, as `Alumiini.Git.refs/2` returns it.

  | field | |
  | --- | --- |
  | `name` | its full name: `"HEAD"`, `"refs/heads/main"`, `"refs/tags/v1.0.0"`, … |
  | `sha` | the id of the object that it holds, in hex |
  | `peeled` | for an annotated tag, the id of what it points to in the end, most likely a commit; otherwise `nil` |
  | `symref_target` | for a symbolic ref such as `"HEAD"`, the name of the ref that it stands for; otherwise `nil` |

  The commit of a tag, annotated or not, is `ref.peeled || ref.sha`.

  A name is the bytes that it consists of; Git does not promise UTF-8.
  """

  @enforce_keys [:name, :sha]
  defstruct [:name, :sha, :peeled, :symref_target]

  @type t :: %__MODULE__{
          name: binary,
          sha: String.t(),
          peeled: String.t() | nil,
          symref_target: binary | nil
        }

  # All or nothing. The copies let go of the frame.
  @doc false
  @spec from_wire(term) :: {:ok, [t]} | :error
  def from_wire(refs) when is_list(refs) do
    refs = Enum.map(refs, &one/1)
    if :error in refs, do: :error, else: {:ok, refs}
  end

  def from_wire(_other), do: :error

  defp one(%{"name" => name, "sha" => sha} = wire) when is_binary(name) and is_binary(sha) do
    %__MODULE__{
      name: :binary.copy(name),
      sha: :binary.copy(sha),
      peeled: copy(wire["peeled"]),
      symref_target: copy(wire["symref_target"])
    }
  end

  defp one(_other), do: :error

  defp copy(text) when is_binary(text), do: :binary.copy(text)
  defp copy(_absent), do: nil
end
