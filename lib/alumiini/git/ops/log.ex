defmodule Alumiini.Git.Ops.Log do
  @moduledoc false

  alias Alumiini.Git.{Commit, Error, Operation, Options, Response}

  @options Options.Check.common() ++ [:from, :limit, :path]

  @spec run(Path.t(), keyword) :: {:ok, [Commit.t()]} | {:error, Error.t()}
  def run(path, options) do
    Options.Check.call!(:log, @options, options)
    path = Options.Check.path!(path)

    request = %{
      "op" => "log",
      "path" => path,
      "from" => options[:from],
      "limit" => options[:limit],
      "file" => options[:path]
    }

    Operation.call(:log, %{path: path, ref: options[:from]}, options, fn ->
      {Response.list(Operation.lists(request, options, &commits/1), :log), 0}
    end)
  end

  defp commits(wire) when is_list(wire) do
    commits = Enum.map(wire, &Commit.from_wire/1)

    if :error in commits,
      do: :error,
      else: {:ok, Enum.map(commits, fn {:ok, commit} -> commit end)}
  end

  defp commits(_other), do: :error
end
