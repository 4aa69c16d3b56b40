defmodule Mix.Tasks.Compile.AlumiiniGit do
  @shortdoc "Builds the worker of alumiini_git"

  @moduledoc """
  The Mix compiler that puts the worker's binary into `priv/`. `mix compile` runs it.

  It builds the worker from source, with `cargo` (see [rustup.rs](https://rustup.rs)): optimised for users in
  `MIX_ENV=prod`, quick to build otherwise. When no source has changed since the last time, nothing is run.

  ## Environment

    * `ALUMIINI_GIT_PATH` - the path of a worker's binary. That one is copied, and nothing is built
  """

  use Mix.Task.Compiler

  alias Alumiini.Git.Binary

  # Tests get a worker that can be told to crash. It is built elsewhere and has another name, so that at no time it can
  # be taken for the one that others run.
  @fault_injection ["--features", "fault-injection"]

  @impl true
  def run(_args) do
    File.mkdir_p!("priv")
    # Links priv/ into the build directory, for the case that it was not there before.
    Mix.Project.build_structure()

    case install(source()) do
      :unchanged ->
        {:noop, []}

      :installed ->
        {:ok, []}

      {:error, message} ->
        Mix.shell().error(message)
        {:error, [diagnostic(message)]}
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    _ = File.rm(destination())
    _ = File.rm(manifest())
    :ok
  end

  # Where the binary comes from. A release will have a third source: a download for this target, which is verified against
  # the checksums in the package.
  defp source do
    case System.get_env("ALUMIINI_GIT_PATH") do
      unset when unset in [nil, ""] -> :build
      path -> {:given, Path.expand(path)}
    end
  end

  defp install({:given, path}) do
    case File.stat(path, time: :posix) do
      {:ok, %File.Stat{type: :regular} = stat} ->
        if current?({path, stat.size, stat.mtime}) do
          :unchanged
        else
          copy(path, {path, stat.size, stat.mtime}, now())
        end

      {:ok, %File.Stat{}} ->
        {:error, "ALUMIINI_GIT_PATH is #{path}, which is not a file"}

      {:error, reason} ->
        {:error, "ALUMIINI_GIT_PATH is #{path}, which cannot be used: #{:file.format_error(reason)}"}
    end
  end

  defp install(:build) do
    arguments = cargo_arguments(Mix.env())

    if current?(arguments) and not stale?() do
      :unchanged
    else
      # A source that changes while cargo runs is newer than this.
      started = now()
      with {:ok, built} <- cargo(arguments), do: copy(built, arguments, started)
    end
  end

  defp cargo_arguments(:prod), do: ["--release", "--target-dir", target_dir()]
  defp cargo_arguments(:test), do: quick("fault-injection") ++ @fault_injection
  defp cargo_arguments(_dev), do: quick(nil)

  defp quick(subdirectory), do: ["--profile", "quick", "--target-dir", target_dir(subdirectory)]

  defp target_dir(subdirectory \\ nil) do
    directory = System.get_env("CARGO_TARGET_DIR") || "target"
    Path.expand(if subdirectory, do: Path.join(directory, subdirectory), else: directory)
  end

  defp cargo(arguments) do
    case System.find_executable("cargo") do
      nil ->
        {:error,
         """
         alumiini_git needs its worker, and this version builds it from source, but there is no `cargo` in PATH.

         Install Rust (https://rustup.rs), or set ALUMIINI_GIT_PATH to the path of a worker that was built elsewhere.
         """}

      cargo ->
        Mix.shell().info("Compiling the worker alumiini-git (cargo build)")

        # What is for people goes to standard error; what is read here says where the binary is, which depends on the
        # user's own configuration of cargo, too.
        arguments =
          ["build", "--locked", "--package", "alumiini-git", "--message-format", "json-render-diagnostics"] ++
            arguments

        case System.cmd(cargo, arguments, env: [{"CARGO_TARGET_DIR", nil}]) do
          {output, 0} ->
            executable(output)

          {_output, status} ->
            {:error, "alumiini_git: cargo build failed with exit status #{status}, see above"}
        end
    end
  end

  defp executable(output) do
    case Regex.scan(~r/"executable":"((?:[^"\\]|\\.)+)"/, output, capture: :all_but_first) do
      [[path] | _more] -> {:ok, String.replace(path, "\\\\", "\\")}
      [] -> {:error, "alumiini_git: cargo built no executable"}
    end
  end

  # A running worker keeps the file it was started from, and nobody ever sees half a binary.
  defp copy(from, key, as_of) do
    temporary = destination() <> ".#{System.pid()}.tmp"

    with :ok <- File.cp(from, temporary),
         :ok <- File.chmod(temporary, 0o755),
         :ok <- File.rename(temporary, destination()) do
      remember(key, as_of)
      :installed
    else
      {:error, reason} ->
        _ = File.rm(temporary)
        {:error, "alumiini_git: cannot put #{from} into #{destination()}: #{:file.format_error(reason)}"}
    end
  end

  # The manifest holds what the binary was made from, and what it looked like then: another environment may have put its
  # own there since. Its time is that from which on a changed source counts.
  defp remember(key, as_of) do
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary({key, fingerprint()}))
    File.touch!(manifest(), as_of)
  end

  defp current?(key) do
    case File.read(manifest()) do
      {:ok, manifest} -> manifest == :erlang.term_to_binary({key, fingerprint()}) and fingerprint() != nil
      {:error, _none} -> false
    end
  end

  defp fingerprint do
    case File.stat(destination(), time: :posix) do
      {:ok, stat} -> {stat.size, stat.mtime, stat.inode}
      {:error, _missing} -> nil
    end
  end

  defp stale? do
    built = mtime(manifest())
    Enum.any?(sources(), &(mtime(&1) >= built))
  end

  defp sources do
    ["Cargo.toml", "Cargo.lock", "native/alumiini-git/Cargo.toml", "native/alumiini-git/build.rs"] ++
      Path.wildcard("native/alumiini-git/src/**/*.rs")
  end

  defp mtime(path) do
    case File.stat(path, time: :posix) do
      {:ok, stat} -> stat.mtime
      {:error, _missing} -> 0
    end
  end

  defp now, do: System.os_time(:second)
  defp destination, do: Path.expand(Path.join("priv", Binary.name()))
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.alumiini_git")

  defp diagnostic(message) do
    %Mix.Task.Compiler.Diagnostic{
      compiler_name: "alumiini_git",
      file: Path.expand("Cargo.toml"),
      message: message,
      position: nil,
      severity: :error
    }
  end
end
