defmodule Alumiini.Git.RedirectsTest do
  # Where redirects may lead, and what goes along.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Auth

  setup [:dir, :origin, :commit, :certificate, :http, :https]

  # Only this worker trusts the test's authority.
  setup context do
    binary = WrappedWorker.write!(context.dir, %{"SSL_CERT_FILE" => context.ca_file})
    git = start_supervised!({Git, name: nil, binary: binary})
    %{options: [server: git, auth: Auth.basic("ann", "open sesame")]}
  end

  @required {:require, {:basic, "ann", "open sesame"}}

  defp schemes(server),
    do: server |> HttpServer.log() |> Enum.map(& &1.authorization) |> Enum.uniq()

  test "on the same host: followed by each kind, with the credentials", context do
    %{https: https, options: options, commit: commit, path: path} = context
    HttpServer.rule(https, @required)

    for code <- [301, 302, 307, 308] do
      HttpServer.rule(https, {:redirect, code, "/origin.git"}, path: "old#{code}.git")

      assert {:ok, ^commit} =
               Git.ls_remote(HttpServer.url(https, "old#{code}.git"), "main", options)

      url = HttpServer.url(https, "old#{code}.git")
      assert {:ok, ^commit} = Git.sync(url, "main", "#{path}#{code}", options)
    end

    assert schemes(https) == ["basic"]
  end

  test "from https to http: not followed, and nothing is sent there", context do
    %{https: https, http: http, options: options, path: path} = context

    for code <- [301, 302, 307, 308], insecure? <- [false, true] do
      rule = HttpServer.rule(https, {:redirect, code, HttpServer.url(http, "origin.git")})
      options = [allow_insecure: insecure?] ++ options
      assert {:error, error} = Git.sync(HttpServer.url(https, "origin.git"), "main", path, options)
      assert %Error{reason: :protocol, retryable?: false} = error
      assert error.message =~ "unencrypted"
      HttpServer.remove(https, rule)
    end

    assert HttpServer.stats(http).connections == 0
  end

  test "from http to https: followed, without credentials that were for http", context do
    %{https: https, http: http, options: options, commit: commit} = context
    HttpServer.rule(http, {:redirect, 301, HttpServer.url(https, "origin.git")})
    url = HttpServer.url(http, "origin.git")
    assert {:ok, ^commit} = Git.ls_remote(url, "main", [allow_insecure: true] ++ options)
    assert schemes(http) == ["basic"]
    assert schemes(https) == [nil]

    HttpServer.rule(https, @required)
    assert {:error, error} = Git.ls_remote(url, "main", [allow_insecure: true] ++ options)
    assert %Error{reason: :auth} = error
    assert error.message =~ "https://localhost"
  end

  test "to a page to log in, and in a circle: refused", context do
    %{https: https, options: options} = context
    url = HttpServer.url(https, "origin.git")
    login = {:status, 302, [{"location", "/login?next=%2Forigin.git"}], ""}
    html = HttpServer.rule(https, :html, path: "/login")
    rule = HttpServer.rule(https, login, on: :info_refs)
    assert {:error, %Error{reason: :auth} = error} = Git.ls_remote(url, "main", options)
    assert error.message =~ "a page to log in"
    HttpServer.remove(https, rule)
    HttpServer.remove(https, html)

    HttpServer.rule(https, {:redirect, 302, "/origin.git"})
    before = HttpServer.stats(https).requests
    assert {:error, %Error{reason: :protocol} = error} = Git.ls_remote(url, "main", options)
    assert error.message =~ "times"
    assert HttpServer.stats(https).requests - before <= 10
  end

  test "of a POST: not followed; what was known is forgotten, and asked anew within the same call",
       context do
    %{https: https, options: options, commit: commit, path: path} = context
    url = HttpServer.url(https, "old.git")
    rule = HttpServer.rule(https, {:redirect, 301, "/origin.git"}, path: "old.git", on: :info_refs)
    assert {:ok, ^commit} = Git.sync(url, "main", path, options)
    assert {:ok, ^commit} = Git.ls_remote(url, "main", options)
    HttpServer.remove(https, rule)

    # The repository that it was known at moves on.
    HttpServer.rule(https, {:redirect, 308, "/origin.git"}, path: "old.git")

    HttpServer.rule(https, {:redirect, 308, "/elsewhere.git"},
      path: "origin.git",
      on: :upload_pack,
      first: 1
    )

    before = length(HttpServer.log(https))
    assert {:ok, ^commit} = Git.ls_remote(url, "main", options)

    assert [
             %{method: "POST", path: "/origin.git/git-upload-pack"},
             %{method: "GET", path: "/old.git/info/refs"},
             %{method: "GET", path: "/origin.git/info/refs"},
             %{method: "POST", path: "/origin.git/git-upload-pack"}
           ] = https |> HttpServer.log() |> Enum.drop(before)

    # One that redirects each POST is refused.
    HttpServer.rule(https, {:redirect, 307, "/elsewhere.git"}, on: :upload_pack)
    assert {:error, %Error{reason: :protocol} = error} = Git.ls_remote(url, "main", options)
    assert error.message =~ "redirect"
    assert Enum.all?(HttpServer.log(https), &(&1.path != "/elsewhere.git/git-upload-pack"))
  end
end
