defmodule Alumiini.Git.Update do
  @moduledoc """
  What a sync did, as `Alumiini.Git.update/4` returns it.

  | field | |
  | --- | --- |
  | `sha` | the id of the commit that the directory is at now, in hex |
  | `previous` | the id of the commit that it was at before; `nil` where there was none, or it could not be read |
  | `changed?` | whether these two differ; with `:paths` or `:ignore`, whether they do in what is taken |
  | `ref` | the full name of the ref that was synced: `"refs/heads/main"`, `"refs/tags/v1.2.3"`, …; `nil` for `{:commit, sha}` |
  | `tag` | of an annotated tag, the id of the tag itself; otherwise `nil` |
  | `cloned?` | whether there was no repository before |
  | `repaired?` | whether the repository was damaged and is a new one now |
  | `bytes` | how many bytes of objects came over the network |
  | `objects` | how many objects came |
  | `changes` | what an `Alumiini.Git.Follower` tells with it: a list of `Alumiini.Git.Change`, or `:all` where anything may have changed; `nil` from `Alumiini.Git.update/4` |

  A call that puts changed files right, with nothing new at the remote, is not `changed?`.
  """

  alias Alumiini.Git.Change

  @enforce_keys [:sha]
  defstruct [
    :sha,
    :previous,
    :ref,
    :tag,
    :changes,
    changed?: false,
    cloned?: false,
    repaired?: false,
    bytes: 0,
    objects: 0
  ]

  @type t :: %__MODULE__{
          sha: String.t(),
          previous: String.t() | nil,
          changed?: boolean,
          ref: binary | nil,
          tag: String.t() | nil,
          cloned?: boolean,
          repaired?: boolean,
          bytes: non_neg_integer,
          objects: non_neg_integer,
          changes: [Change.t()] | :all | nil
        }

  # The copies let go of the frame. `ref` is what was asked for.
  @doc false
  @spec from_wire(term, map) :: {:ok, t} | :error
  def from_wire(
        %{"sha" => sha, "changed" => changed, "bytes" => bytes, "objects" => objects} = wire,
        ref
      )
      when is_binary(sha) and is_boolean(changed) and is_integer(bytes) and is_integer(objects) do
    {:ok,
     %__MODULE__{
       sha: :binary.copy(sha),
       previous: copy(wire["previous"]),
       changed?: changed,
       ref: name(ref, wire["branch"]),
       tag: copy(wire["tag"]),
       cloned?: wire["cloned"] == true,
       repaired?: wire["repaired"] == true,
       bytes: bytes,
       objects: objects
     }}
  end

  def from_wire(_other, _ref), do: :error

  defp name(_ref, branch) when is_binary(branch), do: "refs/heads/" <> branch
  defp name(%{"tag" => tag}, _detached), do: "refs/tags/" <> tag
  defp name(%{"name" => name}, _detached), do: name
  defp name(%{"default" => true}, _detached), do: "HEAD"
  defp name(_commit, _detached), do: nil

  defp copy(text) when is_binary(text), do: :binary.copy(text)
  defp copy(_absent), do: nil
end
