defmodule Alumiini.Git.Export do
  @moduledoc """
  What was exported, as `Alumiini.Git.export/3` returns it.

  | field | |
  | --- | --- |
  | `commit` | the id of the commit, in hex |
  | `digest` | `"sha256:"` and a SHA-256 in hex: of the archive's bytes, or of what a directory holds. The same for the same files, on every machine |
  | `files` | how many files and links there are |
  | `bytes` | how many bytes are in them; of an archive, before it was compressed |
  """

  @enforce_keys [:commit, :digest]
  defstruct [:commit, :digest, files: 0, bytes: 0]

  @type t :: %__MODULE__{
          commit: String.t(),
          digest: String.t(),
          files: non_neg_integer,
          bytes: non_neg_integer
        }

  @doc false
  @spec from_wire(term) :: {:ok, t} | :error
  def from_wire(%{"commit" => commit, "digest" => digest, "files" => files, "bytes" => bytes})
      when is_binary(commit) and is_binary(digest) and is_integer(files) and is_integer(bytes) do
    {:ok,
     %__MODULE__{
       commit: :binary.copy(commit),
       digest: :binary.copy(digest),
       files: files,
       bytes: bytes
     }}
  end

  def from_wire(_other), do: :error
end
