defmodule Alumiini.Git.Webhook.Repository do
  @moduledoc false

  # Which repository a URL means, however it is written: what a webhook names is found among what is
  # followed. That is no question of security. A pair that is taken for one although it is two costs
  # a poll that finds nothing, so whatever forges differ in is left out: the scheme, the user, the
  # port (people clone over port 443 what others read over 7999), `.git`, and the case of letters,
  # which GitHub and others do not tell apart.
  #
  # Two forges give a repository another path over SSH than over HTTPS:
  #
  #     https://host/context/scm/PROJ/app.git           ssh://git@host:7999/proj/app.git
  #     https://dev.azure.com/org/project/_git/app      git@ssh.dev.azure.com:v3/org/project/app
  #     https://org.visualstudio.com/project/_git/app   (the same repository)

  @typedoc "Host and path. Host is \"\" for a path of this machine."
  @type key :: {String.t(), String.t()}

  # SSH over port 443 has a name of its own there.
  @other_names %{
    "ssh.github.com" => "github.com",
    "www.github.com" => "github.com",
    "altssh.gitlab.com" => "gitlab.com",
    "altssh.bitbucket.org" => "bitbucket.org"
  }

  @azure "dev.azure.com"
  @azure_hosts [@azure, "ssh.dev.azure.com", "vs-ssh.visualstudio.com"]

  @doc "Equal for two URLs of the same repository. Takes any text; to look up by it, keep the key."
  @spec key(String.t()) :: key
  def key(url) when is_binary(url) do
    {host, path} = place(url)
    host = host |> String.downcase() |> String.trim_trailing(".")
    {host, names} = canonical(Map.get(@other_names, host, host), names(path))
    {host, Enum.join(names, "/")}
  end

  @spec same?(String.t(), String.t()) :: boolean
  def same?(one, other), do: key(one) == key(other)

  # Git's rule for what has no scheme: with a colon before the first slash, it is SSH's short form.
  defp place(url) do
    case :binary.split(url, "://") do
      [scheme, rest] -> scheme |> String.downcase() |> with_scheme(rest)
      [_no_scheme] -> short(url)
    end
  end

  defp with_scheme("file", rest), do: {"", rest}

  defp with_scheme(scheme, rest) do
    rest = if scheme in ["http", "https"], do: without_query(rest), else: rest

    case :binary.split(rest, "/") do
      [authority, path] -> {authority |> without_user() |> without_port(), path}
      [authority] -> {authority |> without_user() |> without_port(), ""}
    end
  end

  defp short(url) do
    # With a port or an address of IPv6 in brackets, else without.
    with nil <- Regex.run(~r/\A(?:[^\/\[]*@)?\[([^\]\/]*)\]:(.*)\z/s, url),
         nil <- Regex.run(~r/\A([^\/:]*):(.*)\z/s, url) do
      {"", url}
    else
      [_all, authority, path] -> {authority |> without_user() |> without_port(), path}
    end
  end

  defp without_query(rest), do: rest |> :binary.split(["?", "#"]) |> hd()
  defp without_user(authority), do: authority |> :binary.split("@", [:global]) |> List.last()

  defp without_port(<<"[", rest::binary>>), do: rest |> :binary.split("]") |> hd()

  defp without_port(host) do
    case :binary.split(host, ":", [:global]) do
      [name, _port] -> name
      # A name, or an address of IPv6 that lost its brackets.
      _other -> host
    end
  end

  defp names(path) do
    path
    |> decode()
    |> String.downcase()
    |> :binary.split("/", [:global])
    |> Enum.reduce([], fn
      name, names when name in ["", "."] -> names
      "..", names -> Enum.drop(names, 1)
      name, names -> [name | names]
    end)
    |> without_suffix()
    |> Enum.reverse()
  end

  defp without_suffix([".git" | names]), do: names
  defp without_suffix([last | names]), do: [String.replace_suffix(last, ".git", "") | names]
  defp without_suffix([]), do: []

  # `URI.decode/1` raises at what is no escape.
  defp decode(path) do
    Regex.replace(~r/%[0-9A-Fa-f]{2}/, path, fn <<"%", hex::binary>> ->
      <<String.to_integer(hex, 16)>>
    end)
  end

  # Of Azure DevOps the name of a project may be left out where its repository is called the same.
  defp canonical(host, ["v3", org, project, name]) when host in @azure_hosts,
    do: {@azure, [org, project, name]}

  defp canonical(@azure, [org, project, "_git", name]), do: {@azure, [org, project, name]}
  defp canonical(@azure, [org, "_git", name]), do: {@azure, [org, name, name]}

  # In full as the server in one's own house has it, and under the older name of the service.
  defp canonical(host, names) do
    case {String.split(host, ".", parts: 2), names} do
      {[org, "visualstudio.com"], ["defaultcollection" | rest]} -> visual_studio(host, org, rest)
      {[org, "visualstudio.com"], names} -> visual_studio(host, org, names)
      {_other, names} -> {host, bitbucket(names)}
    end
  end

  defp visual_studio(_host, org, [project, git, name]) when git in ["_git", "_ssh"],
    do: {@azure, [org, project, name]}

  defp visual_studio(_host, org, [git, name]) when git in ["_git", "_ssh"],
    do: {@azure, [org, name, name]}

  defp visual_studio(host, _org, names), do: {host, names}

  # Whatever stands before `scm`: Bitbucket Data Center may live below a path of its own, which SSH
  # does not have. A group called `scm` on another forge is the same one over SSH and HTTPS, so
  # leaving it out parts nothing.
  defp bitbucket(names) do
    case Enum.take(names, -3) do
      ["scm", project, name] -> [project, name]
      _other -> names
    end
  end
end
