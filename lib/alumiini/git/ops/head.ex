defmodule Alumiini.Git.Ops.Head do
  @moduledoc false

  alias Alumiini.Git.{Commit, Error, Operation, Options, Response}

  @options Options.Check.common()

  @spec run(Path.t(), keyword) :: {:ok, Commit.t()} | {:error, Error.t()}
  def run(path, options) do
    Options.Check.call!(:head, @options, options)
    path = Options.Check.path!(path)

    Operation.call(:head, %{path: path}, options, fn ->
      with {:ok, %{"ok" => wire}} <- Operation.request(%{"op" => "head", "path" => path}, options),
           {:ok, commit} <- Commit.from_wire(wire) do
        {{:ok, commit}, 0}
      else
        other -> {Response.failed(other, :head), 0}
      end
    end)
  end
end
