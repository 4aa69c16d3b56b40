defmodule Alumiini.Git.Webhook.Proof do
  @moduledoc false

  # How a delivery shows that its sender knows the secret: a signature of the body, or the secret
  # itself. All comparisons are of digests and take the same time whatever differs, and all secrets
  # are tried, also after one was right.

  alias Alumiini.Git.Webhook.Headers

  # {the headers that may have it, what stands before the hexadecimal HMAC-SHA256}
  @signatures %{
    github: [{"x-hub-signature-256", "sha256="}],
    forgejo: [
      {"x-forgejo-signature", ""},
      {"x-gitea-signature", ""},
      {"x-hub-signature-256", "sha256="}
    ],
    gitea: [{"x-gitea-signature", ""}, {"x-hub-signature-256", "sha256="}],
    gogs: [{"x-gogs-signature", ""}],
    bitbucket_cloud: [{"x-hub-signature", "sha256="}],
    bitbucket_data_center: [{"x-hub-signature", "sha256="}]
  }
  # The body is JSON or a form with the JSON in it; these sign the JSON in both cases.
  @sign_payload [:forgejo, :gitea, :gogs]
  @signing_token "whsec_"

  @typedoc """
  What is to be seen to: a signature of these bytes around the body, the secret in one of these
  forms, or nothing.
  """
  @type t ::
          {:signature, binary, :body | :payload, prefix :: binary, :text | :signing_token}
          | {:token, [binary, ...]}
          | :none

  @doc "What the headers have. `own` is the name of a header for the secret."
  @spec find(atom, Headers.t(), [String.t()] | :none, String.t() | nil) ::
          {:ok, t} | {:missing, String.t()}
  def find(_forge, _headers, :none, _own), do: {:ok, :none}

  def find(:gitlab, headers, secrets, _own) do
    case headers do
      %{"webhook-signature" => signatures, "webhook-id" => id, "webhook-timestamp" => time} ->
        # Somebody may have set a signing token in GitLab, and the secret token here.
        if Enum.any?(secrets, &String.starts_with?(&1, @signing_token)),
          do: {:ok, {:signature, signing(signatures), :body, "#{id}.#{time}.", :signing_token}},
          else: gitlab_token(headers)

      headers ->
        gitlab_token(headers)
    end
  end

  def find(:azure_devops, headers, _secrets, own) do
    case own_header(headers, own) ++ authorization(headers) do
      [] -> {:missing, Enum.join(List.wrap(own) ++ ["Authorization"], " or ")}
      forms -> {:ok, {:token, forms}}
    end
  end

  def find(forge, headers, _secrets, _own) do
    candidates = Map.fetch!(@signatures, forge)

    case {Enum.find_value(candidates, &signature(&1, headers)), forge, authorization(headers)} do
      {mac, _forge, _forms} when mac != nil ->
        {:ok, {:signature, mac, what(forge), "", :text}}

      # It can be told to send a user and a password instead.
      {nil, :bitbucket_data_center, [_form | _more] = forms} ->
        {:ok, {:token, forms}}

      {nil, _forge, _forms} ->
        {:missing, candidates |> hd() |> elem(0)}
    end
  end

  defp what(forge), do: if(forge in @sign_payload, do: :payload, else: :body)

  @doc "Whether it is right, where that can be said without the body."
  @spec early(t, [String.t()] | :none) :: :ok | :wrong | :needs_body
  def early({:signature, _mac, _what, _prefix, _key}, _secrets), do: :needs_body
  def early(:none, _secrets), do: :ok

  def early({:token, forms}, secrets) do
    equal = for form <- forms, secret <- secrets, do: :crypto.hash_equals(hash(form), hash(secret))

    if true in equal, do: :ok, else: :wrong
  end

  @doc "Whether a signature is right."
  @spec signed?(t, [String.t()], binary, binary) :: boolean
  def signed?({:signature, given, what, prefix, form}, secrets, body, payload) do
    signed = if what == :payload, do: payload, else: body
    right = for secret <- secrets, key <- key(form, secret), do: mac(key, [prefix, signed])

    equal =
      for mac <- right,
          one <- List.wrap(given),
          do: byte_size(one) == byte_size(mac) and :crypto.hash_equals(one, mac)

    true in equal
  end

  @doc """
  Something that is the same when a delivery comes again. Ids in headers are not signed, so whoever
  sends one again could change its id: where there is a signature, what it signs must do.
  """
  @spec fingerprint(t, String.t() | nil, binary) :: binary
  def fingerprint({:signature, _mac, _what, "", _key}, _delivery, body), do: hash(body)
  def fingerprint(_proof, delivery, body), do: hash([delivery || "", 0, body])

  defp key(:text, secret), do: [secret]

  defp key(:signing_token, @signing_token <> encoded) do
    case Base.decode64(encoded) do
      {:ok, key} -> [key]
      :error -> []
    end
  end

  defp key(:signing_token, _secret_token), do: []

  defp mac(key, data), do: :crypto.mac(:hmac, :sha256, key, data)
  defp hash(data), do: :crypto.hash(:sha256, data)

  defp signature({name, prefix}, headers) do
    case headers do
      # With nothing behind the prefix: no secret is set in the forge.
      %{^name => ^prefix} -> nil
      %{^name => value} -> hexadecimal(value, prefix)
      _none -> nil
    end
  end

  # What is no HMAC-SHA256 is wrong, not missing.
  defp hexadecimal(value, prefix) do
    with true <- String.starts_with?(value, prefix),
         hex = binary_part(value, byte_size(prefix), byte_size(value) - byte_size(prefix)),
         {:ok, mac} <- Base.decode16(hex, case: :mixed),
         do: mac,
         else: (_no_signature -> "")
  end

  # "v1,<base64>", and more of them after spaces.
  defp signing(text) do
    for "v1," <> encoded <- String.split(text, " "),
        {:ok, mac} <- [Base.decode64(encoded)],
        do: mac
  end

  defp gitlab_token(%{"x-gitlab-token" => token}), do: {:ok, {:token, [token]}}
  defp gitlab_token(_headers), do: {:missing, "x-gitlab-token"}

  defp own_header(headers, own) do
    case own && headers[String.downcase(own)] do
      nil -> []
      value -> [value]
    end
  end

  # A password, or a user and a password; a token.
  defp authorization(headers) do
    with text when is_binary(text) <- headers["authorization"],
         [scheme, credentials] <- String.split(text, " ", parts: 2, trim: true) do
      case String.downcase(scheme) do
        "basic" -> basic(Base.decode64(credentials))
        "bearer" -> [credentials]
        _other -> []
      end
    else
      _none -> []
    end
  end

  defp basic({:ok, both}) do
    case :binary.split(both, ":") do
      [_user, password] -> [both, password]
      [both] -> [both]
    end
  end

  defp basic(:error), do: []
end
