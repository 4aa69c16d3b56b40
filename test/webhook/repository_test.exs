defmodule Alumiini.Git.WebhookRepositoryTest do
  # Which URLs mean the same repository.
  use ExUnit.Case, async: true

  alias Alumiini.Git.Webhook.Repository

  @same [
    {"any forge",
     [
       "https://git.example.com/team/app.git",
       "https://git.example.com/team/app",
       "https://git.example.com/team/app/",
       "https://git.example.com:443/team/app.git",
       "https://ann:s3cr3t@GIT.example.com/Team/App.git",
       "https://git.example.com./team//app.git/",
       "https://git.example.com/team/x/../app",
       "https://git.example.com/team/app.git?a=b#c",
       "http://git.example.com:3000/team/app",
       "ssh://git@git.example.com/team/app",
       "ssh://git@git.example.com:22/team/app.git",
       "ssh://git@git.example.com:7999/team/app.git",
       "git+ssh://git@git.example.com/team/app.git",
       "SSH://git@git.example.com/team/app.git",
       "git@GIT.EXAMPLE.COM:team/app.git",
       "git@git.example.com:/team/app",
       "git.example.com:team/app",
       "[git@git.example.com:2222]:team/app.git",
       "https://git.example.com/te%61m/app"
     ]},
    {"GitHub over port 443",
     [
       "https://github.com/team/app",
       "ssh://git@ssh.github.com:443/team/app.git",
       "git@github.com:team/app.git",
       "https://www.github.com/Team/app"
     ]},
    {"GitLab over port 443",
     [
       "https://gitlab.com/team/group/app.git",
       "ssh://git@altssh.gitlab.com:443/team/group/app.git"
     ]},
    {"Bitbucket over port 443",
     ["https://ann@bitbucket.org/team/app.git", "ssh://git@altssh.bitbucket.org:443/team/app.git"]},
    {"Bitbucket Data Center",
     [
       "https://bitbucket.example.com/scm/TEAM/app.git",
       "https://bitbucket.example.com/bitbucket/scm/team/app.git",
       "ssh://git@bitbucket.example.com:7999/team/app.git"
     ]},
    {"Bitbucket Data Center, somebody's own",
     [
       "https://bitbucket.example.com/scm/~ann/app.git",
       "ssh://git@bitbucket.example.com:7999/~ann/app.git"
     ]},
    {"Azure DevOps",
     [
       "https://dev.azure.com/team/My%20Project/_git/app",
       "https://team@dev.azure.com/team/My%20Project/_git/app",
       "git@ssh.dev.azure.com:v3/team/My%20Project/app",
       "ssh://git@ssh.dev.azure.com/v3/team/My%20Project/app",
       "https://team.visualstudio.com/My%20Project/_git/app",
       "https://team.visualstudio.com/DefaultCollection/My%20Project/_git/app",
       "team@vs-ssh.visualstudio.com:v3/team/My%20Project/app"
     ]},
    {"Azure DevOps, a project with a repository of its name",
     [
       "https://dev.azure.com/team/app/_git/app",
       "https://dev.azure.com/team/_git/app",
       "https://team.visualstudio.com/_git/app",
       "git@ssh.dev.azure.com:v3/team/app/app"
     ]},
    {"Azure DevOps Server",
     [
       "https://azure.example.com/tfs/DefaultCollection/project/_git/app",
       "ssh://azure.example.com:22/tfs/DefaultCollection/project/_git/app"
     ]},
    {"an address", ["https://[2001:db8::1]:8443/team/app", "[2001:db8::1]:team/app.git"]},
    {"a path", ["/srv/app.git", "file:///srv/app", "/srv/app/.git", "/srv/./app/"]}
  ]

  for {name, urls} <- @same do
    test "#{name}: all mean one, and none of the others" do
      [first | rest] = unquote(urls)
      for url <- rest, do: assert({url, Repository.key(url)} == {url, Repository.key(first)})

      for {other, [url | _more]} <- @same, other != unquote(name) do
        refute Repository.same?(first, url)
      end
    end
  end

  test "hosts and paths tell repositories apart" do
    refute Repository.same?("https://a.example.com/team/app", "https://b.example.com/team/app")
    refute Repository.same?("https://a.example.com/team/app", "https://a.example.com/team/app2")
    refute Repository.same?("https://a.example.com/team/app", "https://a.example.com/app")
    refute Repository.same?("https://a.example.com/app", "/a.example.com/app")
  end

  test "any bytes have a key" do
    for text <- ~w(/ : @ :// https:// [ []: %zz a:b:c) ++ ["", "\xFF:\xFE/%FF"] do
      assert {host, path} = Repository.key(text)
      assert is_binary(host) and is_binary(path)
      assert Repository.same?(text, text)
    end
  end
end
