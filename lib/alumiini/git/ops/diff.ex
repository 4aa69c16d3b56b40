defmodule Alumiini.Git.Ops.Diff do
  @moduledoc false

  alias Alumiini.Git.{Change, Error, Operation, Options, Response}

  @options Options.Check.common() ++ [:paths, :match, :ignore, :renames]

  @spec run(Path.t(), String.t(), String.t(), keyword) ::
          {:ok, [Change.t()]} | {:error, Error.t()}
  def run(path, from, to, options) do
    Options.Check.call!(:diff, @options, options)
    path = Options.Check.path!(path)
    Options.Check.name!(from, "the revision to compare")
    Options.Check.name!(to, "the revision to compare with")

    request =
      Map.merge(Options.Read.selection(options), %{
        "op" => "diff",
        "path" => path,
        "from" => from,
        "to" => to,
        "paths" => Options.Read.list(options[:paths]),
        "renames" => options[:renames]
      })

    Operation.call(:diff, %{path: path, ref: to}, options, fn ->
      {Response.list(Operation.lists(request, options, &Change.from_wire/1), :diff), 0}
    end)
  end
end
