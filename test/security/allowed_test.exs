defmodule Alumiini.Git.AllowedTest do
  # Which remotes a server may be made to reach by who chooses the URL.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Error
  alias Alumiini.Git.Test.{HttpServer, Repository, TempDir}

  setup do
    directory = TempDir.create!("allowed")
    for dir <- ["tenants", "other", "clones"], do: File.mkdir_p!(Path.join(directory, dir))
    theirs = Repository.create!(Path.join(directory, "tenants"), "theirs.git")
    sha = Repository.commit!(theirs, %{"app.yaml" => "theirs"})
    other = Repository.create!(Path.join(directory, "other"), "other.git")
    Repository.commit!(other, %{"app.yaml" => "another's"})
    %{directory: directory, theirs: theirs, other: other, sha: sha}
  end

  defp start!(options), do: start_supervised!({Git, [name: nil] ++ options}, id: make_ref())

  defp each(url, path, server) do
    [
      Git.sync(url, "main", path, server: server),
      Git.ls_remote(url, "refs/heads/main", server: server),
      Git.refs(url, server: server)
    ]
  end

  defp refused!(url, path, server, option) do
    for result <- each(url, path, server) do
      assert {:error, %Error{reason: :unsupported, retryable?: false, message: message}} = result
      assert message =~ "option #{option}"
    end

    refute File.exists?(path)
  end

  test "anything goes by default", %{directory: directory, theirs: theirs, sha: sha} do
    server = start!([])
    path = Path.join(directory, "clones/a")
    assert [{:ok, ^sha}, {:ok, ^sha}, {:ok, [_main | _]}] = each(theirs, path, server)
    assert [{:ok, ^sha}, {:ok, ^sha}, {:ok, [_main | _]}] = each("file://" <> theirs, path, server)
  end

  test "a scheme that is not among those of the server is refused", context do
    http = start_supervised!({HttpServer, root: context.directory})
    path = Path.join(context.directory, "clones/a")
    secure = start!(schemes: [:https, :ssh])
    refused!(HttpServer.url(http, "tenants/theirs.git"), path, secure, ":schemes")

    for url <- [context.theirs, "file://" <> context.theirs],
        do: refused!(url, path, secure, ":allow_local")

    plain = start!(schemes: [:http])

    assert {:ok, _sha} =
             Git.sync(HttpServer.url(http, "tenants/theirs.git"), "main", path, server: plain)

    refused!("https://127.0.0.1:1/x", path <> "2", plain, ":schemes")
    refused!("git@127.0.0.1:x", path <> "2", plain, ":schemes")
  end

  test "repositories of this machine are read below the directories of the server only", context do
    %{directory: directory, theirs: theirs, other: other, sha: sha} = context
    server = start!(schemes: [:https], allow_local: [Path.join(directory, "tenants")])
    path = Path.join(directory, "clones/a")
    assert [{:ok, ^sha}, {:ok, ^sha}, {:ok, [_main | _]}] = each(theirs, path, server)

    link = Path.join(directory, "tenants/link.git")
    File.ln_s!(other, link)
    escape = Path.join(directory, "tenants/../other/other.git")
    gone = Path.join(directory, "other/gone.git")
    path = Path.join(directory, "clones/b")

    for url <- [other, "file://" <> other, link, escape, gone],
        do: refused!(url, path, server, ":allow_local")

    # Nor what one of them borrows, or is a part of.
    File.mkdir_p!(Path.join(theirs, "objects/info"))
    File.write!(Path.join(theirs, "objects/info/alternates"), Path.join(other, "objects") <> "\n")
    refused!(theirs, path, server, ":allow_local")
    worktree = Path.join(directory, "tenants/worktree")
    File.mkdir_p!(worktree)
    File.write!(Path.join(worktree, ".git"), "gitdir: #{other}\n")
    refused!(worktree, path, server, ":allow_local")
    refused!(theirs, path, start!(allow_local: []), ":allow_local")
  end

  test "an address that is not allowed is not connected to, whatever leads there", context do
    %{directory: directory, sha: sha} = context
    http = start_supervised!({HttpServer, root: directory})
    url = HttpServer.url(http, "tenants/theirs.git")
    assert %{host: host, port: port} = URI.parse(url)
    path = Path.join(directory, "clones/a")
    public = start!(addresses: :public)
    at = &"http://#{&1}:#{port}/tenants/theirs.git"

    for host <- [
          host,
          "localhost",
          "127.1",
          "0x7f000001",
          "[::1]",
          "[::ffff:127.0.0.1]",
          "169.254.169.254"
        ],
        do: refused!(at.(host), path, public, ":addresses")

    {:ok, %{"ok" => [step]}} =
      "localhost"
      |> at.()
      |> Git.Remote.new([])
      |> Git.Remote.call(public, %{"op" => "probe"}, timeout: 10_000)

    assert %{"step" => "resolve", "error" => %{"kind" => "unsupported", "err" => message}} = step
    assert message =~ ":addresses"
    refute message =~ "127.0.0.1"

    auth = Git.Auth.ssh_agent(known_hosts: "x")
    assert {:error, error} = Git.ls_remote("git@127.0.0.1:r", "main", server: public, auth: auth)
    assert {error.reason, error.message =~ "option :addresses"} == {:unsupported, true}

    own = start!(addresses: [allow: ["127.0.0.0/8"], deny: ["127.0.0.2", "::1"]])
    assert [{:ok, ^sha}, {:ok, ^sha}, {:ok, [_main | _]}] = each(url, path, own)
    HttpServer.rule(http, {:redirect, 302, at.("127.0.0.2")})
    refused!(url, path <> "2", own, ":addresses")
  end

  test "rules hold in a worker that takes the place of another", context do
    server = start!(schemes: [:https], backoff_initial: 1)
    path = Path.join(context.directory, "clones/a")
    refused!(context.theirs, path, server, ":allow_local")
    pid = Git.Server.info(server).os_pid
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
    refused!(context.theirs, path, server, ":allow_local")
    assert Git.Server.info(server).os_pid != pid
  end
end
