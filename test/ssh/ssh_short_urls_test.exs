defmodule Alumiini.Git.SshShortUrlsTest do
  # `user@host:path`, which says no port: a real sshd on port 22 of a loopback address, which takes
  # root or a system that lets everybody listen there. `git` with the same URL says what each leads
  # to.
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Test.FreePort

  @moduletag timeout: 120_000

  with {:error, reason} <- FreePort.allowed(22), do: @moduletag(skip: reason)

  setup [:dir, :key, :home, :sshd_of_home, :git]

  # Each place has a repository with a commit of its own, so that none is taken for another.
  defp home(%{dir: dir}) do
    home = Path.join(dir, "home")
    File.mkdir!(home)

    commits =
      for {name, parent} <- [at_root: dir, at_home: home], into: %{} do
        origin = Repository.create!(parent, "app.git")
        {name, Repository.commit!(origin, %{"place" => "#{name}"})}
      end

    %{home: home, commits: commits}
  end

  # git-upload-pack finds `~` in the environment, and `~name` in the system's list of users, as sshd
  # finds where it begins.
  defp sshd_of_home(context) do
    sshd = sshd!(context, port: 22, env: [{"HOME", context.home}])
    known_hosts = SshServer.known_hosts(sshd)

    %{
      sshd: sshd,
      known_hosts: known_hosts,
      host: SshServer.address(sshd),
      user: SshServer.user(),
      auth: auth(sshd, context.key),
      env: git_env!(context, known_hosts)
    }
  end

  # What leads from where the user's sessions begin to an absolute path: nothing of the tests goes
  # into anybody's home.
  defp relative(user, path) do
    {home, 0} = System.cmd("sh", ["-c", "echo ~#{user}"])
    up = home |> String.trim() |> Path.split() |> tl() |> Enum.map(fn _ -> ".." end)
    Path.join(up ++ tl(Path.split(path)))
  end

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

    for path <- ~w(absent.git ~/absent.git #{dir}/absent.git ~nobody-of-that-name/app.git) do
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
    path = Path.join(dir, "work")
    url = "#{user}@#{host}:#{relative(user, origin)}"
    sync = fn url -> Git.sync(url, "main", path, server: context.git, auth: context.auth) end
    assert sync.(url) == {:ok, context.commits.at_root}
    Oracle.assert_synced(path, origin, context.commits.at_root)
    new = Repository.commit!(origin, %{"new.yaml" => "new: 1\n"})
    for _ <- 1..2, do: assert(sync.(url) == {:ok, new})
    Oracle.assert_synced(path, origin, new)

    connections = SshServer.count(context.sshd, :connections)
    assert we_say(context, "ssh://#{user}@#{host}#{origin}") == {:ok, new}
    assert SshServer.count(context.sshd, :connections) == connections
  end

  test "have hosts in known_hosts without a port, and the line that is told is such a one",
       context do
    url = "#{context.user}@#{context.host}:~/app.git"
    unknown = %{context | auth: Auth.ssh_key(context.key.private, known_hosts: "")}
    assert {:error, %Error{reason: :host_key, detail: %{line: line}}} = we_say(unknown, url)
    assert line == String.trim(SshServer.known_hosts(context.sshd))
    assert String.starts_with?(line, context.host <> " ")
    known = %{context | auth: Auth.ssh_key(context.key.private, known_hosts: line)}
    assert we_say(known, url) == {:ok, context.commits.at_home}
  end
end
