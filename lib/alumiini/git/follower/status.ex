defmodule Alumiini.Git.Follower.Status do
  @moduledoc """
  How a follower fares, as `Alumiini.Git.Follower.status/1` returns it.

  | field | |
  | --- | --- |
  | `url`, `ref`, `path` | what it follows, and where; the URL without credentials, query and fragment |
  | `server` | the server, as it was given |
  | `sha` | the commit that the last successful poll found, in hex; `nil` before the first |
  | `error` | why the last poll failed, or why there is none; `nil` where it succeeded |
  | `polled_at` | when the last poll ended, a `DateTime`; `nil` before the first |
  | `next_poll_at` | when the next one begins; `nil` while one is under way, or the server is not there |
  | `polling?` | whether one is under way |
  | `pokes` | how many pokes no poll has answered yet |
  | `subscribers` | how many processes are subscribed to this follower |
  | `followers` | how many followers share its polls, itself among them; 0 while the server is not there |
  """

  @enforce_keys [:url, :ref, :path, :server]
  defstruct [
    :url,
    :ref,
    :path,
    :server,
    :sha,
    :error,
    :polled_at,
    :next_poll_at,
    polling?: false,
    pokes: 0,
    subscribers: 0,
    followers: 0
  ]

  @type t :: %__MODULE__{
          url: String.t(),
          ref: Alumiini.Git.ref(),
          path: Path.t(),
          server: GenServer.server(),
          sha: String.t() | nil,
          error: Alumiini.Git.Error.t() | nil,
          polled_at: DateTime.t() | nil,
          next_poll_at: DateTime.t() | nil,
          polling?: boolean,
          pokes: non_neg_integer,
          subscribers: non_neg_integer,
          followers: non_neg_integer
        }
end
