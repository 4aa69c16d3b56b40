defmodule Alumiini.Git.Ops.Status do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Response, Status}

  @options Options.Check.common()

  @spec run(Path.t(), keyword) :: {:ok, [Status.t()]} | {:error, Error.t()}
  def run(path, options) do
    Options.Check.call!(:status, @options, options)
    path = Options.Check.path!(path)
    request = %{"op" => "status", "path" => path}

    Operation.call(:status, %{path: path}, options, fn ->
      {Response.list(Operation.lists(request, options, &Status.from_wire/1), :status), 0}
    end)
  end
end
