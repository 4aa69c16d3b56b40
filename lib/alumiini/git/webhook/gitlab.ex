defmodule Alumiini.Git.Webhook.GitLab do
  @moduledoc false

  # GitLab's webhooks of projects and groups, and its system hooks, whose header says no more than
  # that: what happened is in the payload.

  alias Alumiini.Git.Webhook.Payload

  @urls for at <- ["project", "repository"], name <- ["git_http_url", "git_ssh_url"], do: [at, name]

  @spec event(String.t(), map) ::
          {:push, [String.t()], [map]} | {:ignored, String.t()} | {:error, String.t()}
  def event(header, payload) do
    case payload["object_kind"] || payload["event_name"] do
      kind when kind in ["push", "tag_push"] -> push(payload, [payload])
      # All refs of one push.
      "repository_update" -> push(payload, payload["changes"])
      kind -> {:ignored, Payload.name(kind) || header}
    end
  end

  defp push(payload, changes) do
    change = fn change ->
      at = &Payload.at(change, [&1])
      Payload.change(at.("ref"), at.("before"), at.("after"))
    end

    with {:ok, changes} <- Payload.changes(changes, change),
         {:ok, urls} <- Payload.urls(for keys <- @urls, do: Payload.at(payload, keys)),
         do: {:push, urls, changes}
  end
end
