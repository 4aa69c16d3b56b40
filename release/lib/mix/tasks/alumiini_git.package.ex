defmodule Mix.Tasks.AlumiiniGit.Package do
  # For the maintainers of this library: what Hex is to pack is not what lies here, but that without
  # what no user needs.
  #
  #     mix alumiini_git.package DIR
  #     mix alumiini_git.package hex.build ...
  #     mix alumiini_git.package hex.publish ...
  #
  # The first puts the package's files into DIR, and prints what they weigh when Hex packs them.
  # The others run that task of Hex in such a directory; `mix hex.build` does so after its guard.
  @moduledoc false

  use Mix.Task

  alias Alumiini.Git.Release.Package

  @impl true
  def run(["hex.build" | argv]), do: packed(&hex("hex.build", from_here(argv, &1)))

  def run(["hex.publish" | argv]) do
    cond do
      "docs" in argv or "--revert" in argv ->
        hex("hex.publish", argv)

      "package" in argv ->
        packed(fn _here -> hex("hex.publish", argv) end)

      true ->
        packed(fn _here -> hex("hex.publish", ["package" | argv]) end)
        # Made of pages that the package does not have.
        hex("hex.publish", ["docs" | argv])
    end
  end

  def run([directory]) do
    size = stage(Path.expand(directory))
    Mix.shell().info("#{directory}: #{size} bytes as a package, of at most #{Package.max_bytes()}")
  end

  def run(_other),
    do:
      Mix.raise(
        "usage: mix alumiini_git.package DIR, or with hex.build or hex.publish and its arguments"
      )

  defp packed(task) do
    here = File.cwd!()
    directory = Path.join(Mix.Project.build_path(), "package")
    _size = stage(directory)

    # Hex looks for the dependencies where it works, and whether they are compiled. None of these is
    # packed.
    Enum.each(
      ["deps", "mix.lock", "_build"],
      &File.ln_s(Path.join(here, &1), Path.join(directory, &1))
    )

    File.cd!(directory, fn -> task.(here) end)
  end

  defp stage(directory) do
    project = Mix.Project.config()
    files = project[:package][:files]
    _ = File.rm_rf!(directory)

    with {:error, why} <- Package.stage(files, directory), do: Mix.raise(why)
    size = Package.size(directory, files, project)

    if size > Package.max_bytes(),
      do:
        Mix.raise(
          "the package would have #{size} bytes, and at most #{Package.max_bytes()} are allowed"
        ),
      else: size
  end

  # Hex writes to where it works, so a file that is named, or not, is named in full.
  defp from_here(argv, here) do
    case OptionParser.parse(argv,
           switches: [output: :string, unpack: :boolean],
           aliases: [o: :output]
         ) do
      {options, [], []} ->
        project = Mix.Project.config()

        default =
          "#{project[:app]}-#{project[:version]}" <> if(options[:unpack], do: "", else: ".tar")

        output = Path.expand(options[:output] || default, here)
        OptionParser.to_argv(Keyword.put(options, :output, output))

      _other ->
        Mix.raise("usage: mix hex.build [--unpack] [--output PATH]")
    end
  end

  # Mix.Task.run/2 would run the alias of that name again.
  defp hex(task, argv), do: Mix.Task.get!(task).run(argv)
end
