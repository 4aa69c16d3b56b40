defmodule Alumiini.Git.Ops.LsRemote do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Reference, Remote, Response}

  @options Options.Check.common() ++ Options.Check.remote()

  @spec run(String.t(), Alumiini.Git.ref(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def run(url, ref, options) do
    Options.Check.call!(:ls_remote, @options, options)
    remote = url |> Options.Check.url!() |> Remote.new(options)
    reference = Reference.ls_remote!(ref)

    Operation.call(:ls_remote, %{url: remote.shown, ref: ref}, options, fn ->
      case Reference.locate(reference, :ls_remote, options, remote) do
        # A version's tag was asked for already.
        {:ok, %{"commit" => sha}, _options} ->
          {{:ok, sha}, 0}

        {:ok, reference, options} ->
          request = %{"op" => "ls_remote", "ref" => reference}
          Response.sha(Operation.request(request, options, remote), :ls_remote)

        {:error, error} ->
          {{:error, error}, 0}
      end
    end)
  end
end
