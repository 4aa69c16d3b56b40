defmodule Alumiini.Git.Commit do
  @moduledoc """
  A commit, as `Alumiini.Git.head/2` returns it.

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
  | `branch` | the branch that HEAD is on, by its short name, or `nil` where HEAD is detached |

  Names and the message are what the commit holds, byte for byte; Git does not promise UTF-8.
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
          timestamp: integer,
          offset: integer,
          committer: binary,
          committer_email: binary,
          committed_at: integer,
          committed_offset: integer,
          message: binary,
          branch: binary | nil
        }

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
      when is_binary(sha) and is_list(parents) and is_integer(timestamp) and is_integer(committed_at) do
    {:ok,
     %__MODULE__{
       sha: sha,
       tree: tree,
       parents: parents,
       author: author,
       email: email,
       timestamp: timestamp,
       offset: offset,
       committer: committer,
       committer_email: committer_email,
       committed_at: committed_at,
       committed_offset: committed_offset,
       message: message,
       branch: wire["branch"]
     }}
  end

  def from_wire(_other), do: :error
end
