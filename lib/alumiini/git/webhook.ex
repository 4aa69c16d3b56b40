defmodule Alumiini.Git.Webhook do
  @moduledoc ~S"""
  What the webhooks of forges say, verified. `parse/3` takes a delivery;
  `Alumiini.Git.Webhook.Plug` is a plug that has followers ask their remote, at once, whose
  repository was pushed to.

      case Alumiini.Git.Webhook.parse(headers, body, secret: secret) do
        {:ok, %Alumiini.Git.Webhook.Push{urls: urls, ref: ref}} -> pushed(urls, ref)
        {:ok, :ping} -> :ok
        {:ok, {:ignored, _event}} -> :ok
        {:error, error} -> {error.detail.status, Exception.message(error)}
      end

  The [guide to webhooks](webhooks.md) says how to set one up.

  ## Forges

  The secret is the same text here and there. Choose the content type `application/json`; a form,
  as GitHub, Gitea, Forgejo and Gogs can send it, is taken, too.

  | forge | where the secret goes | what is verified |
  | --- | --- | --- |
  | GitHub | "Secret" of the webhook | `X-Hub-Signature-256`: HMAC-SHA256 of the body. The older signature with SHA-1 does not do |
  | GitLab | "Secret token", or "Signing token" (`whsec_…`) | `X-Gitlab-Token`, which is the secret itself; or `webhook-signature`: HMAC-SHA256 of id, time and body. System hooks, too |
  | Gitea | "Secret" | `X-Gitea-Signature`: HMAC-SHA256 of the payload |
  | Forgejo | "Secret" | `X-Forgejo-Signature` or `X-Gitea-Signature`: the same |
  | Gogs | "Secret" | `X-Gogs-Signature`: the same |
  | Bitbucket Cloud | "Secret" | `X-Hub-Signature`: HMAC-SHA256 of the body |
  | Bitbucket Data Center | "Secret", or a user and a password | the same, or `Authorization`. The secret is the password, or `user:password` |
  | Azure DevOps | a service hook of the kind "Web Hooks": the password of "Basic authentication" (or in "HTTP headers" `Authorization: Bearer SECRET`, or a header of your own, see `:header`) | `Authorization` or that header |

  GitLab's secret token and Azure DevOps' password are sent as they are: take them over HTTPS only.

  ## Events

  A push, also one that creates or deletes a branch or a tag, is an `Alumiini.Git.Webhook.Push`.
  One delivery may be about several refs. A request by which a forge tries the webhook is `:ping`.
  Whatever else a webhook tells is `{:ignored, event}`, with the forge's name of it, a string.

  ## JSON

  It is decoded by OTP (27 or later), Elixir (1.18 or later), or by Jason: with older ones, add
  `{:jason, "~> 1.4"}` to your dependencies. OTP's application `:crypto` is needed, too, which Plug
  and others bring along; where none does, add it to `:extra_applications`.

  ## What bounds a delivery

  Anyone who can reach the address can send something there. The headers are looked at before the
  body, and the signature before what the body says. A body has at most `:max_bytes` bytes, its JSON
  64 levels. No atom is made of anything in it. No error repeats the secret, or anything else of the
  delivery but the forge that it says it is from.

  A delivery that somebody recorded and sends again is as good as the first one. It can do no harm:
  a follower that is told of a push asks its remote what is there. To have it refused, give
  `:deliveries`.
  """

  alias Alumiini.Git.Error
  alias Alumiini.Git.Webhook.{Options, Push, Repository, Request}

  @typedoc "Who sends a webhook."
  @type forge ::
          :github
          | :gitlab
          | :gitea
          | :forgejo
          | :gogs
          | :bitbucket_cloud
          | :bitbucket_data_center
          | :azure_devops

  @typedoc "A secret, several (while one takes the place of another), or what returns them."
  @type secret ::
          String.t()
          | [String.t(), ...]
          | (() -> String.t() | [String.t(), ...])
          | {module, atom, [term]}
          | :none

  @type option ::
          {:secret, secret}
          | {:max_bytes, pos_integer}
          | {:header, String.t() | nil}
          | {:deliveries, GenServer.server() | nil}

  @doc """
  Verifies a delivery, and says what it tells.

  `headers` are those of the request, as a list of pairs or a map, in any case. `body` is the body
  as it was received: the signature is over its bytes, so one that was decoded and encoded again
  will not do.

  ## Options

    * `:secret` - has to be given: a string, a list of strings of which one has to be right, or a
      function of no arguments or `{module, function, arguments}` that returns one of these. `:none`
      takes what anybody sends
    * `:max_bytes` - how long a body may be. Default: 26,214,400 (25 MiB, GitHub's own limit)
    * `:header` - the name of a header that has the secret in deliveries of Azure DevOps. Default:
      none, and only `Authorization` counts
    * `:deliveries` - a process that remembers what was received, so that nothing is taken twice:
      see `Alumiini.Git.Webhook.Deliveries`. Default: none

  ## Errors

  `:auth` (no signature, or a wrong one), `:too_large`, `:invalid` (no JSON, not of the forge's
  shape, received before), `:unsupported` (no forge that is known, another content type, nothing
  that decodes JSON), `:worker_unavailable` (the process given as `:deliveries` does not run). The
  `detail` of each has the `:status` with which to answer the request.

  ## Examples

      iex> body = ~s({"zen": "Keep it logically awesome."})
      iex> mac = :crypto.mac(:hmac, :sha256, "s3cr3t", body) |> Base.encode16(case: :lower)
      iex> headers = [{"X-GitHub-Event", "ping"}, {"X-Hub-Signature-256", "sha256=" <> mac}]
      iex> Alumiini.Git.Webhook.parse(headers, body, secret: "s3cr3t")
      {:ok, :ping}
      iex> {:error, error} = Alumiini.Git.Webhook.parse(headers, body, secret: "another")
      iex> {error.reason, error.detail.status}
      {:auth, 401}
  """
  @spec parse(Enumerable.t(), binary, [option]) ::
          {:ok, Push.t() | :ping | {:ignored, String.t()}} | {:error, Error.t()}
  def parse(headers, body, options) do
    options = Options.new!(options, "Alumiini.Git.Webhook.parse/3")

    if not is_binary(body),
      do: raise(ArgumentError, "the body must be a binary, as it was received")

    with {:ok, request} <- Request.open(headers, options),
         {:ok, outcome, fingerprint} <- Request.read(request, body),
         :ok <- Request.remember(request, outcome, fingerprint),
         do: {:ok, outcome}
  end

  @doc """
  Whether two URLs mean the same repository, however they are written: over HTTPS or SSH, with a
  user and a port or without, with `.git` or without. The case of letters does not count, in hosts
  and in paths, since forges differ in that.

  Nothing is looked up, and it is no question of security: where two repositories are taken for
  one, a remote is asked once too often.

  ## Examples

      iex> Alumiini.Git.Webhook.same_repository?(
      ...>   "https://git.example.com/team/app.git",
      ...>   "git@GIT.example.com:team/app"
      ...> )
      true
  """
  @spec same_repository?(String.t(), String.t()) :: boolean
  def same_repository?(one, other) when is_binary(one) and is_binary(other),
    do: Repository.same?(one, other)
end
