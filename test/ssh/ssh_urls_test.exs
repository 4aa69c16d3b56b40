defmodule Alumiini.Git.SshUrlsTest do
  # The forms that Git has for a host with a port, and for a user that is a mail address. Each leads
  # to a real sshd, for `git` and for us.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Error}
  alias Alumiini.Git.Test.{GitCommand, Repository, SshKeys, SshServer, TempDir}

  @moduletag timeout: 120_000

  setup do
    dir = TempDir.create!("ssh-urls")
    key = SshKeys.generate!(dir, :ed25519)
    origin = Repository.create!(dir, "my app.git")
    commit = Repository.commit!(origin, %{"a.yaml" => "a: 1\n"})
    server = start_supervised!({SshServer, dir: dir, authorized: [key]})
    file = Path.join(dir, "known_hosts")
    File.write!(file, SshServer.known_hosts(server))

    ssh =
      "ssh -F none -i #{key.path} -o IdentitiesOnly=yes -o UserKnownHostsFile=#{file} -o " <>
        "BatchMode=yes"

    %{
      origin: origin,
      commit: commit,
      server: server,
      user: SshServer.user(),
      at: "127.0.0.1:#{SshServer.port(server)}",
      auth: Auth.ssh_key(key.private, known_hosts: SshServer.known_hosts(server)),
      env: [{"GIT_SSH_COMMAND", ssh}, {"SSH_AUTH_SOCK", nil}],
      git: start_supervised!({Git, name: nil})
    }
  end

  defp git_says(context, url) do
    case GitCommand.run(["ls-remote", url, "refs/heads/main"], env: context.env) do
      {<<commit::binary-size(40), "\trefs/heads/main\n">>, 0} -> {:ok, commit}
      {output, _status} -> {:error, output}
    end
  end

  defp we_say(context, url), do: Git.ls_remote(url, "main", server: context.git, auth: context.auth)

  test "lead where git says that they do", %{user: user, at: at, origin: origin} = context do
    escaped = String.replace(origin, " ", "%20")

    for url <- [
          "[#{user}@#{at}]:#{origin}",
          "#{user}@[#{at}]:#{origin}",
          "ssh://#{user}@#{at}#{origin}",
          "ssh://#{user}@#{at}#{escaped}",
          "ssh://[#{user}@#{at}]#{escaped}",
          "ssh://#{user}@[#{at}]#{escaped}",
          "ssh://#{user}%40#{at}#{escaped}",
          "git+ssh://#{user}@#{at}#{escaped}",
          "ssh+git://#{user}@#{at}#{escaped}"
        ] do
      assert {url, git_says(context, url)} == {url, {:ok, context.commit}}
      assert {url, we_say(context, url)} == {url, {:ok, context.commit}}
    end

    # All of them are one place.
    assert SshServer.count(context.server, :connections) == 9 + 1
  end

  test "may have a mail address as user", %{at: at, server: server} = context do
    for url <- [
          "ann@dom.example@[#{at}]:x",
          "[ann@dom.example@#{at}]:x",
          "ssh://ann%40dom.example@#{at}/x"
        ] do
      assert {^url, {:error, %Error{reason: :auth} = error}} = {url, we_say(context, url)}
      assert error.message =~ "ann@dom.example@127.0.0.1"
    end

    assert Enum.count(SshServer.log(server), &(&1 =~ "Invalid user ann@dom.example from")) == 3
  end
end
