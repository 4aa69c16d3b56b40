defmodule Alumiini.Git.SshShortUrlsTest do
  # `user@host:path`, which says no port: a real sshd on port 22 of a loopback address, which takes
  # root or a system that lets everybody listen there. `git` with the same URL says what each leads
  # to.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Error}
  alias Alumiini.Git.Test.{FreePort, GitCommand, Oracle, Repository, SshKeys, SshServer, TempDir}

  @moduletag timeout: 120_000

  with {:error, reason} <- FreePort.allowed(22), do: @moduletag(skip: reason)

  setup do
    dir = TempDir.create!("ssh22")
    home = Path.join(dir, "home")
    File.mkdir!(home)
    key = SshKeys.generate!(dir, :ed25519)

    # Each place has a repository with a commit of its own, so that none is taken for another.
    commits =
      for {name, parent} <- [at_root: dir, at_home: home], into: %{} do
        origin = Repository.create!(parent, "app.git")
        {name, Repository.commit!(origin, %{"place" => "#{name}"})}
      end

    # git-upload-pack finds `~` in the environment, and `~name` in the system's list of users, as
    # sshd finds where it begins.
    server =
      start_supervised!({SshServer, dir: dir, port: 22, authorized: [key], env: [{"HOME", home}]})

    known_hosts = SshServer.known_hosts(server)
    file = Path.join(dir, "known_hosts")
    File.write!(file, known_hosts)

    ssh =
      "ssh -F none -i #{key.path} -o IdentitiesOnly=yes -o UserKnownHostsFile=#{file} -o " <>
        "BatchMode=yes"

    %{
      dir: dir,
      commits: commits,
      key: key,
      known_hosts: known_hosts,
      server: server,
      host: SshServer.address(server),
      user: SshServer.user(),
      auth: Auth.ssh_key(key.private, known_hosts: known_hosts),
      env: [{"GIT_SSH_COMMAND", ssh}, {"SSH_AUTH_SOCK", nil}],
      git: start_supervised!({Git, name: nil})
    }
  end

  # What leads from where the user's sessions begin to an absolute path: nothing of the tests goes
  # into anybody's home.
  defp relative(user, path) do
    {home, 0} = System.cmd("sh", ["-c", "echo ~#{user}"])
    up = home |> String.trim() |> Path.split() |> tl() |> Enum.map(fn _ -> ".." end)
    Path.join(up ++ tl(Path.split(path)))
  end

  defp git_says(context, url) do
    case GitCommand.run(["ls-remote", url, "refs/heads/main"], env: context.env) do
      {<<commit::binary-size(40), "\trefs/heads/main\n">>, 0} -> {:ok, commit}
      {output, _status} -> {:error, output}
    end
  end

  defp we_say(context, url), do: Git.ls_remote(url, "main", server: context.git, auth: context.auth)

  test "lead where git says that they do", context do
    %{dir: dir, user: user, host: host} = context
    relative = relative(user, dir)
    at = "#{user}@#{host}"

    for {url, place} <- [
          {"#{at}:#{dir}/app.git", :at_root},
          {"#{at}:#{relative}/app.git", :at_root},
          {"#{at}:#{relative}/app", :at_root},
          {"#{at}:./#{relative}/app.git", :at_root},
          {"#{at}:~#{user}/#{relative}/app.git", :at_root},
          {"#{at}:/~#{user}/#{relative}/app.git", :at_root},
          {"#{at}:~/app.git", :at_home},
          {"#{at}:/~/app.git", :at_home},
          {"#{at}:~/app", :at_home},
          {"#{at}:~/../app.git", :at_root},
          {"#{user}@[#{host}]:~/app.git", :at_home},
          {"#{user}@[#{host}:22]:~/app.git", :at_home},
          {"[#{at}]:~/app.git", :at_home},
          {"[#{at}:22]:~/app.git", :at_home},
          {"ssh://#{at}#{dir}/app.git", :at_root},
          {"ssh://#{at}/~/app.git", :at_home},
          {"ssh://#{at}/~#{user}/#{relative}/app.git", :at_root}
        ] do
      commit = context.commits[place]
      assert {url, git_says(context, url)} == {url, {:ok, commit}}
      assert {url, we_say(context, url)} == {url, {:ok, commit}}
    end
  end

  test "lead nowhere where git says so, and are shown as they are", context do
    %{dir: dir, user: user, host: host} = context

    for path <- ["absent.git", "~/absent.git", "#{dir}/absent.git", "~nobody-of-that-name/app.git"] do
      url = "#{user}@#{host}:#{path}"
      assert {^url, {:error, _output}} = {url, git_says(context, url)}
      assert {:error, %Error{reason: :repo_not_found} = error} = we_say(context, url)
      assert error.message =~ path
    end
  end

  test "with no user are asked for as git, as hosting services have it, unless the " <>
         "credentials say whom",
       context do
    %{host: host, user: user, known_hosts: known_hosts} = context
    url = "#{host}:~/app.git"
    assert {:error, %Error{reason: :auth} = error} = we_say(context, url)
    assert error.message =~ "git@#{host} "

    named = %{
      context
      | auth: Auth.ssh_key(context.key.private, username: user, known_hosts: known_hosts)
    }

    assert we_say(named, url) == {:ok, context.commits.at_home}
  end

  test "are cloned from and polled, over connections that those with ssh:// share", context do
    %{dir: dir, user: user, host: host} = context
    origin = Path.join(dir, "app.git")
    work = Path.join(dir, "work")
    url = "#{user}@#{host}:#{relative(user, origin)}"
    sync = fn url -> Git.sync(url, "main", work, server: context.git, auth: context.auth) end
    assert sync.(url) == {:ok, context.commits.at_root}
    Oracle.assert_synced(work, origin, context.commits.at_root)
    new = Repository.commit!(origin, %{"new.yaml" => "new: 1\n"})
    for _ <- 1..2, do: assert(sync.(url) == {:ok, new})
    Oracle.assert_synced(work, origin, new)

    connections = SshServer.count(context.server, :connections)
    assert we_say(context, "ssh://#{user}@#{host}#{origin}") == {:ok, new}
    assert SshServer.count(context.server, :connections) == connections
  end

  test "have hosts in known_hosts without a port, and the line that is told is such a one",
       context do
    url = "#{context.user}@#{context.host}:~/app.git"
    unknown = %{context | auth: Auth.ssh_key(context.key.private, known_hosts: "")}
    assert {:error, %Error{reason: :host_key, detail: %{line: line}}} = we_say(unknown, url)
    assert line == String.trim(SshServer.known_hosts(context.server))
    assert String.starts_with?(line, context.host <> " ")
    known = %{context | auth: Auth.ssh_key(context.key.private, known_hosts: line)}
    assert we_say(known, url) == {:ok, context.commits.at_home}
  end
end
