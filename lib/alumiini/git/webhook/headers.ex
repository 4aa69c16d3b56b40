defmodule Alumiini.Git.Webhook.Headers do
  @moduledoc false

  # The headers of a delivery that matter, by their names in lower case, and what they say. A header
  # that is empty is none: Gitea sends an empty signature where no secret is set.

  alias Alumiini.Git.Webhook.Payload

  # The first that is there decides: Gitea also sends those of GitHub and Gogs, Forgejo those of
  # Gitea, too.
  @events [
    {"x-forgejo-event", :forgejo},
    {"x-gitea-event", :gitea},
    {"x-gogs-event", :gogs},
    {"x-gitlab-event", :gitlab},
    {"x-github-event", :github},
    {"x-event-key", :bitbucket}
  ]

  # Of GitLab's ids, the first stays the same when a delivery is sent again.
  @deliveries %{
    forgejo: ["x-forgejo-delivery", "x-gitea-delivery"],
    gitea: ["x-gitea-delivery"],
    gogs: ["x-gogs-delivery"],
    gitlab: ["idempotency-key", "webhook-id", "x-gitlab-event-uuid"],
    github: ["x-github-delivery"],
    bitbucket_cloud: ["x-request-uuid"],
    bitbucket_data_center: ["x-request-id"],
    azure_devops: []
  }

  @signatures ~w(x-hub-signature-256 x-hub-signature x-forgejo-signature x-gitea-signature
                 x-gogs-signature x-gitlab-token webhook-signature webhook-timestamp authorization)
  @others ~w(x-hook-uuid content-type content-length content-encoding)

  @names MapSet.new(
           for({name, _forge} <- @events, do: name) ++
             Enum.concat(Map.values(@deliveries)) ++ @signatures ++ @others
         )

  @type t :: %{String.t() => String.t()}

  @doc "From a list of pairs or a map; `own` is the name of one more that matters."
  @spec new!(term, String.t() | nil) :: t
  def new!(headers, own) when is_list(headers) or is_map(headers) do
    own = own && String.downcase(own)

    # The first of several of the same name counts.
    headers |> Enum.reverse() |> Enum.reduce(%{}, &put(&1, &2, own))
  end

  def new!(_other, _own), do: wrong!()

  defp put({name, value}, headers, own) when is_binary(name) do
    name = String.downcase(name)

    with true <- name in @names or name == own,
         text when text != nil <- text(value),
         do: Map.put(headers, name, text),
         else: (_of_no_use -> headers)
  end

  defp put(_other, _headers, _own), do: wrong!()

  defp text([value | _more]), do: text(value)
  defp text(value) when is_binary(value), do: none_if_empty(String.trim(value))
  defp text(_other), do: nil

  defp none_if_empty(""), do: nil
  defp none_if_empty(value), do: value

  @spec wrong!() :: no_return
  defp wrong! do
    raise ArgumentError,
          "the headers must be a list of pairs or a map, with names and values that are strings"
  end

  @doc "The forge by its header, and the event that it names. Azure DevOps has none."
  @spec forge(t) :: {atom, String.t()}
  def forge(headers) do
    case Enum.find(@events, fn {name, _forge} -> is_map_key(headers, name) end) do
      nil -> {:azure_devops, ""}
      {name, :bitbucket} -> {bitbucket(headers), event(headers[name])}
      {name, forge} -> {forge, event(headers[name])}
    end
  end

  defp event(text), do: Payload.name(text) || "unnamed"

  defp bitbucket(headers) do
    if is_map_key(headers, "x-hook-uuid") or is_map_key(headers, "x-request-uuid"),
      do: :bitbucket_cloud,
      else: :bitbucket_data_center
  end

  @doc "The id of the delivery."
  @spec delivery(t, atom) :: String.t() | nil
  def delivery(headers, forge) do
    Enum.find_value(Map.fetch!(@deliveries, forge), &Payload.name(headers[&1]))
  end

  @spec content_length(t) :: non_neg_integer
  def content_length(headers) do
    case Integer.parse(Map.get(headers, "content-length", "")) do
      {length, ""} -> length
      _none -> 0
    end
  end

  @doc "How the payload is in the body. Whoever says nothing sends JSON."
  @spec format(t) :: {:ok, :json | :form} | {:error, String.t()}
  def format(headers) do
    type = headers |> Map.get("content-type", "application/json") |> String.split(";") |> hd()
    coding = headers |> Map.get("content-encoding", "identity") |> String.downcase()

    case {type |> String.trim() |> String.downcase(), coding} do
      {_type, coding} when coding != "identity" -> {:error, "a compressed body"}
      {"application/json", _coding} -> {:ok, :json}
      {"application/x-www-form-urlencoded", _coding} -> {:ok, :form}
      {_type, _coding} -> {:error, "a body that is neither JSON nor a form"}
    end
  end
end
