defmodule Alumiini.Git.Remote.UrlPrefix do
  @moduledoc false

  # Whether a URL is below another one: what credentials by URL are chosen by. They are compared
  # part by part (scheme, host, port, names of the path), never as text: `…/acme` is not the
  # beginning of `…/acme-evil`. Where a URL may be read in two ways (dots or slashes that are
  # encoded, `..`, a host that is not in plain letters), it is below nothing, and gets no
  # credentials. Pure.

  @type t :: %{
          scheme: String.t(),
          user: String.t() | nil,
          host: String.t(),
          port: :inet.port_number(),
          path: [String.t()]
        }

  @ports %{"https" => 443, "http" => 80, "ssh" => 22}

  @doc "The parts of a prefix; `:error` where it is none."
  @spec parse(term) :: {:ok, t} | :error
  def parse(text) do
    with true <- is_binary(text) and String.valid?(text) and not (text =~ ~r/[?#]/),
         {:ok, parts} <- parts(text),
         # Over HTTP that is a password, or a token.
         true <- parts.user == nil or parts.scheme == "ssh" do
      {:ok, parts}
    else
      _no_prefix -> :error
    end
  end

  @doc """
  How well the prefix fits `url`, which has no credentials, for comparison: by its length, and of
  two of one length better where it names the user. Nil where the URL is not below it.
  """
  @spec match(t, binary) :: {non_neg_integer, 0 | 1} | nil
  def match(prefix, url) do
    with true <- String.valid?(url),
         {:ok, parts} <- parts(url),
         true <- same?(prefix, parts, [:scheme, :host, :port]),
         true <- prefix.user in [nil, parts.user],
         true <- List.starts_with?(parts.path, prefix.path) do
      {length(prefix.path), if(prefix.user, do: 1, else: 0)}
    else
      _elsewhere -> nil
    end
  end

  defp same?(prefix, parts, keys), do: Enum.all?(keys, &(prefix[&1] == parts[&1]))

  defp parts(url) do
    with {scheme, authority, path} <- split(url),
         true <- is_map_key(@ports, scheme),
         [_all, user, host | port] <- authority(authority),
         {:ok, path} <- path(path) do
      {:ok,
       %{
         scheme: scheme,
         user: if(user != "", do: user),
         host: String.downcase(host, :ascii),
         port: port(scheme, port),
         path: path
       }}
    else
      _not_for_certain -> :error
    end
  end

  defp split(url) do
    case Regex.run(~r/\A([a-z+]+):\/\/([^\/?#]*)([^?#]*)/is, url) do
      [_all, scheme, authority, path] -> {scheme(scheme), authority, path}
      nil -> short(url)
    end
  end

  # `user@host:path`, in which no slash is before the colon.
  defp short(url) do
    case Regex.run(~r/\A([^\/:]+):(?!\/\/)(.*)\z/s, url) do
      [_all, authority, path] -> {"ssh", authority, path}
      nil -> :error
    end
  end

  # No module attribute: a compiled regex cannot be one from OTP 28 on.
  defp authority(text) do
    Regex.run(
      ~r/\A(?:([^@:\/]+)@)?([a-z0-9_.-]*[a-z0-9]|\[[0-9a-f:.]+\])(?::(\d{1,5}))?\z/i,
      text
    )
  end

  defp scheme(scheme) do
    case String.downcase(scheme, :ascii) do
      "git+ssh" -> "ssh"
      "ssh+git" -> "ssh"
      other -> other
    end
  end

  defp port(scheme, []), do: Map.fetch!(@ports, scheme)
  defp port(_scheme, [port]), do: String.to_integer(port)

  # A slash at the end says nothing.
  defp path(path) do
    names = path |> String.replace_prefix("/", "") |> String.replace_suffix("/", "")
    names = String.split(names, "/")
    names = if names == [""], do: [], else: names
    if Enum.any?(names, &doubtful?/1), do: :error, else: {:ok, names}
  end

  defp doubtful?(name), do: name in ["", ".", ".."] or name =~ ~r/%(?:2e|2f|5c|00)|[\\\x00-\x20]/i
end
