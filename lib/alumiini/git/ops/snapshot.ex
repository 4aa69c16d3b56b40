defmodule Alumiini.Git.Ops.Snapshot do
  @moduledoc false

  alias Alumiini.Git.{Error, Operation, Options, Response, Snapshot}

  @options Options.Check.common() ++
             [:at, :match, :ignore, :known, :content, :max_bytes, :max_files]

  @spec run(Path.t(), Path.t() | nil, keyword) :: {:ok, Snapshot.t()} | {:error, Error.t()}
  def run(path, subpath, options) do
    Options.Check.call!(:snapshot, @options, options)
    path = Options.Check.path!(path)
    :ok = if subpath == nil, do: :ok, else: Options.Check.name!(subpath, "the subpath")
    {known, unsent} = Options.Read.known(options)

    request =
      Map.merge(Options.Read.selection(options), %{
        "op" => "snapshot",
        "path" => path,
        "subpath" => subpath,
        "known" => known,
        "content" => options[:content],
        "max_bytes" => options[:max_bytes],
        "max_files" => options[:max_files]
      })

    Operation.call(:snapshot, %{path: path, ref: options[:at]}, options, fn ->
      case Operation.pages(request, options, [], &take(&1, &2, unsent)) do
        {:ok, [%Snapshot{} = last | _] = pages} ->
          # Newest page first.
          files = Enum.reduce(pages, [], &(&1.files ++ &2))
          {{:ok, %{last | files: files}}, bytes(files)}

        other ->
          {Response.failed(other, :snapshot), 0}
      end
    end)
  end

  defp take(page, pages, unsent) do
    with {:ok, snapshot} <- Snapshot.from_wire(page, unsent) do
      {:ok, [snapshot | pages], %{"at" => snapshot.commit}}
    end
  end

  defp bytes(files) do
    Enum.reduce(files, 0, fn file, sum -> sum + byte_size(file.content || "") end)
  end
end
