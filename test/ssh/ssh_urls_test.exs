defmodule Alumiini.Git.SshUrlsTest do
  # The forms that Git has for a host with a port, and for a user that is a mail address. Each leads
  # to a real sshd, for `git` and for us.
  use Alumiini.Git.Test.SshCase, async: true

  @moduletag timeout: 120_000

  setup [:dir, :origin_with_a_space, :commit, :key, :sshd, :git]

  setup context do
    %{
      user: SshServer.user(),
      at: "127.0.0.1:#{SshServer.port(context.sshd)}",
      env: git_env!(context, context.known_hosts)
    }
  end

  defp origin_with_a_space(context), do: %{origin: Repository.create!(context.dir, "my app.git")}

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
    assert SshServer.count(context.sshd, :connections) == 9 + 1
  end

  test "may have a mail address as user", %{at: at, sshd: sshd} = context do
    for url <- [
          "ann@dom.example@[#{at}]:x",
          "[ann@dom.example@#{at}]:x",
          "ssh://ann%40dom.example@#{at}/x"
        ] do
      assert {^url, {:error, %Error{reason: :auth} = error}} = {url, we_say(context, url)}
      assert error.message =~ "ann@dom.example@127.0.0.1"
    end

    assert Enum.count(SshServer.log(sshd), &(&1 =~ "Invalid user ann@dom.example from")) == 3
  end
end
