defmodule Alumiini.Git.AuthTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Auth, Secret}

  @key "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cr3t\n-----END OPENSSH PRIVATE KEY-----\n"
  @cert "-----BEGIN CERTIFICATE-----\ns3cr3t\n-----END CERTIFICATE-----\n"
  @known_hosts "git.example.com ssh-ed25519 AAAA\n"

  defp wire(auth, url \\ "https://h/x") do
    case Auth.wire(auth, url) do
      nil ->
        nil

      sealed ->
        {:ok, wire} = Secret.reveal(sealed)
        wire
    end
  end

  defp tls(auth) do
    with sealed when sealed != nil <- Auth.tls(auth) do
      {:ok, wire} = Secret.reveal(sealed)
      wire
    end
  end

  describe "SSH" do
    test "keys and agents are what the wire has" do
      assert wire(Auth.ssh_key(@key)) == %{"type" => "ssh_key", "private_key" => @key}

      options = [passphrase: "p", username: "u", known_hosts: @known_hosts]

      assert wire(Auth.ssh_key(@key, options)) == %{
               "type" => "ssh_key",
               "private_key" => @key,
               "passphrase" => "p",
               "username" => "u",
               "known_hosts" => @known_hosts
             }

      assert wire(Auth.ssh_agent()) == %{"type" => "ssh_agent"}

      assert wire(Auth.ssh_agent(socket: "/run/agent", username: "u", known_hosts: @known_hosts)) ==
               %{
                 "type" => "ssh_agent",
                 "socket" => "/run/agent",
                 "username" => "u",
                 "known_hosts" => @known_hosts
               }
    end

    test "the first of two options counts" do
      assert %{"username" => "a"} = wire(Auth.ssh_agent(username: "a", username: "b"))
    end

    test "misuse is told without a value" do
      for {call, message} <- [
            {fn -> Auth.ssh_key({:ok, "s3cr3t"}) end, ~r{ssh_key/2: the private key must be}},
            {fn -> Auth.ssh_key("s3cr3t" <> <<255>>) end,
             ~r{the private key must be a UTF-8 string}},
            {fn -> Auth.ssh_key(@key, "s3cr3t") end,
             ~r{ssh_key/2: the options must be a keyword list}},
            {fn -> Auth.ssh_key(@key, passphrase: ~c"s3cr3t") end,
             ~r{the option :passphrase must be}},
            {fn -> Auth.ssh_key(@key, password: "s3cr3t") end,
             ~r{unknown option :password; .*:passphrase}},
            {fn -> Auth.ssh_agent(passphrase: "s3cr3t") end,
             ~r{ssh_agent/1: unknown option :passphrase}},
            {fn -> Auth.ssh_agent(%{socket: "s3cr3t"}) end, ~r{the options must be}},
            {fn -> Auth.ssh_agent(known_hosts: nil) end, ~r{the option :known_hosts must be}}
          ] do
        error = assert_raise ArgumentError, message, call
        refute Exception.message(error) =~ "s3cr3t"
      end
    end
  end

  describe "from_secret/1" do
    test "takes what Flux and Kubernetes put into secrets" do
      for {data, for_https, for_ssh, tls} <- [
            {%{"username" => "u", "password" => "p"}, basic("u", "p"), basic("u", "p"), nil},
            {%{"username" => "u"}, basic("u", ""), basic("u", ""), nil},
            # `echo` and `kubectl create secret --from-file` leave a line break.
            {%{"username" => "u\n", "password" => "p\r\n"}, basic("u", "p"), basic("u", "p"), nil},
            {%{"username" => "u", "password" => "p\n\n"}, basic("u", "p\n"), basic("u", "p\n"),
             nil},
            {%{"bearerToken" => "t\n"}, bearer("t"), bearer("t"), nil},
            # As in Flux: Basic before Bearer.
            {%{"bearerToken" => "t", "username" => "u", "password" => "p"}, basic("u", "p"),
             basic("u", "p"), nil},
            {%{"bearerToken" => "t", "username" => ""}, bearer("t"), bearer("t"), nil},
            {%{
               "identity" => @key,
               "identity.pub" => "ssh-ed25519 AAAA",
               "known_hosts" => @known_hosts
             }, key(known_hosts: @known_hosts), key(known_hosts: @known_hosts), nil},
            {%{"identity" => @key, "password" => "p"}, key(passphrase: "p"), key(passphrase: "p"),
             nil},
            {%{"ssh-privatekey" => @key}, key([]), key([]), nil},
            # One for two URLs.
            {%{"identity" => @key, "username" => "u", "password" => "p"}, basic("u", "p"),
             key(passphrase: "p", username: "u"), nil},
            {%{"identity" => @key, "bearerToken" => "t"}, bearer("t"), key([]), nil},
            {%{"ca.crt" => @cert}, nil, nil, %{"ca" => @cert}},
            {%{"caFile" => @cert, "username" => "u", "password" => "p"}, basic("u", "p"),
             basic("u", "p"), %{"ca" => @cert}},
            {%{"ca.crt" => @cert, "caFile" => @cert <> "older"}, nil, nil, %{"ca" => @cert}},
            {%{"tls.crt" => @cert, "tls.key" => @key}, nil, nil, %{"cert" => @cert, "key" => @key}},
            {%{"certFile" => @cert, "keyFile" => @key, "bearerToken" => "t"}, bearer("t"),
             bearer("t"), %{"cert" => @cert, "key" => @key}},
            {%{"githubAppID" => "1", "username" => "u", "password" => "p"}, basic("u", "p"),
             basic("u", "p"), nil},
            {%{"bearerToken" => "t", "unknown" => nil, "binary" => <<255>>}, bearer("t"),
             bearer("t"), nil}
          ] do
        auth = Auth.from_secret(data)
        keys = Map.keys(data)
        assert {keys, wire(auth, "https://h/x")} == {keys, for_https}

        for url <- ["ssh://git@h/x", "git@h:x.git"],
            do: assert({keys, wire(auth, url)} == {keys, for_ssh})

        assert {keys, tls(auth)} == {keys, tls}
      end
    end

    test "says which kinds are in it, and shows nothing else" do
      all = %{
        "identity" => @key,
        "username" => "s3cr3t",
        "password" => "s3cr3t",
        "known_hosts" => "s3cr3t",
        "ca.crt" => @cert,
        "tls.crt" => @cert,
        "tls.key" => @key
      }

      assert inspect(Auth.from_secret(all)) == "#Alumiini.Git.Auth<basic ssh_key tls>"
      assert inspect(Auth.from_secret(%{"ca.crt" => @cert})) == "#Alumiini.Git.Auth<tls>"
      refute inspect(Auth.from_secret(all), structs: false) =~ "s3cr3t"
    end

    test "refuses what is of no use, with names and without values" do
      for {data, message} <- [
            {nil, ~r/the data must be a map with strings/},
            {[{"username", "s3cr3t"}], ~r/the data must be a map/},
            {%{username: "s3cr3t"}, ~r/the data must be a map with strings as keys/},
            {%{~c"username" => "s3cr3t"}, ~r/the data must be a map with strings as keys/},
            {%{}, ~r/no credentials in the secret; expected `username` and `password`, .* no keys/},
            {%{"user" => "s3cr3t", "pass" => "s3cr3t"}, ~r/found the keys "pass", "user"/},
            {%{"username" => "", "password" => "\n"}, ~r/found the keys "password", "username"/},
            {%{"known_hosts" => "s3cr3t"},
             ~r/`identity` or `ssh-privatekey`.* found the keys "known_hosts"/},
            {%{"password" => "s3cr3t"}, ~r/`password` but no `username`/},
            {%{"username" => "u", "password" => nil}, ~r/`password` must be a UTF-8 string/},
            {%{"username" => ~c"s3cr3t"}, ~r/`username` must be a UTF-8 string/},
            {%{"bearerToken" => "s3cr3t" <> <<255>>}, ~r/`bearerToken` must be a UTF-8 string/},
            {%{"identity" => Base.encode64(@key)},
             ~r/`identity` is not PEM text; .*base64.* decoded first/},
            {%{"ca.crt" => "s3cr3t"}, ~r/`ca.crt` is not PEM/},
            {%{"tls.crt" => @cert}, ~r/only one of `tls.crt` and `tls.key`/},
            {%{"keyFile" => @key, "username" => "s3cr3t"}, ~r/only one of `tls.crt` and `tls.key`/},
            {%{"githubAppID" => "1", "githubAppPrivateKey" => @key},
             ~r/GitHub App, and needs .*`githubAppInstallationID`/},
            {%{"githubAppID" => "1", "ca.crt" => @cert}, ~r/GitHub App, and needs/},
            {%{
               "githubAppID" => "1",
               "githubAppPrivateKey" => "s3cr3t",
               "githubAppInstallationID" => "2"
             }, ~r{from_secret/1: the option :private_key must be the PEM}},
            {%{
               "githubAppID" => "1",
               "githubAppPrivateKey" => @key,
               "githubAppInstallationID" => "s3cr3t"
             }, ~r/:installation_id must be a positive number/}
          ] do
        error = assert_raise ArgumentError, message, fn -> Auth.from_secret(data) end
        refute Exception.message(error) =~ "s3cr3t"
        refute Exception.message(error) =~ "115, 51"
      end
    end
  end

  defp basic(username, password),
    do: %{"type" => "basic", "username" => username, "password" => password}

  defp bearer(token), do: %{"type" => "bearer", "token" => token}

  defp key(options) do
    options
    |> Map.new(fn {key, value} -> {Atom.to_string(key), value} end)
    |> Map.merge(%{"type" => "ssh_key", "private_key" => @key})
  end
end
