defmodule Alumiini.Git.Release.Package do
  @moduledoc false

  # What goes into the Hex package, and what it weighs. For the maintainers.

  alias Alumiini.Git.Release.SourceStripper

  # Of each user's time, all that Hex adds included. The worker's sources are most of it: the
  # package builds by itself. (Hex takes 8 MB.)
  @max_bytes 512 * 1024

  @worker "native/alumiini-git/"

  @spec max_bytes() :: pos_integer
  def max_bytes, do: @max_bytes

  @doc """
  Puts those files into `directory`, which must be empty or absent, without what the package leaves
  out of them.
  """
  @spec stage([Path.t()], directory :: Path.t()) :: :ok | {:error, String.t()}
  def stage(files, directory) do
    for file <- files do
      to = Path.join(directory, file)
      File.mkdir_p!(Path.dirname(to))
      File.write!(to, lean(file, File.read!(file)))
    end

    lock(directory)
  end

  defp lean(@worker <> "Cargo.toml", text), do: SourceStripper.manifest(text)

  defp lean(file, text) do
    case Path.extname(file) do
      ".rs" -> SourceStripper.rust(text)
      ".ex" -> SourceStripper.elixir(text)
      _other -> text
    end
  end

  # Without what only tests depend on, or `cargo build --locked` would refuse it. Nothing in it
  # changes its version.
  defp lock(directory) do
    case System.find_executable("cargo") do
      nil ->
        {:error,
         "cargo, which writes the package's Cargo.lock, is missing; install Rust " <>
           "(https://rustup.rs)"}

      cargo ->
        case System.cmd(cargo, ["update", "--workspace", "--quiet"],
               cd: directory,
               stderr_to_stdout: true
             ) do
          {_output, 0} ->
            :ok

          {output, status} ->
            {:error, "cargo update --workspace failed with exit status #{status}: #{output}"}
        end
    end
  end

  @doc "The size of the package of these files and this project, as Hex packs it."
  @spec size(directory :: Path.t(), [Path.t()], keyword) :: pos_integer
  def size(directory, files, project) do
    # An archive in an archive, in blocks of 512 bytes, each file after a block of its own; two more
    # end it.
    parts = [1, 64, byte_size(metadata(files, project)), contents(directory, files)]
    Enum.reduce(parts, 1024, fn bytes, size -> size + 512 + div(bytes + 511, 512) * 512 end)
  end

  defp contents(directory, files) do
    tar =
      Path.join(
        System.tmp_dir!(),
        "alumiini-git-package-#{System.pid()}-#{System.unique_integer([:positive])}"
      )

    time = 946_684_800

    try do
      {:ok, archive} = :erl_tar.open(String.to_charlist(tar), [:write])

      for file <- files do
        options = [atime: time, mtime: time, ctime: time, uid: 0, gid: 0]

        :ok =
          :erl_tar.add(
            archive,
            File.read!(Path.join(directory, file)),
            String.to_charlist(file),
            options
          )
      end

      :ok = :erl_tar.close(archive)
      z = :zlib.open()
      :ok = :zlib.deflateInit(z, :default, :deflated, -15, 8, :default)
      # Before and after it are the header and the sums of gzip.
      10 + IO.iodata_length(:zlib.deflate(z, File.read!(tar), :finish)) + 8
    after
      _ = File.rm(tar)
    end
  end

  # What Hex tells of a package, written as Hex does.
  defp metadata(files, project) do
    package = project[:package]
    app = to_string(project[:app])

    requirements =
      for {name, requirement} <- project[:deps] |> Enum.map(&{elem(&1, 0), elem(&1, 1)}),
          is_binary(requirement) do
        [
          {"name", to_string(name)},
          {"app", to_string(name)},
          {"optional", false},
          {"requirement", requirement},
          {"repository", "hexpm"}
        ]
      end

    for pair <- [
          {"links", Enum.to_list(package[:links])},
          {"name", app},
          {"version", project[:version]},
          {"description", project[:description]},
          {"elixir", project[:elixir]},
          {"app", app},
          {"files", files},
          {"licenses", package[:licenses]},
          {"requirements", requirements},
          {"build_tools", ["mix"]}
        ],
        into: "",
        do: List.to_string(:io_lib_pretty.print(pair, encoding: :utf8)) <> ".\n"
  end
end
