defmodule Mix.Tasks.AlumiiniGit.Checksum do
  # For the maintainers of this library. Writes `checksum-alumiini_git.exs` from a directory with
  # the archives of this version's release.
  #
  #     mix alumiini_git.checksum DIR
  #     mix alumiini_git.checksum DIR --partial
  #     mix alumiini_git.checksum --verify
  #     mix alumiini_git.checksum --verify DIR
  #
  # All targets of the first tier must be there, unless `--partial` is given; other files in the
  # directory do not count. Archives of another version are an error.
  #
  # With `--verify`, nothing is written: the file must be there and complete (unless `--partial`),
  # and every archive in the directory must have the checksum that the file says, and be named
  # there.
  #
  # The exit status is 0 when all is well, 1 otherwise.
  @moduledoc false

  use Mix.Task

  alias Alumiini.Git.Precompiled.{Checksums, Otp, Target}

  @impl true
  def run(argv) do
    :ok = Otp.load()
    version = Mix.Project.config()[:version]

    case OptionParser.parse(argv, strict: [verify: :boolean, partial: :boolean]) do
      {[verify: true] ++ _ = options, rest, []} when length(rest) <= 1 ->
        verify(List.first(rest), version, options)

      {options, [directory], []} ->
        if options[:verify],
          do: verify(directory, version, options),
          else: write(directory, version, options)

      _other ->
        Mix.raise("usage: mix alumiini_git.checksum [--verify] [--partial] DIR")
    end
  end

  defp write(directory, version, options) do
    checksums = directory |> archives(version) |> sums(directory)
    complete!(checksums, version, directory, options)
    temporary = Checksums.file_name() <> ".#{System.pid()}.tmp"
    File.write!(temporary, Checksums.format(checksums))
    File.rename!(temporary, Checksums.file_name())
    Mix.shell().info("#{Checksums.file_name()}: #{map_size(checksums)} archives of #{version}")
  end

  defp verify(directory, version, options) do
    checksums =
      case Checksums.read(Checksums.file_name()) do
        {:ok, checksums} -> checksums
        {:error, why} -> Mix.raise(why)
      end

    complete!(checksums, version, Checksums.file_name(), options)
    found = if directory, do: directory |> archives(version) |> sums(directory), else: %{}

    wrong =
      for {archive, checksum} <- Enum.sort(found), checksums[archive] != checksum do
        "  #{archive} has #{checksum}, #{Checksums.file_name()} says " <>
          "#{checksums[archive] || "nothing"}"
      end

    if wrong != [], do: Mix.raise("wrong checksums:\n" <> Enum.join(wrong, "\n"))
    checked = if directory, do: ", #{map_size(found)} of them compared with #{directory}", else: ""

    Mix.shell().info(
      "#{Checksums.file_name()}: #{map_size(checksums)} archives of #{version}#{checked}"
    )
  end

  # Those of another version would be of another release; files that are no archives may well lie
  # beside them.
  defp archives(directory, version) do
    if not File.dir?(directory), do: Mix.raise("#{directory} is not a directory")
    known = for target <- Target.all(), do: Target.archive(version, target)

    present =
      for "alumiini-git-" <> _ = name <- File.ls!(directory),
          String.ends_with?(name, ".tar.gz"),
          do: name

    case present -- known do
      [] ->
        present

      others ->
        Mix.raise(
          "#{directory} has what is no archive of version #{version}: " <>
            "#{Enum.join(Enum.sort(others), ", ")}"
        )
    end
  end

  defp sums(archives, directory) do
    for archive <- archives, into: %{} do
      case Checksums.sum_file(Path.join(directory, archive)) do
        {:ok, checksum} ->
          {archive, checksum}

        {:error, reason} ->
          Mix.raise(
            "#{Path.join(directory, archive)} cannot be read: #{:file.format_error(reason)}"
          )
      end
    end
  end

  defp complete!(checksums, version, where, options) do
    missing =
      for target <- Target.first_tier(),
          archive = Target.archive(version, target),
          checksums[archive] == nil,
          do: archive

    stale = Map.keys(checksums) -- for(target <- Target.all(), do: Target.archive(version, target))

    cond do
      stale != [] ->
        Mix.raise(
          "#{where} has what is no archive of version #{version}: " <>
            "#{Enum.join(Enum.sort(stale), ", ")}"
        )

      checksums == %{} ->
        Mix.raise("#{where} has no archive of version #{version}")

      missing != [] and not (options[:partial] == true) ->
        Mix.raise("#{where} lacks #{Enum.join(missing, ", ")} (--partial allows that)")

      true ->
        :ok
    end
  end
end
