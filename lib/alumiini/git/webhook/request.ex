defmodule Alumiini.Git.Webhook.Request do
  @moduledoc false

  # A delivery in the order in which it is safe to look at it: the headers, which may refuse it
  # before any of the body is read; the signature; only then what the body says.

  alias Alumiini.Git.Error

  alias Alumiini.Git.Webhook.{
    AzureDevOps,
    Bitbucket,
    Deliveries,
    GitHub,
    GitLab,
    Headers,
    Json,
    Options,
    Payload,
    Proof,
    Push
  }

  @op :webhook
  @levels "more than 64 levels, or a number of more than 64 digits"

  # The secrets and what the headers have of them are in it, so it goes to nobody.
  @derive {Inspect, only: [:forge, :event]}
  @enforce_keys [:forge, :event, :headers, :format, :proof, :secrets, :options]
  defstruct [:forge, :event, :headers, :format, :proof, :secrets, :options]

  @type t :: %__MODULE__{}
  @type outcome :: Push.t() | :ping | {:ignored, String.t()}

  @doc "What can be said by the headers: whether the rest is worth being read."
  @spec open(term, Options.t()) :: {:ok, t} | {:error, Error.t()}
  def open(headers, options) do
    crypto!()
    headers = Headers.new!(headers, options.header)
    {forge, event} = Headers.forge(headers)

    with :ok <- fits(Headers.content_length(headers), options),
         {:ok, format} <- format(headers),
         secrets = Options.secrets(options),
         {:ok, proof} <- proof(forge, headers, secrets, options),
         :ok <- early(proof, secrets) do
      {:ok,
       %__MODULE__{
         forge: forge,
         event: event,
         headers: headers,
         format: format,
         proof: proof,
         secrets: secrets,
         options: options
       }}
    end
  end

  @doc "What the delivery says, and what it is known by if it comes again."
  @spec read(t, binary) :: {:ok, outcome, binary} | {:error, Error.t()}
  def read(%__MODULE__{} = request, body) do
    with :ok <- fits(byte_size(body), request.options),
         {:ok, payload} <- payload(request.format, body),
         :ok <- signed(request, body, payload),
         {:ok, decoded} <- decode(payload),
         {:ok, outcome, delivery} <- outcome(request, decoded),
         do: {:ok, outcome, Proof.fingerprint(request.proof, delivery, body)}
  end

  @doc """
  Remembers a push, where there is something that does. A second time it is refused. What is no
  push, does nothing, and may come as often as it likes.
  """
  @spec remember(t, outcome, binary) :: :ok | {:error, Error.t()}
  def remember(%__MODULE__{options: %{deliveries: deliveries}}, %Push{}, fingerprint)
      when deliveries != nil do
    case Deliveries.remember(deliveries, fingerprint) do
      :new ->
        :ok

      :seen ->
        refuse(:invalid, 409, "this delivery was received before, and is not taken a second time")

      :unavailable ->
        refuse(
          :worker_unavailable,
          503,
          "the process given as :deliveries does not run: start Alumiini.Git.Webhook.Deliveries " <>
            "before the web server"
        )
    end
  end

  def remember(_request, _outcome, _fingerprint), do: :ok

  @doc "Forgets it again, so that it may be sent once more."
  @spec forget(t, binary) :: :ok
  def forget(%__MODULE__{options: %{deliveries: nil}}, _fingerprint), do: :ok

  def forget(%__MODULE__{options: %{deliveries: deliveries}}, fingerprint),
    do: Deliveries.forget(deliveries, fingerprint)

  @doc "One that has more than `:max_bytes` bytes."
  @spec too_large(Options.t()) :: {:error, Error.t()}
  def too_large(options) do
    refuse(:too_large, 413, "the body has more than #{options.max_bytes} bytes (:max_bytes)", %{
      limit: options.max_bytes
    })
  end

  defp fits(bytes, options), do: if(bytes > options.max_bytes, do: too_large(options), else: :ok)

  defp format(headers) do
    case Headers.format(headers) do
      {:ok, format} ->
        {:ok, format}

      {:error, what} ->
        refuse(
          :unsupported,
          415,
          "#{what} is no webhook of a known forge: set its content type to application/json"
        )
    end
  end

  defp proof(forge, headers, secrets, options) do
    case {Proof.find(forge, headers, secrets, options.header), forge} do
      {{:ok, proof}, _forge} ->
        {:ok, proof}

      # Nothing says that it is one of these at all.
      {{:missing, name}, :azure_devops} ->
        unknown("it has no header of one, nor, for Azure DevOps, the header #{name}")

      {{:missing, name}, forge} ->
        refuse(
          :auth,
          401,
          "the delivery of #{forge} is not signed: the header #{name} is missing. Set the " <>
            "secret of the webhook there"
        )
    end
  end

  defp early(proof, secrets) do
    case Proof.early(proof, secrets) do
      :wrong -> wrong("token or password")
      _right_or_later -> :ok
    end
  end

  defp signed(%{proof: proof} = request, body, payload) do
    if not match?({:signature, _mac, _what, _prefix, _form}, proof) or
         Proof.signed?(proof, request.secrets, body, payload),
       do: :ok,
       else: wrong("signature")
  end

  defp wrong(what) do
    refuse(
      :auth,
      401,
      "the #{what} of the delivery is not that of :secret: the same secret has to be set here " <>
        "and in the webhook of the forge"
    )
  end

  defp unknown(why) do
    refuse(:unsupported, 400, "this is no webhook of a forge that is known: #{why}")
  end

  defp payload(:json, body), do: {:ok, body}

  # Not split into its parts, which may be as many as there are bytes.
  defp payload(:form, body) do
    case parameter(body) do
      nil -> no_parameter()
      text -> {:ok, URI.decode_www_form(text)}
    end
  rescue
    _no_escape in ArgumentError -> no_parameter()
  end

  defp no_parameter,
    do: refuse(:invalid, 400, "the body is no form with JSON in its field `payload`")

  defp parameter(<<"payload=", rest::binary>>), do: rest |> :binary.split("&") |> hd()

  defp parameter(body) do
    case :binary.split(body, "&payload=") do
      [_before, rest] -> rest |> :binary.split("&") |> hd()
      [_none] -> nil
    end
  end

  defp decode(payload) do
    case Json.decode(payload) do
      {:ok, decoded} when is_map(decoded) ->
        {:ok, decoded}

      {:ok, _other} ->
        refuse(:invalid, 400, "the payload is JSON, but no object")

      {:error, :invalid} ->
        refuse(:invalid, 400, "the payload is not JSON")

      {:error, :too_deep} ->
        refuse(:too_large, 400, "the payload has #{@levels}")

      {:error, :no_decoder} ->
        refuse(
          :unsupported,
          500,
          ~s|there is nothing that decodes JSON: add {:jason, "~> 1.4"} to the dependencies, or | <>
            "use OTP 27 or Elixir 1.18, which can"
        )
    end
  end

  defp outcome(%{forge: :azure_devops} = request, payload) do
    if AzureDevOps.own?(payload),
      do: told(request, AzureDevOps.event(payload), Payload.name(payload["id"])),
      else: unknown("it has no header of one, and is no service hook of Azure DevOps")
  end

  defp outcome(request, payload) do
    event = event(request.forge, request.event, payload)
    told(request, event, Headers.delivery(request.headers, request.forge))
  end

  defp event(:gitlab, event, payload), do: GitLab.event(event, payload)

  defp event(forge, event, payload) when forge in [:bitbucket_cloud, :bitbucket_data_center],
    do: Bitbucket.event(forge, event, payload)

  defp event(forge, event, payload), do: GitHub.event(forge, event, payload)

  defp told(request, {:push, urls, changes}, delivery),
    do: {:ok, Push.new(request.forge, urls, changes, delivery), delivery}

  defp told(request, {:error, what}, _delivery),
    do: refuse(:invalid, 400, "the payload of #{request.forge} #{what}")

  defp told(_request, other, delivery), do: {:ok, other, delivery}

  defp refuse(reason, status, message, detail \\ %{}),
    do: {:error, Error.new(reason, @op, message, Map.put(detail, :status, status))}

  # The library itself does without, so an application may lack it.
  defp crypto! do
    if not Code.ensure_loaded?(:crypto) do
      raise "Alumiini.Git.Webhook needs OTP's application :crypto: add it to " <>
              ":extra_applications in mix.exs"
    end
  end
end
