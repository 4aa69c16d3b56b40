defmodule Alumiini.Git.Ops.Read do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Response}

  @options Options.Check.common() ++ [:at, :max_bytes]

  @spec run(Path.t(), Path.t(), keyword) :: {:ok, binary} | {:error, Error.t()}
  def run(path, file, options) do
    Options.Check.call!(:read, @options, options)
    path = Options.Check.path!(path)
    Options.Check.name!(file, "the name of the file")

    request = %{
      "op" => "read",
      "path" => path,
      "file" => file,
      "raw" => true,
      "at" => options[:at],
      "max_bytes" => options[:max_bytes]
    }

    Operation.call(:read, %{path: path, ref: options[:at]}, options, fn ->
      case Operation.request(request, options) do
        {:ok, %{"ok" => content}} when is_binary(content) -> {{:ok, content}, byte_size(content)}
        other -> {Response.failed(other, :read), 0}
      end
    end)
  end
end
