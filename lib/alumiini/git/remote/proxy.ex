defmodule Alumiini.Git.Remote.Proxy do
  @moduledoc false

  # The `:proxy` and `:no_proxy` options. A proxy's URL may hold a password, so it is sealed from
  # the start.

  alias Alumiini.Git.{RedactedUrl, Secret}

  @schemes ~w(http https socks5 socks5h)

  @typedoc "A sealed URL, or what stands for one."
  @type t :: Secret.t() | :environment | :none

  @doc """
  The `:proxy` option, checked. A wrong value is not shown: it may be a URL with a password, wrongly
  wrapped.
  """
  @spec seal!(term) :: t
  def seal!(proxy) when proxy in [:environment, :none], do: proxy

  def seal!(proxy) do
    if not url?(proxy) do
      raise ArgumentError,
            "option :proxy must be a URL that begins with http://, https://, socks5:// or " <>
              "socks5h://, " <>
              "or :environment, or :none"
    end

    Secret.seal(proxy)
  end

  @doc "Whether it is the URL of a proxy, as far as can be seen without asking it."
  @spec url?(term) :: boolean
  def url?(proxy),
    do: is_binary(proxy) and String.valid?(proxy) and RedactedUrl.scheme(proxy) in @schemes

  @doc "The `:no_proxy` option as the wire has it."
  @spec no_proxy!(term) :: String.t()
  def no_proxy!(hosts) do
    cond do
      is_binary(hosts) and String.valid?(hosts) ->
        hosts

      is_list(hosts) and Enum.all?(hosts, &(is_binary(&1) and String.valid?(&1))) ->
        Enum.join(hosts, ",")

      true ->
        raise ArgumentError,
              "option :no_proxy must be a string, or a list of strings, of hosts that are " <>
                "reached without the proxy"
    end
  end

  @doc """
  The fields of a request to a URL. `:none` and an environment without a proxy are said, too: what
  is not said is for the server's defaults. The environment is that of this node, and is read when
  the fields are packed.
  """
  @spec wire(t | nil, String.t() | nil, Secret.t()) :: %{String.t() => term}
  def wire(nil, no_proxy, _url), do: %{"no_proxy" => no_proxy}
  def wire(:none, no_proxy, _url), do: %{"proxy" => "", "no_proxy" => no_proxy}

  def wire(:environment, no_proxy, url) do
    from_environment = fn field ->
      Secret.map(url, &Map.fetch!(environment(RedactedUrl.scheme(&1)), field))
    end

    %{
      "proxy" => from_environment.("proxy"),
      "no_proxy" => no_proxy || from_environment.("no_proxy")
    }
  end

  def wire(sealed, no_proxy, _url), do: %{"proxy" => sealed, "no_proxy" => no_proxy}

  @doc """
  What the environment says for a URL of this scheme. As for `git` and `curl`, the small letters
  come first, an empty variable counts as absent, and SSH goes through no proxy.
  """
  @spec environment(String.t() | nil) :: %{String.t() => String.t()}
  def environment(scheme) when scheme in ["http", "https"] do
    %{
      "proxy" => scheme |> variables() |> first() |> with_scheme(),
      "no_proxy" => first(["no_proxy", "NO_PROXY"])
    }
  end

  def environment(_other), do: %{"proxy" => "", "no_proxy" => ""}

  # Not HTTP_PROXY: to a program behind CGI anyone can give that variable, by a header `Proxy`
  # (httpoxy.org).
  defp variables("http"), do: ["http_proxy", "all_proxy", "ALL_PROXY"]
  defp variables("https"), do: ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]

  defp first(names), do: Enum.find_value(names, "", &present(System.get_env(&1)))

  defp present(""), do: nil
  defp present(value), do: value

  defp with_scheme(""), do: ""
  defp with_scheme(proxy), do: if(proxy =~ "://", do: proxy, else: "http://" <> proxy)
end
