defmodule Alumiini.Git.AuthByUrlTest do
  # Credentials by URL: of a call, of a follower, and of a server.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.{Auth, Follower}

  setup [:dir, :origin, :commit, :http]

  setup context do
    File.ln_s!("origin.git", Path.join(context.dir, "other.git"))
    HttpServer.rule(context.http, {:require, {:bearer, "for-origin"}}, path: "origin.git")
    HttpServer.rule(context.http, {:require, {:bearer, "for-all"}}, path: "other.git")
    base = HttpServer.base_url(context.http)

    %{
      base: base,
      other: base <> "/other.git",
      pairs: [
        {base, Auth.bearer("for-all")},
        {base <> "/origin.git", Auth.bearer("for-origin")},
        {"https://git.example.com/", Auth.bearer("elsewhere")}
      ]
    }
  end

  defp server!(options), do: start_supervised!({Git, [name: nil] ++ options})

  test "a call chooses by its URL, and calls functions for it", context do
    git = server!([])
    options = [server: git, allow_insecure: true]
    auth = Auth.for_urls(context.pairs)
    assert {:ok, _sha} = Git.ls_remote(context.url, "main", [auth: auth] ++ options)
    assert {:ok, _sha} = Git.ls_remote(context.other, "main", [auth: auth] ++ options)
    only_elsewhere = Auth.for_urls([{"https://git.example.com/", Auth.bearer("elsewhere")}])
    options = [auth: only_elsewhere] ++ options
    assert {:error, %Error{reason: :auth} = error} = Git.ls_remote(context.url, "main", options)
    assert error.message =~ "none were given"
    # Those in the URL count then.
    with_login = String.replace(context.url, "://", "://ann:pass@")
    assert {:error, %Error{reason: :auth} = error} = Git.ls_remote(with_login, "main", options)
    assert error.message =~ "did not accept"
  end

  test "a function among them is called again where the remote refuses what it gave", context do
    git = server!([])
    test = self()

    fresh = fn ->
      send(test, :called)
      called = Process.get(:called, 0)
      Process.put(:called, called + 1)
      Auth.bearer(if called == 0, do: "outdated", else: "for-origin")
    end

    by_url = Auth.for_urls([{context.url, fresh}, {context.base, Auth.bearer("for-all")}])
    options = [server: git, allow_insecure: true]
    assert {:ok, _sha} = Git.ls_remote(context.url, "main", [auth: by_url] ++ options)
    assert_received :called
    assert_received :called
    refute_received :called
    # It is none of another URL's business. And a function may return credentials by URL.
    assert {:ok, _sha} = Git.ls_remote(context.other, "main", [auth: fn -> by_url end] ++ options)
    refute_received :called
  end

  test "a server gives them to the calls without any", context do
    git = server!(auth: Auth.for_urls(context.pairs))
    options = [server: git, allow_insecure: true]
    assert {:ok, sha} = Git.sync(context.url, "main", context.path, options)
    assert sha == context.commit
    assert {:ok, _sha} = Git.ls_remote(context.other, "main", options)
    assert {:ok, [_ref | _]} = Git.refs(context.other, options)

    # Those of the call and of the URL take precedence.
    for {url, more} <- [
          {context.url, [auth: Auth.bearer("of-the-call")]},
          {String.replace(context.url, "://", "://ann:pass@"), []}
        ] do
      assert {:error, %Error{reason: :auth} = error} = Git.ls_remote(url, "main", more ++ options)
      assert error.message =~ "did not accept"
    end

    # And what is on this machine needs none.
    assert {:ok, _sha} = Git.ls_remote("file://" <> context.origin, "main", options)
    assert {:ok, _sha} = Git.ls_remote(context.origin, "main", options)
    assert {:error, %Error{reason: :invalid}} = Git.ls_remote(context.url, "main", server: git)
  end

  test "a follower takes them, and goes on with those of its server", context do
    git = server!(auth: Auth.for_urls(context.pairs))

    options = [
      server: git,
      allow_insecure: true,
      url: context.url,
      ref: "main",
      path: context.path
    ]

    follower = start_supervised!({Follower, options})
    assert {:ok, _current} = Follower.subscribe(follower, :all, since: nil)
    assert_receive {:alumiini_git, ^follower, %{sha: sha}}, 20_000
    assert sha == context.commit

    by_url = Auth.for_urls([{context.base, fn -> Auth.bearer("for-all") end}])
    path = Path.join(context.dir, "second")
    more = [auth: by_url, url: context.other, path: path]
    second = start_supervised!({Follower, Keyword.merge(options, more)}, id: :second)
    assert {:ok, _current} = Follower.subscribe(second, :all, since: nil)
    assert_receive {:alumiini_git, ^second, %{sha: sha}}, 20_000
    assert sha == context.commit
  end
end
