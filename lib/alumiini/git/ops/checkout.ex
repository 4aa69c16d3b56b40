defmodule Alumiini.Git.Ops.Checkout do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Response}

  @options Options.Check.common() ++ [:force, :progress]

  @spec run(Path.t(), String.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def run(path, rev, options) do
    Options.Check.call!(:checkout, @options, options)
    path = Options.Check.path!(path)
    Options.Check.name!(rev, "the revision")

    request = %{
      "op" => "checkout",
      "path" => path,
      "rev" => rev,
      "force" => Keyword.get(options, :force, false)
    }

    Operation.call(:checkout, %{path: path, ref: rev}, options, fn ->
      Response.sha(Operation.request(request, options), :checkout)
    end)
  end
end
