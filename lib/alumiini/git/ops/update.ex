defmodule Alumiini.Git.Ops.Update do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Reference, Remote, Response, Update}

  @options Options.Check.common() ++
             Options.Check.remote() ++
             [:depth, :force, :hint, :ignore, :keep, :paths, :progress, :working_tree]

  @spec run(String.t(), Alumiini.Git.ref(), Path.t(), keyword) ::
          {:ok, Update.t()} | {:error, Error.t()}
  def run(url, ref, path, options), do: run(:update, url, ref, path, options)

  @doc "The same for `op`, which is one of the two that sync."
  @spec run(:sync | :update, String.t(), Alumiini.Git.ref(), Path.t(), keyword) ::
          {:ok, Update.t()} | {:error, Error.t()}
  def run(op, url, ref, path, options) do
    {remote, reference, path} = check!(op, url, ref, path, options)

    Operation.call(op, %{url: remote.shown, path: path, ref: ref}, options, fn ->
      with {:ok, reference, options} <- Reference.locate(reference, op, options, remote),
           {:ok, %{"ok" => wire}} <-
             Operation.request(request(reference, path, options), [op: op] ++ options, remote),
           {:ok, update} <- Update.from_wire(wire, reference) do
        {{:ok, update}, %{bytes: update.bytes, objects: update.objects}, %{change: change(update)}}
      else
        {:error, %Error{} = error} -> {{:error, %{error | op: op}}, %{}, %{change: nil}}
        other -> {Response.failed(other, op), %{}, %{change: nil}}
      end
    end)
  end

  @doc "The options that both take."
  @spec options() :: [atom]
  def options, do: @options

  @doc "Raises where a call of `op` with these would, and tells what it would ask for."
  @spec check!(:sync | :update, String.t(), Alumiini.Git.ref(), Path.t(), keyword) ::
          {Remote.t(), Reference.t(), binary}
  def check!(op, url, ref, path, options) do
    Options.Check.call!(op, @options, options)
    remote = url |> Options.Check.url!() |> Remote.new(options)
    path = Options.Check.path!(path)
    {remote, Reference.sync!(ref), path}
  end

  defp request(reference, path, options) do
    %{
      "op" => "sync",
      "ref" => reference,
      "path" => path,
      "depth" => depth(options),
      "force" => Keyword.get(options, :force, false),
      "keep" => options[:keep],
      "working_tree" => Keyword.get(options, :working_tree, true),
      "paths" => Options.Read.list(options[:paths]),
      "ignore" => Options.Read.lines(options[:ignore]),
      "hint" => options[:hint],
      "details" => true
    }
  end

  # 0 is the wire's full history.
  defp depth(options) do
    case Keyword.get(options, :depth, 1) do
      :infinity -> 0
      depth -> depth
    end
  end

  defp change(%Update{cloned?: true}), do: :cloned
  defp change(%Update{repaired?: true}), do: :repaired
  defp change(%Update{changed?: true}), do: :updated
  defp change(%Update{}), do: :none
end
