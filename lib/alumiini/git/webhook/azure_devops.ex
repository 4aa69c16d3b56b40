defmodule Alumiini.Git.Webhook.AzureDevOps do
  @moduledoc false

  # Azure DevOps' service hooks. They have no header of their own: the payload says what it is.

  alias Alumiini.Git.Webhook.Payload

  @doc "Whether this is a payload of a service hook."
  @spec own?(map) :: boolean
  def own?(payload), do: is_binary(payload["eventType"]) and is_map(payload["resource"])

  @spec event(map) ::
          {:push, [String.t()], [map]} | {:ignored, String.t()} | {:error, String.t()}
  def event(%{"eventType" => "git.push", "resource" => resource}) do
    repository = &Payload.at(resource, ["repository", &1])

    change = fn update ->
      at = &Payload.at(update, [&1])
      Payload.change(at.("name"), at.("oldObjectId"), at.("newObjectId"))
    end

    with {:ok, changes} <- Payload.changes(resource["refUpdates"], change),
         {:ok, urls} <- Payload.urls([repository.("remoteUrl"), repository.("sshUrl")]),
         do: {:push, urls, changes}
  end

  def event(%{"eventType" => event}), do: {:ignored, Payload.name(event) || "unnamed"}
end
