defmodule Mix.Tasks.AlumiiniGit.ReleaseGuard do
  # For the maintainers of this library: `mix hex.build` and `mix hex.publish` run it first.
  @moduledoc false

  use Mix.Task

  alias Alumiini.Git.Precompiled.{Checksums, Otp}
  alias Alumiini.Git.Release.Guard

  @impl true
  def run(argv) do
    :ok = Otp.load()
    version = Mix.Project.config()[:version]

    problems =
      case read_checksums() do
        {:ok, checksums} -> Guard.problems(facts(version, checksums))
        {:error, why} -> [why]
      end

    dev =
      if "--publish" in argv and String.ends_with?(version, "-dev"),
        do: ["#{version} is no version to publish"],
        else: []

    if problems ++ dev != [] do
      Mix.raise(
        "alumiini_git #{version} is not ready:\n" <>
          Enum.map_join(dev ++ problems, "\n", &("  * " <> &1))
      )
    end
  end

  defp facts(version, checksums) do
    %{
      version: version,
      checksums: checksums,
      worker: worker(File.read!("native/alumiini-git/Cargo.toml")),
      changelog: File.read!("CHANGELOG.md"),
      tags: tags()
    }
  end

  defp read_checksums do
    if File.exists?(Checksums.file_name()),
      do: Checksums.read(Checksums.file_name()),
      else: {:ok, nil}
  end

  defp worker(cargo) do
    case Regex.run(~r/^version = "([^"]+)"/m, cargo) do
      [_all, version] -> version
      nil -> nil
    end
  end

  # Outside of a checkout there is nothing to disagree with.
  defp tags do
    with git when git != nil <- System.find_executable("git"),
         true <- File.exists?(".git"),
         {output, 0} <- System.cmd(git, ["tag", "--points-at", "HEAD"], stderr_to_stdout: true) do
      String.split(output)
    else
      _none -> []
    end
  end
end
