defmodule Alumiini.Git.Ops.Files do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Response}

  @options Options.Check.common() ++ [:at, :match, :ignore, :recursive]

  @spec run(Path.t(), Path.t() | nil, keyword) :: {:ok, [binary]} | {:error, Error.t()}
  def run(path, subpath, options) do
    Options.Check.call!(:files, @options, options)
    path = Options.Check.path!(path)
    :ok = if subpath == nil, do: :ok, else: Options.Check.name!(subpath, "the subpath")

    request =
      Map.merge(Options.Read.selection(options), %{
        "op" => "files",
        "path" => path,
        "subpath" => subpath,
        "recursive" => options[:recursive]
      })

    Operation.call(:files, %{path: path, ref: options[:at]}, options, fn ->
      case Operation.request(request, options) do
        {:ok, %{"ok" => names}} when is_list(names) -> {{:ok, Enum.map(names, &:binary.copy/1)}, 0}
        other -> {Response.failed(other, :files), 0}
      end
    end)
  end
end
