defmodule Alumiini.Git.Ops.Release do
  @moduledoc false

  alias Alumiini.Git.{Error, Lease, Operation, Options, Response}
  alias Alumiini.Git.Server.LeaseKeeper

  @options [:timeout, :telemetry_metadata]

  @spec run(Lease.t(), keyword) :: :ok | {:error, Error.t()}
  def run(%Lease{} = lease, options) do
    Options.Check.call!(:release, @options, options)
    options = [server: lease.server] ++ options

    fields = %{path: lease.path, ref: lease.sha}

    case Operation.call(:release, fields, options, fn -> {release(lease, options), 0} end) do
      {:ok, true} -> :ok
      {:error, error} -> {:error, error}
    end
  end

  def run(other, _options) do
    raise ArgumentError,
          "the lease must be an Alumiini.Git.Lease, got: #{Options.Check.shown(other)}"
  end

  defp release(lease, options) do
    timeout = Options.Check.timeout(options)

    result =
      case LeaseKeeper.release(lease.keeper, timeout) do
        # It was given back, or its keeper could not: the repository knows.
        :gone ->
          request = %{"op" => "release", "path" => lease.path, "lease" => lease.id}
          Operation.request(request, options)

        :late ->
          {:error, Error.new(:timeout, :release, "it did not end within #{timeout} ms")}

        result ->
          result
      end

    case result do
      {:ok, %{"ok" => true}} -> {:ok, true}
      other -> Response.failed(other, :release)
    end
  end
end
