defmodule Alumiini.Git.Ops.Export do
  @moduledoc false

  alias Alumiini.Git.{Error, Export, Operation, Options, Response}

  @options Options.Check.common() ++
             [:at, :subpath, :match, :ignore, :format, :link, :grace, :max_bytes]

  @spec run(Path.t(), Path.t(), keyword) :: {:ok, Export.t()} | {:error, Error.t()}
  def run(path, dest, options) do
    Options.Check.call!(:export, @options, options)
    path = Options.Check.path!(path)
    dest = Options.Check.path!(dest, "the destination")

    request =
      Map.merge(Options.Read.selection(options), %{
        "op" => "export",
        "path" => path,
        "dest" => dest,
        "subpath" => options[:subpath],
        "format" => options[:format] && Atom.to_string(options[:format]),
        "link" => options[:link],
        "grace" => options[:grace],
        "max_bytes" => options[:max_bytes]
      })

    Operation.call(:export, %{path: path, ref: options[:at]}, options, fn ->
      with {:ok, %{"ok" => wire}} <- Operation.request(request, options),
           {:ok, export} <- Export.from_wire(wire) do
        {{:ok, export}, export.bytes}
      else
        other -> {Response.failed(other, :export), 0}
      end
    end)
  end
end
