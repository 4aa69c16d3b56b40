defmodule Alumiini.Git.Ops.Refs do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Ref, Remote, Response}

  @options Options.Check.common() ++ Options.Check.remote() ++ [:prefix, :max_bytes]

  @spec run(String.t(), keyword) :: {:ok, [Ref.t()]} | {:error, Error.t()}
  def run(url, options) do
    Options.Check.call!(:refs, @options, options)
    remote = url |> Options.Check.url!() |> Remote.new(options)

    prefixes =
      case List.wrap(options[:prefix]) do
        [] -> nil
        prefixes -> prefixes
      end

    Operation.call(:refs, %{url: remote.shown}, options, fn ->
      request = %{"op" => "refs", "prefixes" => prefixes, "max_bytes" => options[:max_bytes]}

      with {:ok, %{"ok" => wire}} <- Operation.request(request, options, remote),
           {:ok, refs} <- Ref.from_wire(wire) do
        {{:ok, refs}, 0}
      else
        other -> {Response.failed(other, :refs), 0}
      end
    end)
  end
end
