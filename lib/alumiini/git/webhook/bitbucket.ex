defmodule Alumiini.Git.Webhook.Bitbucket do
  @moduledoc false

  # Bitbucket Cloud and Bitbucket Data Center, which have the name in common.

  alias Alumiini.Git.Webhook.Payload

  @spec event(atom, String.t(), map) ::
          {:push, [String.t()], [map]} | :ping | {:ignored, String.t()} | {:error, String.t()}
  # "Test connection" in the settings of a webhook.
  def event(_forge, "diagnostics:ping", _payload), do: :ping

  def event(:bitbucket_cloud, "repo:push", payload) do
    with {:ok, changes} <-
           Payload.changes(Payload.at(payload, ["push", "changes"]), &cloud_change/1),
         {:ok, urls} <- cloud_urls(Payload.at(payload, ["repository", "links", "html", "href"])),
         do: {:push, urls, changes}
  end

  def event(:bitbucket_data_center, "repo:refs_changed", payload) do
    with {:ok, changes} <- Payload.changes(payload["changes"], &data_center_change/1),
         {:ok, urls} <- Payload.urls(data_center_urls(payload)),
         do: {:push, urls, changes}
  end

  def event(_forge, event, _payload), do: {:ignored, event}

  # Of a ref that was created there is no `old`, of one that was deleted no `new`.
  defp cloud_change(change) do
    {old, new} = {Payload.at(change, ["old"]), Payload.at(change, ["new"])}
    Payload.change(cloud_ref(new || old), cloud_hash(old), cloud_hash(new))
  end

  defp cloud_hash(nil), do: :none
  defp cloud_hash(ref), do: Payload.at(ref, ["target", "hash"])

  defp cloud_ref(%{"type" => "tag", "name" => name}) when is_binary(name), do: "refs/tags/" <> name

  defp cloud_ref(%{"type" => kind, "name" => name})
       when kind in ["branch", "named_branch"] and is_binary(name),
       do: "refs/heads/" <> name

  defp cloud_ref(_other), do: nil

  # The page of the repository is all that a payload names; from it follow the URLs to clone.
  defp cloud_urls(page) do
    with {:ok, [page]} <- Payload.urls([page]),
         "https://" <> rest <- String.trim_trailing(page, "/"),
         [host, path] when path != "" <- String.split(rest, "/", parts: 2) do
      {:ok, ["https://#{host}/#{path}.git", "git@#{host}:#{path}.git"]}
    else
      {:error, what} -> {:error, what}
      _other -> {:error, "names no page of the repository"}
    end
  end

  defp data_center_change(change) do
    ref = Payload.at(change, ["refId"]) || Payload.at(change, ["ref", "id"])
    Payload.change(ref, Payload.at(change, ["fromHash"]), Payload.at(change, ["toHash"]))
  end

  defp data_center_urls(payload) do
    case Payload.at(payload, ["repository", "links", "clone"]) do
      links when is_list(links) -> for link <- links, do: Payload.at(link, ["href"])
      _other -> []
    end
  end
end
