defmodule Alumiini.Git.Commit do
  @moduledoc """
  A commit, as `Alumiini.Git.head/2` and `Alumiini.Git.log/2` return it.

  | field | |
  | --- | --- |
  | `sha` | its id, in hex |
  | `tree` | the id of its tree, in hex |
  | `parents` | the ids of its parents, in hex; empty for a first commit |
  | `author`, `email` | who wrote it |
  | `timestamp`, `offset` | when: seconds since 1970, and the author's time zone in minutes east of UTC |
  | `committer`, `committer_email` | who committed it |
  | `committed_at`, `committed_offset` | when, in the same units |
  | `message` | the whole message |
  | `branch` | of `head/2`, the branch that HEAD is on, by its short name, or `nil` where HEAD is detached; of `log/2` `nil` |

  All of this is as `git log` shows it, also of commits that are not well formed: a name or an
  e-mail address that is not there is empty, and a time that is not there is `nil`, with its zone. A
  time that Git cannot count is 0. Where the commit says in which encoding it is written, text is
  UTF-8 here; else it is what the commit holds, byte for byte, and Git does not promise UTF-8.

  `DateTime.from_unix!(commit.timestamp)` gives the time in UTC.
  """

  @enforce_keys [:sha]
  defstruct [
    :sha,
    :tree,
    :author,
    :email,
    :timestamp,
    :offset,
    :committer,
    :committer_email,
    :committed_at,
    :committed_offset,
    :message,
    :branch,
    parents: []
  ]

  @type t :: %__MODULE__{
          sha: String.t(),
          tree: String.t(),
          parents: [String.t()],
          author: binary,
          email: binary,
          timestamp: integer | nil,
          offset: integer | nil,
          committer: binary,
          committer_email: binary,
          committed_at: integer | nil,
          committed_offset: integer | nil,
          message: binary,
          branch: binary | nil
        }

  # The copies let go of the frame, in which there may be many.
  @doc false
  @spec from_wire(term) :: {:ok, t} | :error
  def from_wire(
        %{
          "sha" => sha,
          "tree" => tree,
          "parents" => parents,
          "author" => author,
          "email" => email,
          "timestamp" => timestamp,
          "offset" => offset,
          "committer" => committer,
          "committer_email" => committer_email,
          "committed_at" => committed_at,
          "committed_offset" => committed_offset,
          "message" => message
        } = wire
      )
      when is_binary(sha) and is_list(parents) and (is_integer(timestamp) or timestamp == nil) and
             (is_integer(committed_at) or committed_at == nil) do
    {:ok,
     %__MODULE__{
       sha: :binary.copy(sha),
       tree: copy(tree),
       parents: Enum.map(parents, &copy/1),
       author: copy(author),
       email: copy(email),
       timestamp: timestamp,
       offset: offset,
       committer: copy(committer),
       committer_email: copy(committer_email),
       committed_at: committed_at,
       committed_offset: committed_offset,
       message: copy(message),
       branch: copy(wire["branch"])
     }}
  end

  def from_wire(_other), do: :error

  defp copy(text) when is_binary(text), do: :binary.copy(text)
  defp copy(other), do: other
end
