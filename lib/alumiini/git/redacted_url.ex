defmodule Alumiini.Git.RedactedUrl do
  @moduledoc false

  # What may be shown of a URL, and the credentials taken out of it. Whether it is a URL that we
  # speak is for the worker to say; here the only question is what is secret in it, and in doubt it
  # is more rather than less: of what is no URL, or may be one that was mistyped, nothing is shown
  # beyond its scheme. `protocol/shown_urls.txt` has the cases, for the worker, too.

  alias Alumiini.Git.Auth

  @ssh ["ssh", "git+ssh", "ssh+git"]
  @hidden "[hidden]"
  # Those of proxies, too, which errors name.
  @with_host ["http://", "https://", "socks5://", "socks5h://"]
  # Words that begin a URL. Others before a colon may be a user, or a token.
  @schemes ~w(http https ssh git+ssh ssh+git git file ftp ftps socks5 socks5h)
  @host "\\[[^\\[\\]@/\\s]+\\]|[^\\s:@/\\\\\\[\\]%<>^|#?]+"
  @user "[^\\s:@/\\[\\]]+(?:@[^\\s:@/\\[\\]]+)*@"

  @doc """
  The URL without credentials, and those as `t:Alumiini.Git.Auth.t/0` where it is an HTTP one that
  had any.
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

  @doc """
  Whether a URL is one of SSH: by its scheme, or in the short form `user@host:path`, which is told
  from a path as Git does it.
  """
  @spec ssh?(binary) :: boolean
  def ssh?(url) do
    case scheme(url) do
      nil -> url =~ ~r/\A[^\/:]*:/s and not drive?(url)
      scheme -> scheme in @ssh
    end
  end

  @doc """
  Whether there is a password in it, or a user name that may well be one, or what may be either.
  """
  @spec secret?(binary) :: boolean
  def secret?(url) do
    case parts(url) do
      {_scheme, userinfo, _rest} when userinfo != nil -> not ssh?(url) or shown(url) == nil
      _none -> shown(url) == nil and decoded(url) =~ "@"
    end
  end

  @doc """
  The URL as errors, logs and telemetry show it: without credentials, query and fragment. Of what is
  none, the scheme.
  """
  @spec clean(binary) :: binary
  def clean(url) do
    case shown(url) do
      nil -> hidden(url)
      shown -> shown
    end
  end

  defp hidden(url) do
    with [word, _rest] <- :binary.split(url, ":"),
         word = ascii_downcase(word),
         true <- word in @schemes do
      word <> ":" <> @hidden
    else
      _no_scheme -> @hidden
    end
  end

  defp shown(url) do
    if url == "" or url =~ ~r/[\x00-\x1f\x7f]/ do
      nil
    else
      case parts(url) do
        {scheme, userinfo, rest} when scheme in @with_host -> shown_http(scheme, userinfo, rest)
        {"file://", nil, rest} -> if doubtful?(rest), do: nil, else: "file://" <> rest
        {scheme, _userinfo, _rest} -> if ssh?(url), do: shown_ssh(scheme, after_scheme(url))
        nil -> if ssh?(url), do: shown_short(url), else: shown_path(url)
      end
    end
  end

  defp shown_http(scheme, userinfo, rest) do
    {authority, path} = split_at(rest, ["/", "?", "#"])
    path = path |> up_to(["?", "#"]) |> without_parameters()
    port? = authority =~ ~r/:\d+\z/

    # With a port and no user, the one may be the user and the other the beginning of a password.
    cond do
      not String.valid?(path) or not (authority =~ ~r/\A(?:#{@host})(?::\d{0,5})?\z/) -> nil
      doubtful?(path) or (port? and userinfo == nil and path =~ "@") -> nil
      true -> scheme <> authority <> path
    end
  end

  defp shown_ssh(scheme, rest) do
    {authority, path} = split_at(rest, ["/"])
    decoded = decoded(authority)

    sound? =
      decoded =~ ~r/\A(?:#{@user})?(?:#{@host})(?::\d{0,5})?\z/ or
        decoded =~ ~r/\A\[(?:#{@user})?[^\s@\/\[\]]+\](?::\d{0,5})?\z/

    if sound? and path not in ["", "/"] and not doubtful?(path) and
         (decoded =~ "@" or not (path =~ "@")),
       do: scheme <> rest
  end

  # `user@host:path` has no place for a password.
  defp shown_short(url) do
    case Regex.run(~r/\A((?:#{@user})?(?:#{@host})|\[(?:#{@user})?[^\s@\/\[\]]+\]):(.+)\z/s, url) do
      [_all, authority, path] ->
        one_slash? = ascii_downcase(authority) in @schemes and String.starts_with?(path, "/")
        # Two colons are Git's way to name a program.
        two? = String.starts_with?(path, ["//", ":"])
        no_user? = not (authority =~ "@") and path =~ "@"
        if one_slash? or two? or no_user? or doubtful?(path), do: nil, else: url

      nil ->
        nil
    end
  end

  # Also what lacks its scheme, or the colon behind it.
  defp shown_path(url) do
    [first | _rest] = :binary.split(url, "/")
    path? = url =~ "/" or String.starts_with?(url, ".")
    relative? = not String.starts_with?(url, ["/", "."])

    no_colon? =
      relative? and
        (first =~ "@" or (ascii_downcase(first) =~ ~r/\A(?:https?|ssh)\W?\z/ and url =~ "@"))

    if path? and not no_colon? and not doubtful?(url), do: url
  end

  # Whether there may be a URL, or credentials, in what has the place of a path.
  defp doubtful?(path) do
    path = decoded(path)
    (path =~ "@" and path =~ ~r{:|//}) or without_parameters(path) != path
  end

  # What was to be a query: `/x;token=…`.
  defp without_parameters(path) do
    {bare, parameters} = split_at(path, ["?", ";", "&", "#"])
    if parameters =~ "=", do: bare, else: path
  end

  @doc """
  Takes what looks like credentials of a URL, or like a URL that was mistyped, out of a sentence, or
  of an argument in the wrong place: a URL that was taken for a path has one slash where there were
  two. What is left is as `clean/1` has it.
  """
  @spec clean_text(binary) :: binary
  def clean_text(text) do
    cond do
      not may_hold_any?(text) -> text
      String.valid?(text) -> clean_utf8(text)
      true -> clean_bytes(text)
    end
  end

  # Every call comes through here with its path: most have none.
  defp may_hold_any?("@" <> _rest), do: true
  defp may_hold_any?(":/" <> _rest), do: true
  defp may_hold_any?("%40" <> _rest), do: true
  defp may_hold_any?(<<_byte, rest::binary>>), do: may_hold_any?(rest)
  defp may_hold_any?(""), do: false

  # A path or a name in some other encoding: each byte is a character of its own meanwhile.
  defp clean_bytes(bytes) do
    text = for <<byte <- bytes>>, into: "", do: <<byte::utf8>>
    for <<byte::utf8 <- clean_utf8(text)>>, into: "", do: <<byte>>
  end

  defp clean_utf8(text) do
    text
    |> String.split(~r/(?<=[^A-Za-z0-9+.\-])(?=[A-Za-z][A-Za-z0-9+.\-]*:\/)/)
    |> Enum.map_join(&clean_part/1)
  end

  # From the beginning of one URL to that of the next one.
  defp clean_part(part) do
    case Regex.run(~r/\A([A-Za-z][A-Za-z0-9+.\-]*:\/+)([^\s`'"<>]*)(.*)\z/s, part) do
      [_all, scheme, word, rest] ->
        {word, closing} = without_closing(word)
        url = scheme <> word

        cond do
          word == "" or not (word =~ ~r/[@%?;&#=:\\]/) -> url <> closing <> clean_words(rest)
          shown = shown(url) -> shown <> closing <> clean_words(rest)
          true -> hidden(url) <> closing <> clean_words(after_last_at(rest))
        end

      nil ->
        clean_words(part)
    end
  end

  # A password may hold blanks, too.
  defp after_last_at(text), do: Regex.replace(~r/\A[^\n`"]*@[^\s`'"<>]*/, text, "")

  defp clean_words(text), do: Regex.replace(~r/[^\s`'"<>()]+/u, text, &clean_word/1)

  defp clean_word(word) do
    {bare, closing} = without_closing(word)
    decoded = decoded(bare)

    secret? =
      secret_before_at?(decoded) or
        (decoded =~ "@" and without_parameters(decoded) != decoded)

    if secret? and shown(bare) == nil, do: hidden(bare) <> closing, else: word
  end

  # A host key's fingerprint and SSH's short form have a colon, and mail addresses an `@`: in this
  # order, they are a password's.
  defp secret_before_at?(text) do
    case split_last(text) do
      {<<_first, before::binary>> = all, _host} -> before =~ ":" or all =~ ~r{//|\b(?:https?|ssh)\W}
      _none -> false
    end
  end

  defp without_closing(word) do
    bare = :string.trim(word, :trailing, '),;:.…')
    {bare, binary_part(word, byte_size(bare), byte_size(word) - byte_size(bare))}
  end

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

  # A password with a `/`, `?` or `#` that nobody escaped ends the authority too early, and what is
  # left of it then has no sound port: in that case everything up to the last `@` counts as
  # credentials.
  defp userinfo(rest) do
    authority = up_to(rest, ["/", "?", "#"])

    case split_last(authority) do
      {userinfo, _host} ->
        {userinfo,
         binary_part(rest, byte_size(userinfo) + 1, byte_size(rest) - byte_size(userinfo) - 1)}

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

  # Credentials are text on the wire. Bytes that are none cannot be anyone's password there: let the
  # remote refuse them.
  defp lossy(text), do: if(String.valid?(text), do: text, else: Base.encode16(text))

  defp after_scheme(url), do: url |> :binary.split("://") |> List.last()

  defp decoded(text) do
    Regex.replace(~r/%([0-9A-Fa-f]{2})/, text, fn _all, hex ->
      Base.decode16!(hex, case: :mixed)
    end)
  end

  defp up_to(text, marks), do: text |> split_at(marks) |> elem(0)

  defp split_at(text, marks) do
    case :binary.match(text, marks) do
      {at, _length} -> {binary_part(text, 0, at), binary_part(text, at, byte_size(text) - at)}
      :nomatch -> {text, ""}
    end
  end

  # Any bytes.
  defp ascii_downcase(text), do: String.downcase(text, :ascii)

  defp drive?(url), do: match?({:win32, _name}, :os.type()) and url =~ ~r/\A[A-Za-z]:[\/\\]/
end
