defmodule Alumiini.Git.Webhook.GitHub do
  @moduledoc false

  # GitHub, and those that took over its payloads: Gitea, Forgejo, Gogs.

  alias Alumiini.Git.Webhook.Payload

  @kinds %{"branch" => "refs/heads/", "tag" => "refs/tags/"}

  @spec event(atom, String.t(), map) ::
          {:push, [String.t()], [map]} | :ping | {:ignored, String.t()} | {:error, String.t()}
  def event(_forge, "ping", _payload), do: :ping

  def event(_forge, "push", payload),
    do: push(payload, payload["ref"], payload["before"], payload["after"])

  # A branch that is deleted is no push of these three. What GitHub says of both in a push of its
  # own, it says here without the commit.
  def event(forge, "create", payload) when forge != :github,
    do: push(payload, full(payload), :none, payload["sha"])

  def event(forge, "delete", payload) when forge != :github,
    do: push(payload, full(payload), :none, :none)

  def event(_forge, event, _payload), do: {:ignored, event}

  defp push(payload, ref, before, later) do
    repository = &Payload.at(payload, ["repository", &1])

    with {:ok, change} <- Payload.change(ref, before, later),
         {:ok, urls} <- Payload.urls([repository.("clone_url"), repository.("ssh_url")]),
         do: {:push, urls, [change]}
  end

  # The short name: "feature", and of which kind.
  defp full(%{"ref" => "refs/" <> _rest = ref}), do: ref

  defp full(%{"ref" => ref, "ref_type" => kind}) when is_binary(ref) and is_map_key(@kinds, kind),
    do: @kinds[kind] <> ref

  defp full(_payload), do: nil
end
