defmodule Alumiini.Git.AuthForUrlsTest do
  # Which credentials a URL gets of those by URL.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Auth, Secret}

  defp wire(auth) do
    {:ok, wire} = auth |> Auth.wire("https://h/x") |> Secret.reveal()
    wire
  end

  defp chosen(pairs, url) do
    by_url = Auth.for_urls(for {prefix, name} <- pairs, do: {prefix, Auth.bearer(name)})

    case Auth.for_url(by_url, url) do
      nil -> nil
      auth -> wire(auth)["token"]
    end
  end

  test "are those of the longest prefix, whatever the order" do
    pairs = [
      {"https://github.com", "all"},
      {"https://github.com/acme/", "acme"},
      {"https://github.com/acme/shop", "shop"},
      {"https://git.example.com:8443/", "port"},
      {"http://github.com/acme", "plain"},
      {"ssh://github.com/acme", "ssh"},
      {"deploy@github.com:acme", "deploy"},
      {"https://[::1]/a", "six"}
    ]

    for {url, expected} <- [
          {"https://github.com/acme/shop", "shop"},
          {"https://github.com/acme/shop/", "shop"},
          {"https://github.com/acme/shop.git", "acme"},
          {"https://github.com/acme/shop/sub.git?x=/acme", "shop"},
          {"https://GitHub.COM:443/acme/x.git", "acme"},
          {"HTTPS://github.com/acme", "acme"},
          {"https://github.com/acme-evil/shop.git", "all"},
          {"https://github.com/ACME/x", "all"},
          {"https://github.com/", "all"},
          {"https://github.com", "all"},
          {"https://git.example.com:8443/r", "port"},
          {"https://git.example.com/r", nil},
          {"http://github.com/acme/x", "plain"},
          {"http://github.com/other", nil},
          {"git@github.com:acme/shop.git", "ssh"},
          {"ssh://git@github.com:22/acme/shop.git", "ssh"},
          {"git+ssh://github.com/acme/shop.git", "ssh"},
          {"deploy@github.com:acme/shop.git", "deploy"},
          {"ssh://deploy@github.com/acme/shop.git", "deploy"},
          {"ssh://git@github.com:2222/acme/shop.git", nil},
          {"https://[::1]/a/b", "six"},
          # Not the same host, however it looks.
          {"https://github.com.evil.example/acme/x", nil},
          {"https://evilgithub.com/acme/x", nil},
          {"https://github.com@evil.example/acme/x", nil},
          {"https://evil.example/https://github.com/acme/x", nil},
          {"https://github.com:8443/acme/x", nil},
          {"https://github.com./acme/x", nil},
          {"https://ex%61mple.com/acme/x", nil},
          # What may be read in two ways.
          {"https://github.com/acme/../evil/x", nil},
          {"https://github.com/acme/%2e%2E/evil/x", nil},
          {"https://github.com/acme%2F..%2fevil/x", nil},
          {"https://github.com/acme/..\\evil/x", nil},
          {"https://github.com//acme/x", nil},
          {"https://github.com\\@evil.example/acme/x", nil},
          {"https://github.com/acme/\tx", nil},
          {"/github.com/acme/x", nil},
          {"file:///github.com/acme/x", nil},
          {"", nil},
          {<<255>>, nil}
        ],
        pairs <- [pairs, Enum.reverse(pairs)] do
      assert {url, chosen(pairs, url)} == {url, expected}
    end
  end

  test "are named by URLs without anything secret, each once" do
    auth = Auth.bearer("s3cr3t")

    for {pairs, message} <- [
          {[], ~r/a list of a prefix and its credentials/},
          {%{"https://h/" => auth}, ~r/a list/},
          {["https://h/"], ~r/a list/},
          {[{"https://me:s3cr3t@h/", auth}], ~r/a prefix must be a URL/},
          {[{"https://s3cr3t@h/", auth}], ~r/a prefix must be a URL/},
          {[{"https://h/?s3cr3t", auth}], ~r/a prefix must be a URL/},
          {[{"https://h/a/../b", auth}], ~r/a prefix must be a URL/},
          {[{"github.com/acme", auth}], ~r/a prefix must be a URL/},
          {[{"https://", auth}], ~r/a prefix must be a URL/},
          {[{"ftp://h/", auth}], ~r/a prefix must be a URL/},
          {[{:all, auth}], ~r/a prefix must be a URL/},
          {[{"https://h/", "s3cr3t"}], ~r/the credentials must be made by/},
          {[{"https://h/", Auth.for_urls([{"https://h/", auth}])}], ~r/must be made by another/},
          {[{"https://h/a", auth}, {"https://H:443/a/", auth}], ~r/the same/}
        ] do
      error = assert_raise ArgumentError, message, fn -> Auth.for_urls(pairs) end
      refute Exception.message(error) =~ "s3cr3t"
    end
  end

  test "show nothing" do
    auth = Auth.for_urls([{"https://h/", Auth.bearer("s3cr3t")}])
    assert inspect(auth) == "#Alumiini.Git.Auth<urls>"
    refute inspect(auth, structs: false) =~ "s3cr3t"
  end

  test "of a server are such credentials, without functions" do
    for {auth, message} <- [
          {Auth.bearer("s3cr3t"), ~r/must be made by Alumiini.Git.Auth.for_urls/},
          {fn -> Auth.bearer("s3cr3t") end, ~r/must be made by Alumiini.Git.Auth.for_urls/},
          {Auth.for_urls([{"https://h/", fn -> Auth.bearer("s3cr3t") end}]),
           ~r/cannot have functions/},
          {Auth.for_urls([{"https://h/", {Auth, :bearer, ["s3cr3t"]}}]), ~r/cannot have functions/}
        ] do
      error = assert_raise ArgumentError, message, fn -> Alumiini.Git.start_link(auth: auth) end
      refute Exception.message(error) =~ "s3cr3t"
    end
  end
end
