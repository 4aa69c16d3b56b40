defmodule Alumiini.Git.Test.ReadOracle do
  @moduledoc "What git itself says of a commit, in the terms of our reads."

  alias Alumiini.Git.{Change, Snapshot}
  alias Alumiini.Git.Test.{GitCommand, Oracle, Repository}

  @statuses %{
    ?A => :added,
    ?D => :deleted,
    ?M => :modified,
    ?R => :renamed,
    ?T => :type_changed
  }

  @doc "The snapshot of a commit, from `git ls-tree` and `git cat-file`. LFS is not told."
  @spec snapshot(Path.t(), String.t()) :: Snapshot.t()
  def snapshot(repository, revision) do
    entries = Oracle.ls_tree(repository, revision)
    contents = Oracle.cat_files(repository, for(%{type: "blob", oid: oid} <- entries, do: oid))

    %Snapshot{
      commit: Repository.rev_parse!(repository, revision),
      tree: repository |> git!(["rev-parse", revision <> "^{tree}"]) |> String.trim(),
      files: Enum.map(entries, &file(&1, contents[&1.oid]))
    }
  end

  defp file(entry, content) do
    %Snapshot.File{
      path: entry.path,
      oid: entry.oid,
      mode: String.to_integer(entry.mode, 8),
      size: content && byte_size(content),
      content: content
    }
  end

  @doc "The names in a commit, from `git ls-tree`."
  @spec names(Path.t(), String.t()) :: [binary]
  def names(repository, revision), do: Enum.map(Oracle.ls_tree(repository, revision), & &1.path)

  @doc "What differs between two commits, from `git diff --raw`."
  @spec diff(Path.t(), String.t(), String.t(), keyword) :: [Change.t()]
  def diff(repository, from, to, options \\ []) do
    renames = if options[:renames], do: "-M", else: "--no-renames"
    args = ["diff", "--raw", "-z", "--no-abbrev", "--no-ext-diff", renames, from, to, "--"]
    repository |> git!(args) |> :binary.split(<<0>>, [:global]) |> changes()
  end

  defp changes([""]), do: []

  defp changes([":" <> raw | rest]) do
    [old_mode, mode, old_oid, oid, <<letter, score::binary>>] = String.split(raw, " ")
    {paths, rest} = Enum.split(rest, if(letter == ?R, do: 2, else: 1))

    change = %Change{
      status: Map.fetch!(@statuses, letter),
      path: List.last(paths),
      old_path: if(letter == ?R, do: hd(paths)),
      mode: mode(mode),
      old_mode: mode(old_mode),
      oid: oid(oid),
      old_oid: oid(old_oid),
      score: if(letter == ?R, do: String.to_integer(score))
    }

    [change | changes(rest)]
  end

  defp mode("000000"), do: nil
  defp mode(mode), do: String.to_integer(mode, 8)

  defp oid(oid), do: if(oid =~ ~r/^0+$/, do: nil, else: oid)

  @doc "The ids of the commits that lead to one, from `git log`."
  @spec log(Path.t(), String.t(), keyword) :: [String.t()]
  def log(repository, from, options \\ []) do
    limit = if options[:limit], do: ["-n", "#{options[:limit]}"], else: []
    path = if options[:path], do: [options[:path]], else: []

    repository
    |> git!(["--literal-pathspecs", "log", "--format=%H"] ++ limit ++ [from, "--"] ++ path)
    |> String.split("\n", trim: true)
  end

  defp git!(repository, args), do: GitCommand.run!(args, cd: repository)
end
