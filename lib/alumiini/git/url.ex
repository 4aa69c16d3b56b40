defmodule Alumiini.Git.Url do
  @moduledoc false

  # What may be shown of a URL, and the credentials taken out of it. Whether it is a URL that we speak is for the worker
  # to say; here the only question is what is secret in it, and in doubt it is more rather than less.

  alias Alumiini.Git.Auth

  @ssh ["ssh", "git+ssh", "ssh+git"]

  @doc """
  The URL without credentials, and those as `t:Alumiini.Git.Auth.t/0` where it is an HTTP one that had any.
  """
  @spec split(binary) :: {binary, Auth.t() | nil}
  def split(url) do
    case parts(url) do
      {scheme, userinfo, rest} when scheme in ["http://", "https://"] and userinfo != nil ->
        {scheme <> rest, auth(userinfo)}

      _no_credentials ->
        {url, nil}
    end
  end

  @doc "The scheme of a URL, in lower case; nil for a path and for SSH's short form."
  @spec scheme(binary) :: String.t() | nil
  def scheme(url) do
    case parts(url) do
      {scheme, _userinfo, _rest} -> binary_part(scheme, 0, byte_size(scheme) - 3)
      nil -> nil
    end
  end

  @doc "Whether a URL is one of SSH: by its scheme, or in the short form `user@host:path`, which is told from a path as Git does it."
  @spec ssh?(binary) :: boolean
  def ssh?(url) do
    case scheme(url) do
      nil -> url =~ ~r/\A[^\/:]*:/s and not drive?(url)
      scheme -> scheme in @ssh
    end
  end

  @doc "Whether there is a password in it, or a user name that may well be one."
  @spec secret?(binary) :: boolean
  def secret?(url) do
    case parts(url) do
      {_scheme, nil, _rest} -> false
      {_scheme, userinfo, _rest} -> not ssh?(url) or user_name(userinfo) != userinfo
      nil -> clean_scp(url) != url
    end
  end

  @doc """
  The URL as errors, logs and telemetry show it: without credentials, query and fragment.
  """
  @spec clean(binary) :: binary
  def clean(url) do
    shown =
      case parts(url) do
        {scheme, nil, rest} -> scheme <> (rest |> bare() |> without_odd_port())
        {scheme, userinfo, rest} -> scheme <> shown_user(scheme, userinfo) <> bare(rest)
        nil -> clean_scp(url)
      end

    # One that was mistyped may hold another one.
    clean_text(shown)
  end

  # What has the place of a port and is none may be half of a password.
  defp without_odd_port(rest) do
    Regex.replace(~r{\A(\[[^\]]*\]|[^:/]*):(?!\d*(?:/|\z))[^/]*}s, rest, "\\1")
  end

  defp shown_user(scheme, userinfo) do
    if String.trim_trailing(scheme, "://") in @ssh, do: user_name(userinfo) <> "@", else: ""
  end

  @doc """
  Takes what looks like credentials of a URL out of a sentence. Also where the URL was taken for a path, which makes one
  slash of two, and in SSH's short form. The user name of an SSH URL stays.
  """
  @spec clean_text(binary) :: binary
  def clean_text(text) do
    # Every call comes through here with its path: most have none.
    if :binary.match(text, "@") != :nomatch do
      if String.valid?(text), do: clean_utf8(text), else: clean_bytes(text)
    else
      text
    end
  end

  # A path or a name in some other encoding: each byte is a character of its own meanwhile.
  defp clean_bytes(bytes) do
    text = for <<byte <- bytes>>, into: "", do: <<byte::utf8>>
    for <<byte::utf8 <- clean_utf8(text)>>, into: "", do: <<byte>>
  end

  defp clean_utf8(text) do
    text = Regex.replace(~r{([\w+]+)(://?|[:;]?\s*//)([^/\s]*)@}u, text, &without_secret/4)
    text = Regex.replace(~r{(?<![^\s`'"(/])[^\s/:`'"(]+:[^\s/]+@(?=[^\s/:@]+:)}u, text, "")
    Regex.replace(~r{(?<![^\s`'"(/])[^\s/:@`'"(]+:[^\s/]+@(?=[^\s/:@]+(?:[/\s`'"),;]|$))}u, text, "")
  end

  defp without_secret(_all, scheme, separator, userinfo),
    do: scheme <> separator <> shown_user(scheme, userinfo)

  # {"https://", "user:password" or nil, "host/path?query"}
  defp parts(url) do
    with [scheme, rest] <- :binary.split(url, "://"),
         true <- scheme =~ ~r/\A[A-Za-z][A-Za-z0-9+.\-]*\z/ do
      {userinfo, rest} = userinfo(rest)
      {String.downcase(scheme) <> "://", userinfo, rest}
    else
      _not_a_url -> nil
    end
  end

  # A password with a `/`, `?` or `#` that nobody escaped ends the authority too early, and what is left of it then
  # has no sound port: in that case everything up to the last `@` counts as credentials.
  defp userinfo(rest) do
    authority = up_to(rest, ["/", "?", "#"])

    case split_last(authority) do
      {userinfo, _host} ->
        {userinfo, binary_part(rest, byte_size(userinfo) + 1, byte_size(rest) - byte_size(userinfo) - 1)}

      nil ->
        case not (authority =~ ~r/\A(\[[^\]]*\]|[^:]*)(:\d*)?\z/) && split_last(rest) do
          {userinfo, rest} -> {userinfo, rest}
          _sound_host_or_no_at -> {nil, rest}
        end
    end
  end

  defp split_last(text) do
    case :binary.matches(text, "@") do
      [] ->
        nil

      matches ->
        {at, 1} = List.last(matches)
        {binary_part(text, 0, at), binary_part(text, at + 1, byte_size(text) - at - 1)}
    end
  end

  defp auth(userinfo) do
    case :binary.split(userinfo, ":") do
      [username, password] -> Auth.basic(decode(username), decode(password))
      [username] -> Auth.basic(decode(username), "")
    end
  end

  # Userinfo is percent-encoded; one that is not (a bare `%`) is meant as it stands.
  defp decode(text) do
    decoded = URI.decode(text)
    if String.valid?(decoded), do: decoded, else: lossy(text)
  rescue
    ArgumentError -> lossy(text)
  end

  # Credentials are text on the wire. Bytes that are none cannot be anyone's password there: let the remote refuse them.
  defp lossy(text), do: if(String.valid?(text), do: text, else: Base.encode16(text))

  # The worker decodes what precedes the path before it looks for a password, as Git does.
  defp user_name(userinfo), do: up_to(userinfo, [":", "%3A", "%3a"])

  defp bare(rest), do: up_to(rest, ["?", "#"])

  defp up_to(text, marks) do
    case :binary.match(text, marks) do
      {at, _length} -> binary_part(text, 0, at)
      :nomatch -> text
    end
  end

  defp drive?(url), do: match?({:win32, _name}, :os.type()) and url =~ ~r/\A[A-Za-z]:[\/\\]/

  # `user@host:path`, SSH's short form, has no place for a password; who puts one there shall not see it in a log. The user
  # may be a mail address: `user@domain:password@host:path`.
  defp clean_scp(url) do
    Regex.replace(~r/\A([^\/@:]+:[^\/]*@(?=[^\/@])|[^\/\[:]+:[^\/]*@(?=[^\/@:]+:))/s, url, "")
  end
end
