defmodule Alumiini.Git.Snapshot do
  @moduledoc """
  The files of one commit, as `Alumiini.Git.snapshot/3` returns them.

  | field | |
  | --- | --- |
  | `commit` | the id of the commit, in hex |
  | `tree` | the id of the tree of the directory that was read, in hex |
  | `files` | a list of `Alumiini.Git.Snapshot.File`, in the order of `git ls-tree -r` |
  """

  alias Alumiini.Git.Snapshot

  @enforce_keys [:commit, :tree]
  defstruct [:commit, :tree, files: []]

  @type t :: %__MODULE__{commit: String.t(), tree: String.t(), files: [Snapshot.File.t()]}

  # Of one page; all or nothing. The copies let go of the frame, of which a file is a small part.
  # What is in `known` is there without its content.
  @doc false
  @spec from_wire(term, MapSet.t(String.t())) :: {:ok, t} | :error
  def from_wire(%{"commit" => commit, "tree" => tree, "files" => files}, known)
      when is_binary(commit) and is_binary(tree) and is_list(files) do
    files = Enum.map(files, &Snapshot.File.from_wire(&1, known))

    if :error in files,
      do: :error,
      else: {:ok, %__MODULE__{commit: :binary.copy(commit), tree: :binary.copy(tree), files: files}}
  end

  def from_wire(_other, _known), do: :error
end
