defmodule Alumiini.Git.Test.FastImport do
  @moduledoc "The input of `git fast-import`: thousands of files or commits in one process."

  @type content ::
          iodata
          | {:executable, iodata}
          | {:symlink, binary}
          | {:submodule, String.t()}
          | {:mode, String.t(), iodata}
          | :delete
  @type files :: %{binary => content} | [{binary, content}]
  @type commit :: %{
          required(:branch) => String.t(),
          required(:files) => files,
          optional(:message) => String.t(),
          optional(:author) => String.t(),
          optional(:time) => integer,
          optional(:zone) => String.t(),
          # A revision to start from; without it the branch goes on, or begins.
          optional(:from) => String.t(),
          optional(:merge) => String.t(),
          # Nothing of the parent's files stays.
          optional(:only) => boolean
        }

  @author "Fixture Author <author@example.com>"
  @committer "Fixture Committer <committer@example.com>"
  @epoch 1_700_000_000

  @doc "Makes the commits, in order, and returns their ids."
  @spec run!(Path.t(), Enumerable.t()) :: [String.t()]
  def run!(repository, commits) do
    commits = Enum.with_index(commits, 1)
    stream = for {commit, mark} <- commits, do: [commit(commit, mark), "get-mark :#{mark}\n"]
    input = ["feature done\n", stream, "done\n"]

    ["fast-import", "--quiet", "--force", "--done", "--date-format=raw"]
    |> Alumiini.Git.Test.GitCommand.converse!(input, fn _ -> false end, cd: repository)
    |> String.split("\n", trim: true)
  end

  defp commit(commit, mark) do
    time = Map.get(commit, :time, @epoch + mark)
    zone = Map.get(commit, :zone, "+0000")

    [
      "commit refs/heads/#{commit.branch}\nmark :#{mark}\n",
      "author #{Map.get(commit, :author, @author)} #{time} #{zone}\n",
      "committer #{@committer} #{time} +0000\n",
      data(Map.get(commit, :message, "Change #{mark}\n")),
      parent("from", commit[:from]),
      parent("merge", commit[:merge]),
      if(commit[:only], do: "deleteall\n", else: []),
      for({path, content} <- commit.files, do: file(path, content)),
      "\n"
    ]
  end

  defp parent(_word, nil), do: []
  defp parent(word, revision), do: [word, " ", revision, "\n"]

  defp file(path, :delete), do: ["D ", quote_path(path), "\n"]
  defp file(path, {:executable, content}), do: file(path, {:mode, "100755", content})
  defp file(path, {:symlink, target}), do: file(path, {:mode, "120000", target})
  defp file(path, {:submodule, id}), do: ["M 160000 ", id, " ", quote_path(path), "\n"]

  defp file(path, {:mode, mode, content}),
    do: ["M ", mode, " inline ", quote_path(path), "\n", data(content)]

  defp file(path, content), do: file(path, {:mode, "100644", content})

  defp data(content),
    do: ["data ", content |> IO.iodata_length() |> Integer.to_string(), "\n", content, "\n"]

  # Quoted in the way of C, where every byte but these may stand for itself.
  defp quote_path(path) do
    escaped =
      for <<byte <- path>>, into: "" do
        case byte do
          ?" -> "\\\""
          ?\\ -> "\\\\"
          ?\n -> "\\n"
          byte -> <<byte>>
        end
      end

    [?", escaped, ?"]
  end
end
