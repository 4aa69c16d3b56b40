defmodule Alumiini.Git.UrlTest do
  # What a URL comes to is what the worker says, since it is what the worker connects to.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Error, Url}
  alias Alumiini.Git.Test.{HttpServer, Repository, TempDir}

  setup_all do
    server = start_supervised!({Git, name: nil})
    %{server: server}
  end

  test "hosts, ports and paths are what they come to", %{server: server} do
    for {text, {scheme, host, port, path, url}} <- [
          {"https://0x7f000001:443/a/../r",
           {"https", "127.0.0.1", 443, "/r", "https://127.0.0.1/r"}},
          {"https://１２７.1/r", {"https", "127.0.0.1", 443, "/r", "https://127.0.0.1/r"}},
          {"https://Bücher.example/r",
           {"https", "xn--bcher-kva.example", 443, "/r", "https://xn--bcher-kva.example/r"}},
          {"http://[::1]:8080/r", {"http", "::1", 8080, "/r", "http://[::1]:8080/r"}},
          {"git@Example.com:team/r.git",
           {"ssh", "example.com", 22, "team/r.git", "git@example.com:team/r.git"}},
          {"ssh://git@127.1/r", {"ssh", "127.0.0.1", 22, "/r", "ssh://git@127.0.0.1/r"}},
          {"file:///srv/r.git", {"file", nil, nil, "/srv/r.git", "/srv/r.git"}}
        ] do
      expected = %Url{scheme: scheme, host: host, port: port, path: path, url: url, hidden?: false}
      assert {text, Url.normalize(text, server: server)} == {text, {:ok, expected}}
    end
  end

  test "credentials are in no field", %{server: server} do
    for {text, hidden?} <- [
          {"https://ann:T0K@h/r", false},
          {"https://T0K@h/r", false},
          {"https://h/r?token=T0K", true},
          {"https://h/r;token=T0K", true},
          {"https://h/a:T0K@b/r", true}
        ] do
      assert {:ok, url} = Url.normalize(text, server: server)
      assert {text, url.host, url.hidden?, inspect(url) =~ "T0K"} == {text, "h", hidden?, false}
    end
  end

  test "what is no URL is refused without being repeated", %{server: server} do
    for {text, reason} <- [
          {"https:/ann:T0K@h/r", :invalid},
          {"https://ann:T0K@/r", :invalid},
          {"https://h/r#T0K", :invalid},
          {"git://h/r", :unsupported},
          {"https://1.2.3.4.5/r", :invalid}
        ] do
      assert {:error, %Error{reason: ^reason, op: :normalize} = error} =
               Url.normalize(text, server: server)

      refute inspect(error) =~ "T0K"
    end

    assert_raise ArgumentError, ~r/unknown option :depth of Alumiini.Git.Url.normalize/, fn ->
      Url.normalize("https://h/r", depth: 1)
    end

    assert_raise ArgumentError, ~r/the URL must be/, fn -> Url.normalize("") end
  end

  test "what it says is where a sync goes", %{server: server} do
    directory = TempDir.create!("url")
    repository = Repository.create!(directory, "r.git")
    sha = Repository.commit!(repository, %{"a" => "a"})
    http = start_supervised!({HttpServer, root: directory})
    url = HttpServer.url(http, "r.git")

    for host <- ["127.1", "0x7f.1", "１２７.0.0.1", "%31%32%37.0.0.1"] do
      odd = String.replace(url, "127.0.0.1", host)
      assert {odd, Git.ls_remote(odd, "main", server: server)} == {odd, {:ok, sha}}
      assert {:ok, %Url{url: ^url, host: "127.0.0.1"}} = Url.normalize(odd, server: server)
    end
  end
end
