defmodule Alumiini.Git.Test.SshCase do
  @moduledoc """
  A `Alumiini.Git.Test.GitCase` with an `sshd` in front of the repositories.

      use Alumiini.Git.Test.SshCase, async: true

      setup [:dir, :origin, :commit, :key, :sshd, :git]

  | step | adds to the context |
  | --- | --- |
  | `:key` | `key`, a key pair of ed25519 |
  | `:sshd` | `sshd`, a server that takes it; `known_hosts`, its keys; `url` of `origin`; `auth` |
  | `:git_ssh` | `git_env`, with which the `git` command logs in there, too |
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{SshKeys, SshServer}

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
end
