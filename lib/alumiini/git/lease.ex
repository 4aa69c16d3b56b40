defmodule Alumiini.Git.Lease do
  @moduledoc """
  A commit whose objects stay, as `Alumiini.Git.lease/3` returns it. Give it to
  `Alumiini.Git.release/2`.

  | field | |
  | --- | --- |
  | `path` | the repository's directory |
  | `sha` | the commit |
  | `id` | what the repository knows the lease by |
  | `server` | the server, as it was given |
  | `keeper` | the process that keeps it, on the server's node |
  """

  @enforce_keys [:path, :sha, :id, :server, :keeper]
  defstruct [:path, :sha, :id, :server, :keeper]

  @type t :: %__MODULE__{
          path: Path.t(),
          sha: String.t(),
          id: String.t(),
          server: GenServer.server(),
          keeper: pid
        }
end
