defmodule Alumiini.Git.Test.HttpCase do
  @moduledoc """
  A `Alumiini.Git.Test.GitCase` with HTTP servers in front of the repositories in `dir`.

      use Alumiini.Git.Test.HttpCase, async: true

      setup [:dir, :origin, :commit, :http, :git]

  | step | adds to the context |
  | --- | --- |
  | `:http` | `http`, a server, with the Git configuration of the tag `:git_config`; `url` of `origin` |
  | `:remote` | the same over what the tag `:remote` says, of `Remotes`; `remote_url`, which makes URLs |
  | `:certificate` | `certificate`, as `Certificates.build(:good)`; `ca_file`, its authority |
  | `:https` | `https`, a server with that certificate; `https_url`, where it has `origin` |
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Test.{Certificates, HttpServer, Remotes}

  using do
    quote do
      use Alumiini.Git.Test.GitCase

      alias Alumiini.Git.Test.{Certificates, HttpServer}

      import Alumiini.Git.Test.HttpCase
    end
  end

  def http(context) do
    http = start_supervised!({HttpServer, root: context.dir, config: context[:git_config] || []})
    %{http: http, url: HttpServer.url(http, "origin.git")}
  end

  def remote(context) do
    remote = Remotes.serve!(context[:remote] || :v2, context.dir)
    %{http: remote.server, url: remote.url.("origin.git"), remote_url: remote.url}
  end

  def certificate(context) do
    certificate = Certificates.build(:good)
    ca_file = Path.join(context.dir, "ca.pem")
    File.write!(ca_file, certificate.ca)
    %{certificate: certificate, ca_file: ca_file}
  end

  def https(context) do
    https = start_supervised!({HttpServer, root: context.dir, tls: context.certificate.tls})
    %{https: https, https_url: HttpServer.url(https, "origin.git")}
  end
end
