defmodule Alumiini.Git.Ops.Lease do
  @moduledoc false

  alias Alumiini.Git.{Error, Lease, Operation, Options, Response}

  @options Options.Check.common()

  @spec run(Path.t(), String.t(), keyword) :: {:ok, Lease.t()} | {:error, Error.t()}
  def run(path, sha, options) do
    Options.Check.call!(:lease, @options, options)
    path = Options.Check.path!(path)
    Options.Check.name!(sha, "the commit")
    request = %{"op" => "lease", "path" => path, "sha" => sha}

    Operation.call(:lease, %{path: path, ref: sha}, options, fn ->
      case Operation.lease(request, options) do
        {:ok, %{"ok" => true, "lease" => id, "keeper" => keeper}} ->
          server = Operation.server(options)
          {{:ok, %Lease{path: path, sha: sha, id: id, server: server, keeper: keeper}}, 0}

        other ->
          {Response.failed(other, :lease), 0}
      end
    end)
  end
end
