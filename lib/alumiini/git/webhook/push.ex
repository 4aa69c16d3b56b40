defmodule Alumiini.Git.Webhook.Push do
  @moduledoc """
  A push, as a webhook of a forge tells it: what `Alumiini.Git.Webhook.parse/3` returns for one.

  | field | |
  | --- | --- |
  | `forge` | `:github`, `:gitlab`, `:gitea`, `:forgejo`, `:gogs`, `:bitbucket_cloud`, `:bitbucket_data_center` or `:azure_devops` |
  | `urls` | each clone URL that the payload names, over HTTPS and SSH, without credentials. There is at least one. `Alumiini.Git.Webhook.same_repository?/2` says whether one of them is yours |
  | `ref` | the full name: `refs/heads/main`, `refs/tags/v1.2.3` |
  | `before` | what the ref was at. `nil` where it was created, and in the event for a deletion that Gitea, Forgejo and Gogs send |
  | `after` | what it is at now: a commit, or for an annotated tag often the tag object. `nil` where it was deleted |
  | `changes` | all refs of this push, each as `%{ref: …, before: …, after: …}` |
  | `delivery` | the id that the forge gave to this delivery; `nil` where it gave none |

  One delivery of GitHub, GitLab, Gitea, Forgejo or Gogs is about one ref. Bitbucket, Azure DevOps
  and GitLab's system hooks may tell of several: `ref`, `before` and `after` are those of the first
  in `changes`. Where a payload names none, `changes` is empty and the three are `nil`.
  """

  @enforce_keys [:forge, :urls]
  defstruct [:forge, :ref, :before, :after, :delivery, urls: [], changes: []]

  @typedoc "A ref, and where it was and is."
  @type change :: %{ref: String.t(), before: String.t() | nil, after: String.t() | nil}

  @type t :: %__MODULE__{
          forge: Alumiini.Git.Webhook.forge(),
          urls: [String.t(), ...],
          ref: String.t() | nil,
          before: String.t() | nil,
          after: String.t() | nil,
          changes: [change],
          delivery: String.t() | nil
        }

  @doc false
  @spec new(atom, [String.t()], [change], String.t() | nil) :: t
  def new(forge, urls, changes, delivery) do
    first = List.first(changes) || %{ref: nil, before: nil, after: nil}
    struct!(%__MODULE__{forge: forge, urls: urls, changes: changes, delivery: delivery}, first)
  end
end
