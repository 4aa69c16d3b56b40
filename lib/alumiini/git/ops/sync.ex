defmodule Alumiini.Git.Ops.Sync do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Reference, Remote, Response}

  @options Options.common() ++ Options.remote() ++ [:depth, :force, :progress, :working_tree]

  @spec run(String.t(), Alumiini.Git.ref(), Path.t(), keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def run(url, ref, path, options) do
    Options.call!(:sync, @options, options)
    remote = url |> Options.url!() |> Remote.new(options)
    path = Options.path!(path)
    reference = Reference.sync!(ref)

    Operation.call(:sync, %{url: remote.shown, path: path, ref: ref}, options, fn ->
      with {:ok, reference} <- reference do
        request = %{
          "op" => "sync",
          "ref" => reference,
          "path" => path,
          "depth" => depth(options),
          "force" => Keyword.get(options, :force, false),
          "working_tree" => Keyword.get(options, :working_tree, true)
        }

        Response.sha(Operation.request(request, options, remote), :sync)
      else
        {:error, error} -> {{:error, error}, 0}
      end
    end)
  end

  # 0 is the wire's full history.
  defp depth(options) do
    case Keyword.get(options, :depth, 1) do
      :infinity -> 0
      depth -> depth
    end
  end
end
