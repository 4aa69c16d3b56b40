defmodule Alumiini.Git.Test.SshCase do
  @moduledoc """
  A `Alumiini.Git.Test.GitCase` with an `sshd` in front of the repositories.

      use Alumiini.Git.Test.SshCase, async: true

      setup [:dir, :origin, :commit, :key, :sshd, :git]

  | step | adds to the context |
  | --- | --- |
  | `:key` | `key`, a key pair of ed25519 |
  | `:sshd` | `sshd`, a server that takes it; `known_hosts`, its keys; `url` of `origin`; `auth` |

  What a file does with servers of its own begins with `sshd!/2`.
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Error}
  alias Alumiini.Git.Test.{GitCommand, SshKeys, SshServer}

  using do
    quote do
      use Alumiini.Git.Test.GitCase

      alias Alumiini.Git.Auth
      alias Alumiini.Git.Test.{SshKeys, SshServer}

      import Alumiini.Git.Test.SshCase
    end
  end

  def key(context), do: %{key: SshKeys.generate!(context.dir, :ed25519)}

  def sshd(context) do
    sshd = start_supervised!({SshServer, dir: context.dir, authorized: [context.key]})
    known_hosts = SshServer.known_hosts(sshd)

    %{
      sshd: sshd,
      known_hosts: known_hosts,
      url: SshServer.url(sshd, context.origin),
      auth: Auth.ssh_key(context.key.private, known_hosts: known_hosts)
    }
  end

  @doc "A server more, which takes the context's key, with these options of `SshServer`."
  def sshd!(context, options \\ []) do
    defaults = [dir: context.dir, authorized: List.wrap(context[:key])]
    start_supervised!({SshServer, Keyword.merge(defaults, options)})
  end

  @doc "Credentials with the key, for that server."
  def auth(sshd, key, options \\ []) do
    Auth.ssh_key(key.private, Keyword.merge([known_hosts: SshServer.known_hosts(sshd)], options))
  end

  @doc "Asks for `main` of `origin` there. The option `:url` names another repository."
  def ls_remote(context, sshd, auth, options \\ []) do
    {url, options} = Keyword.pop(options, :url, SshServer.url(sshd, context.origin))
    Git.ls_remote(url, "main", [server: context.git, auth: auth] ++ options)
  end

  @doc "The environment in which the `git` command logs in with the context's key."
  def git_env!(context, known_hosts) do
    file = Path.join(context.dir, "known_hosts")
    File.write!(file, known_hosts)

    ssh =
      "ssh -F none -i #{context.key.path} -o IdentitiesOnly=yes " <>
        "-o UserKnownHostsFile=#{file} -o BatchMode=yes"

    [{"GIT_SSH_COMMAND", ssh}, {"SSH_AUTH_SOCK", nil}]
  end

  @doc "What `main` of a URL is at to the `git` command, in the context's `env`."
  def git_says(context, url) do
    case GitCommand.run(["ls-remote", url, "refs/heads/main"], env: context.env) do
      {<<commit::binary-size(40), "\trefs/heads/main\n">>, 0} -> {:ok, commit}
      {output, _status} -> {:error, output}
    end
  end

  @doc "What it is at to us."
  def we_say(context, url), do: Git.ls_remote(url, "main", server: context.git, auth: context.auth)

  @doc "Asserts that a result is an error for `reason`, with all of `words`; returns the error."
  def assert_refused(result, reason, words \\ []) do
    assert {:error, %Error{} = error} = result
    assert {reason, error.message} == {error.reason, error.message}
    for word <- words, do: assert(error.message =~ word)
    error
  end
end
