defmodule Alumiini.Git.Test.WholeCommit do
  @moduledoc """
  What `files` and `read` show of a working tree of `Versions`, as one `t:Versions.contents/0`.
  """

  alias Alumiini.Git.Test.{RawWorker, Versions}

  @doc "All that can be listed and read, or the kind of error with which it cannot."
  @spec read(RawWorker.t(), Path.t()) :: {:ok, Versions.contents()} | {:error, String.t()}
  def read(worker, path) do
    listed = for dir <- ["", "app", "deploy"], do: {dir, RawWorker.ask(worker, files(path, dir))}
    listed = for {dir, id} <- listed, do: {dir, RawWorker.await(worker, id)}

    asked =
      for {dir, {:ok, names}} <- listed, name <- names do
        request = %{"op" => "read", "path" => path, "file" => Path.join(dir, name), "raw" => true}
        {dir, name, RawWorker.ask(worker, request)}
      end

    answers = for {dir, name, id} <- asked, do: {dir, name, RawWorker.await(worker, id)}

    errors =
      for({_dir, answer} <- listed, do: answer) ++ for({_dir, _name, answer} <- answers, do: answer)

    case for {:error, kind, _sentence} <- errors, uniq: true, do: kind do
      [] ->
        empty = Map.new(listed, fn {dir, _names} -> {dir, %{}} end)

        {:ok,
         Enum.reduce(answers, empty, fn {dir, name, {:ok, text}}, all ->
           put_in(all[dir][name], text)
         end)}

      # Of several kinds the test that looks at them will say more than one could here.
      kinds ->
        {:error, Enum.join(kinds, " and ")}
    end
  end

  defp files(path, ""), do: %{"op" => "files", "path" => path}
  defp files(path, dir), do: %{"op" => "files", "path" => path, "subpath" => dir}

  @doc """
  Which version it is: half of one and half of another is none, and a sentence tells what is there
  instead.
  """
  @spec version(Versions.contents()) :: Versions.version() | String.t()
  def version(contents) do
    # What is not among the paths that were synced: nothing there is.
    whole = fn version ->
      all = Versions.contents(version)
      if contents[""] == %{}, do: %{all | "" => %{}}, else: all
    end

    part = fn version ->
      Map.update!(whole.(version), "app", &Map.take(&1, ["1.yaml"]))
    end

    Enum.find(1..3, fn version -> whole.(version) == contents end) ||
      Enum.find_value(1..3, fn v -> if part.(v) == contents, do: "part of #{v}" end) ||
      inspect(for {dir, files} <- contents, do: {dir, Map.keys(files), seen(files)})
  end

  # The contents themselves would fill screens.
  defp seen(files) do
    for {_name, content} <- files, uniq: true, do: content |> String.split("\n") |> hd()
  end
end
