defmodule Alumiini.Git.Snapshot.File do
  @moduledoc """
  A file, a symbolic link or a submodule of an `Alumiini.Git.Snapshot`.

  | field | |
  | --- | --- |
  | `path` | where it is, from the repository's directory on, whatever the snapshot's `subpath` is. Bytes: Git does not promise UTF-8 |
  | `oid` | the id of its content, in hex; of a submodule that of its commit |
  | `mode` | what it is: `0o100644` a file, `0o100755` an executable file, `0o120000` a symbolic link, `0o160000` a submodule |
  | `size` | the bytes of its content; `nil` for a submodule |
  | `content` | the committed bytes; of a symbolic link its target, which is not followed. `nil` where it was not asked for (`content: false`, `known:`) and for a submodule |
  | `lfs` | where the content is a pointer of Git LFS, `%{oid: oid, size: size}` of the file that it stands for, with its SHA-256 in hex; otherwise `nil`. The file itself is not in the repository |
  """

  @enforce_keys [:path, :oid, :mode]
  defstruct [:path, :oid, :mode, :size, :content, :lfs]

  @type t :: %__MODULE__{
          path: binary,
          oid: String.t(),
          mode: non_neg_integer,
          size: non_neg_integer | nil,
          content: binary | nil,
          lfs: %{oid: String.t(), size: non_neg_integer} | nil
        }

  @doc false
  @spec from_wire(term, MapSet.t(String.t())) :: t | :error
  def from_wire(%{"path" => path, "oid" => oid, "mode" => mode} = wire, known)
      when is_binary(path) and is_binary(oid) and is_integer(mode) do
    %__MODULE__{
      path: :binary.copy(path),
      oid: :binary.copy(oid),
      mode: mode,
      size: wire["size"],
      content: if(not MapSet.member?(known, oid), do: copy(wire["content"])),
      lfs: lfs(wire["lfs"])
    }
  end

  def from_wire(_other, _known), do: :error

  defp lfs(%{"oid" => oid, "size" => size}) when is_binary(oid) and is_integer(size),
    do: %{oid: :binary.copy(oid), size: size}

  defp lfs(_none), do: nil

  defp copy(bytes) when is_binary(bytes), do: :binary.copy(bytes)
  defp copy(_absent), do: nil
end
