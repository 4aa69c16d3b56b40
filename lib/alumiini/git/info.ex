defmodule Alumiini.Git.Info do
  @moduledoc """
  What a server does, in numbers, as `Alumiini.Git.info/2` returns it.

  | field | |
  | --- | --- |
  | `pending` | calls that have no answer yet |
  | `in_flight` | those of them that a worker has |
  | `queued` | those that wait for a worker; `pending` is the sum of both |
  | `workers` | workers that run: one, and one more for each request that runs alone because it was in flight when two others ended |
  | `attempts` | workers that were started so far |
  | `os_pid` | the process id of the worker; `nil` while there is none |
  | `version`, `target`, `libgit2` | of the worker; `nil` until it is up |
  | `binary` | the path of the worker's program; `nil` while there is none |
  | `hosts` | with `hosts: true` a list of `t:Alumiini.Git.Info.Host.t/0`, the busiest first; `nil` where that was not asked for, or the worker did not tell in time |
  """

  alias Alumiini.Git.Info.Host

  @enforce_keys [:pending, :in_flight, :queued, :workers, :attempts]
  defstruct [
    :pending,
    :in_flight,
    :queued,
    :workers,
    :attempts,
    :os_pid,
    :version,
    :target,
    :libgit2,
    :binary,
    :hosts
  ]

  @type t :: %__MODULE__{
          pending: non_neg_integer,
          in_flight: non_neg_integer,
          queued: non_neg_integer,
          workers: non_neg_integer,
          attempts: non_neg_integer,
          os_pid: non_neg_integer | nil,
          version: String.t() | nil,
          target: String.t() | nil,
          libgit2: String.t() | nil,
          binary: Path.t() | nil,
          hosts: [Host.t()] | nil
        }
end
