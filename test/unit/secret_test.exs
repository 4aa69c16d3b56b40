defmodule Alumiini.Git.SecretTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Auth, Error, RedactedUrl, Secret}
  alias Alumiini.Git.Test.ShownUrls

  @secret "s3cr3t-Äß"

  doctest Auth

  defp reveal(auth) do
    {:ok, wire} = Secret.reveal(Auth.wire(auth, "https://h/x"))
    wire
  end

  describe "credentials" do
    test "are what the wire has" do
      assert reveal(Auth.basic("u", @secret)) == %{
               "type" => "basic",
               "username" => "u",
               "password" => @secret
             }

      assert reveal(Auth.token(@secret)) == %{
               "type" => "basic",
               "username" => "git",
               "password" => @secret
             }

      assert reveal(Auth.token(@secret, "x")) == %{
               "type" => "basic",
               "username" => "x",
               "password" => @secret
             }

      assert reveal(Auth.bearer(@secret)) == %{"type" => "bearer", "token" => @secret}
    end

    test "cannot be seen, however they are printed" do
      for auth <- [
            Auth.basic("u", @secret),
            Auth.token(@secret),
            Auth.bearer(@secret),
            Auth.ssh_key(@secret, passphrase: @secret, known_hosts: @secret),
            Auth.ssh_agent(socket: @secret)
          ] do
        assert inspect(auth) =~ ~r/^#Alumiini.Git.Auth<(basic|bearer|ssh_key|ssh_agent)>$/

        for shown <- [
              inspect(auth),
              inspect(auth, structs: false),
              inspect([opts: [auth: auth]], limit: :infinity),
              to_string(:io_lib.format("~p ~w", [auth, auth])),
              to_string(:io_lib.format("~tp", [%{state: auth}]))
            ] do
          refute shown =~ "s3cr3t"
          # As a list of bytes, which is what ~w makes of it.
          refute shown =~ "115,51,99,114,51,116"
        end
      end
    end

    test "must be text, and the refusal does not repeat them" do
      for wrong <- [
            fn -> Auth.basic(:u, @secret) end,
            fn -> Auth.basic("u", {@secret}) end,
            fn -> Auth.token([@secret]) end,
            fn -> Auth.token(@secret <> <<255>>) end,
            fn -> Auth.bearer(%{token: @secret}) end
          ] do
        error = assert_raise ArgumentError, wrong
        refute Exception.message(error) =~ "s3cr3t"
      end
    end
  end

  describe "a URL" do
    test "loses its credentials, which become authentication" do
      for {url, bare, username, password} <- [
            {"https://u:p@h/x.git", "https://h/x.git", "u", "p"},
            {"http://u:p@h:8080/x", "http://h:8080/x", "u", "p"},
            {"HTTPS://u:p@h/x", "https://h/x", "u", "p"},
            {"https://u@h/x", "https://h/x", "u", ""},
            {"https://:p@h/x", "https://h/x", "", "p"},
            {"https://u%40corp:p%3A%2Fq@h/x", "https://h/x", "u@corp", "p:/q"},
            {"https://u:p%zz@h/x", "https://h/x", "u", "p%zz"},
            {"https://u:a@b@h/x", "https://h/x", "u", "a@b"},
            {"https://u:a/b@h/x", "https://h/x", "u", "a/b"},
            {"https://u:a?b#c@h/x", "https://h/x", "u", "a?b#c"},
            {"https://u:p@[::1]:1/x", "https://[::1]:1/x", "u", "p"}
          ] do
        assert {^bare, %Auth{} = auth} = RedactedUrl.split(url)

        assert {url, reveal(auth)} ==
                 {url, %{"type" => "basic", "username" => username, "password" => password}}
      end
    end

    test "without credentials stays as it is" do
      for url <- [
            "https://h/x",
            "https://h/x@v1/y",
            "https://h:1/a@b",
            "https://[::1]:1/a@b",
            "ssh://git@h/x",
            "git@h:x/y.git",
            "/srv/a@b/x.git",
            "file:///srv/x@y",
            "C:\\x",
            ""
          ] do
        assert RedactedUrl.split(url) == {url, nil}
      end
    end

    test "is shown as the table says, which the worker goes by, too" do
      table = ShownUrls.table()
      assert length(table) > 80

      for {url, shown} <- table do
        assert {url, RedactedUrl.clean(url)} == {url, shown}
        # What was shown is shown as it is.
        assert {url, RedactedUrl.clean(shown)} == {url, shown}

        for secret <- ["T0K", "3N"],
            do: assert({url, :binary.match(shown, secret)} == {url, :nomatch})
      end
    end

    test "of the table says nothing more in the middle of a sentence, nor as a path" do
      # Without a colon or a scheme it might as well be a mail address.
      for {url, _shown} <- ShownUrls.table(),
          url =~ "@" and url =~ ~r{:|//},
          sentence <- ["~", "no ~, and more", "`~` is none", "(~)", "/srv/~"] do
        said = String.replace(sentence, "~", url)
        assert {said, :binary.match(RedactedUrl.clean_text(said), "T0K")} == {said, :nomatch}
      end
    end

    test "in a sentence is cleaned" do
      assert RedactedUrl.clean_text("cannot reach https://u:p@h/x: refused, http://t@h") ==
               "cannot reach https://h/x: refused, http://h"

      assert RedactedUrl.clean_text("mail a@b.c about https://h/x") ==
               "mail a@b.c about https://h/x"

      for {said, shown} <- [
            {"proxy socks5h://u:p@q@proxy:1080 is down", "proxy socks5h://proxy:1080 is down"},
            {"ssh://git:p@h/x and ssh://git@h/x", "ssh:[hidden] and ssh://git@h/x"},
            {"ssh+git://git:p@h/x and git+ssh://git%3Ap@h/x",
             "ssh+git:[hidden] and git+ssh:[hidden]"},
            {"(git:p@h:x.git)", "(git:[hidden])"},
            {"(u@dom:p@h:x.git)", "([hidden])"},
            {"(u@dom:p@q@h:x.git)", "([hidden])"},
            {"u@dom@h:x.git", "u@dom@h:x.git"},
            {"sync of https://h/x into /srv/a@b", "sync of https://h/x into /srv/a@b"},
            {"use https://, or http://u:p q@h now", "use https://, or http:[hidden] now"},
            {"(see https://h/x?token=t#f)", "(see https://h/x)"},
            {"this needs git://, which is not known", "this needs git://, which is not known"},
            {"/srv/https:/u:p@h/x is none", "/srv/https:[hidden] is none"},
            {"the proxy http://proxy:3128, then https://h:1/x.",
             "the proxy http://proxy:3128, then https://h:1/x."},
            {"the proxy socks5://127.0.0.1:1080 refuses",
             "the proxy socks5://127.0.0.1:1080 refuses"},
            {"12:30 by a@b.c: SHA256:ab+c/d=", "12:30 by a@b.c: SHA256:ab+c/d="},
            {"git@h:x.git", "git@h:x.git"},
            {"see SHA256:abc of git@h:x", "see SHA256:abc of git@h:x"}
          ] do
        assert {said, RedactedUrl.clean_text(said)} == {said, shown}
      end
    end

    test "is one of SSH, or not" do
      for url <-
            [
              "ssh://h/x",
              "SSH://u@h/x",
              "git+ssh://h/x",
              "ssh+git://h/x",
              "git@h:x",
              "host:x",
              "u@[::1]:x",
              "[::1]:x"
            ] ++
              ["h:x", "u@dom@h:x", "[u@h:22]:x", "http:x"],
          do: assert({url, RedactedUrl.ssh?(url)} == {url, true})

      for url <- ["https://h/x", "/srv/a:b", "./a:b", "x", "file:///x", "u@h/x:y", "[h]", ""],
          do: assert({url, RedactedUrl.ssh?(url)} == {url, false})

      # To Git, a letter with a colon is a drive on Windows alone.
      assert RedactedUrl.ssh?("C:\\x") == not match?({:win32, _name}, :os.type())
    end
  end

  test "an error from the worker is cleaned once more" do
    error =
      Error.from_reply(
        %{
          "err" => "no https://u:#{@secret}@h/x",
          "kind" => "network",
          "detail" => %{
            "url" => "https://u:#{@secret}@h/x",
            "unknown" => @secret,
            "near" => ["main"]
          }
        },
        :sync
      )

    refute inspect(error, structs: false) =~ "s3cr3t"
    assert error.detail == %{url: "https://h/x", near: ["main"]}
    assert Exception.message(error) == "sync: no https://h/x"
  end

  test "what an error tells beside its sentence" do
    detail = %{"retry_after" => 30, "fingerprint" => "SHA256:abc", "line" => "h ssh-ed25519 AAAA"}
    error = Error.from_reply(%{"err" => "x", "kind" => "host_key", "detail" => detail}, :refs)
    assert error.detail == %{retry_after: 30, fingerprint: "SHA256:abc", line: "h ssh-ed25519 AAAA"}
  end
end
