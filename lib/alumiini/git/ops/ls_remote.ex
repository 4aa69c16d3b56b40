defmodule Alumiini.Git.Ops.LsRemote do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Reference, Remote, Response}

  @options Options.common() ++ Options.remote()

  @spec run(String.t(), Alumiini.Git.ref(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def run(url, ref, options) do
    Options.call!(:ls_remote, @options, options)
    remote = url |> Options.url!() |> Remote.new(options)
    reference = Reference.ls_remote!(ref)

    Operation.call(:ls_remote, %{url: remote.shown, ref: ref}, options, fn ->
      with {:ok, reference} <- reference do
        request = %{"op" => "ls_remote", "ref" => reference}
        Response.sha(Operation.request(request, options, remote), :ls_remote)
      else
        {:error, error} -> {{:error, error}, 0}
      end
    end)
  end
end
