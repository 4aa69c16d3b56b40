defmodule Alumiini.Git.Test.Versions do
  @moduledoc """
  A repository whose commits are versions 1, 2, 3: every file names the version, each has files that
  the others lack, and a name that is a file in one is a directory in the next. So whatever is read
  tells which commit it is from, and half of one and half of another cannot pass for a whole one.
  """

  alias Alumiini.Git.Test.Repository

  # As much as makes a pack arrive in several pieces, and a checkout take many steps.
  @count 40
  @payload 12_000
  @directories ["", "app", "deploy"]

  @type version :: 1..3
  @type contents :: %{(directory :: String.t()) => %{(name :: String.t()) => binary}}

  @doc "How many objects a version has that no other has, at least."
  @spec count() :: pos_integer
  def count, do: @count

  @doc """
  The bare repository `name` in `dir` with all versions, `main` at the first, and the ids of its
  commits.
  """
  @spec create!(Path.t(), String.t()) :: {Repository.path(), %{version => Repository.id()}}
  def create!(dir, name \\ "origin.git") do
    origin = Repository.create!(dir, name)

    ids =
      Repository.commits!(
        origin,
        for v <- 1..3 do
          # What goes comes first: a name that is a file before is a directory after.
          %{files: Map.to_list(gone(v)) ++ Map.to_list(files(v)), message: "Version #{v}\n"}
        end
      )

    Repository.repack!(origin)
    Repository.move_branch!(origin, "main", hd(ids))
    {origin, Map.new(Enum.zip(1..3, ids))}
  end

  @doc "Puts `main` at a version."
  @spec publish!(Repository.path(), %{version => Repository.id()}, version) :: :ok
  def publish!(origin, ids, version) do
    Repository.move_branch!(origin, "main", Map.fetch!(ids, version))
  end

  @doc "What `files` lists and `read` shows of a version, directory by directory."
  @spec contents(version) :: contents
  def contents(version) do
    yaml =
      for {path, content} <- files(version),
          is_binary(content),
          Path.extname(path) == ".yaml",
          do: {path, content}

    for directory <- @directories, into: %{} do
      below = if directory == "", do: ".", else: directory

      {directory,
       for(
         {path, content} <- yaml,
         Path.dirname(path) == below,
         into: %{},
         do: {Path.basename(path), content}
       )}
    end
  end

  defp files(v) do
    numbered =
      for n <- 1..@count, into: %{} do
        {"app/#{n}.yaml", "version: #{v}\nnumber: #{n}\npayload: #{payload(v, n)}\n"}
      end

    Map.merge(numbered, %{
      "deploy/only-#{v}.yaml" => "version: #{v}\n",
      "deploy/always.yaml" => "version: #{v}\n",
      "run.sh" => {:executable, "#!/bin/sh\necho #{v}\n"},
      "link" => {:symlink, "deploy/only-#{v}.yaml"},
      place(v) => "version: #{v}\n"
    })
  end

  defp place(v) when rem(v, 2) == 1, do: "place.yaml"
  defp place(_v), do: "place.yaml/inner.yaml"

  defp gone(1), do: %{}
  defp gone(v), do: %{"deploy/only-#{v - 1}.yaml" => :delete, place(v - 1) => :delete}

  defp payload(v, n) do
    {bytes, _} = :rand.bytes_s(div(@payload * 3, 4), :rand.seed_s(:exsss, {v, n, 0}))
    Base.encode64(bytes)
  end
end
