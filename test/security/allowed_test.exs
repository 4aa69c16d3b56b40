defmodule Alumiini.Git.AllowedTest do
  # Which remotes a server may be made to reach by who chooses the URL.
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :repositories]

  defp repositories(%{dir: dir}) do
    for name <- ["tenants", "other", "clones"], do: File.mkdir_p!(Path.join(dir, name))
    theirs = Repository.create!(Path.join(dir, "tenants"), "theirs.git")
    commit = Repository.commit!(theirs, %{"app.yaml" => "theirs"})
    other = Repository.create!(Path.join(dir, "other"), "other.git")
    Repository.commit!(other, %{"app.yaml" => "another's"})
    %{theirs: theirs, other: other, commit: commit}
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

  test "anything goes by default", %{dir: dir, theirs: theirs, commit: commit} do
    server = start!([])
    path = Path.join(dir, "clones/a")
    assert [{:ok, ^commit}, {:ok, ^commit}, {:ok, [_main | _]}] = each(theirs, path, server)

    assert [{:ok, ^commit}, {:ok, ^commit}, {:ok, [_main | _]}] =
             each("file://" <> theirs, path, server)
  end

  test "a scheme that is not among those of the server is refused", context do
    http = start_supervised!({HttpServer, root: context.dir})
    path = Path.join(context.dir, "clones/a")
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
    %{dir: dir, theirs: theirs, other: other, commit: commit} = context
    server = start!(schemes: [:https], allow_local: [Path.join(dir, "tenants")])
    path = Path.join(dir, "clones/a")
    assert [{:ok, ^commit}, {:ok, ^commit}, {:ok, [_main | _]}] = each(theirs, path, server)

    link = Path.join(dir, "tenants/link.git")
    File.ln_s!(other, link)
    escape = Path.join(dir, "tenants/../other/other.git")
    gone = Path.join(dir, "other/gone.git")
    path = Path.join(dir, "clones/b")

    for url <- [other, "file://" <> other, link, escape, gone],
        do: refused!(url, path, server, ":allow_local")

    # Nor what one of them borrows, or is a part of.
    File.mkdir_p!(Path.join(theirs, "objects/info"))
    File.write!(Path.join(theirs, "objects/info/alternates"), Path.join(other, "objects") <> "\n")
    refused!(theirs, path, server, ":allow_local")
    worktree = Path.join(dir, "tenants/worktree")
    File.mkdir_p!(worktree)
    File.write!(Path.join(worktree, ".git"), "gitdir: #{other}\n")
    refused!(worktree, path, server, ":allow_local")
    refused!(theirs, path, start!(allow_local: []), ":allow_local")
  end

  test "an address that is not allowed is not connected to, whatever leads there", context do
    %{dir: dir, commit: commit} = context
    http = start_supervised!({HttpServer, root: dir})
    url = HttpServer.url(http, "tenants/theirs.git")
    assert %{host: host, port: port} = URI.parse(url)
    path = Path.join(dir, "clones/a")
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
    assert [{:ok, ^commit}, {:ok, ^commit}, {:ok, [_main | _]}] = each(url, path, own)
    HttpServer.rule(http, {:redirect, 302, at.("127.0.0.2")})
    refused!(url, path <> "2", own, ":addresses")
  end

  test "rules hold in a worker that takes the place of another", context do
    server = start!(schemes: [:https], backoff_initial: 1)
    path = Path.join(context.dir, "clones/a")
    refused!(context.theirs, path, server, ":allow_local")
    pid = Git.Server.info(server).os_pid
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
    refused!(context.theirs, path, server, ":allow_local")
    assert Git.Server.info(server).os_pid != pid
  end
end
