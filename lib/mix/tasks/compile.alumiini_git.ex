defmodule Mix.Tasks.Compile.AlumiiniGit do
  @shortdoc "Puts the worker of alumiini_git into the build's priv/"

  @moduledoc """
  The Mix compiler that puts the worker's binary into the `priv/` of the build
  (`_build/dev/lib/alumiini_git/priv`, and likewise for each environment and `MIX_TARGET`), where
  `mix release` takes it from. `mix compile` runs it.

  It takes, in this order:

    1. the binary that `ALUMIINI_GIT_PATH` names, which must speak the protocol of this version
    2. one that it builds from source, with `cargo` (see [rustup.rs](https://rustup.rs)), where
       `ALUMIINI_GIT_BUILD` is `1`, and for every version that ends with `-dev`: optimised for users
       in `MIX_ENV=prod`, quick to build otherwise
    3. the precompiled one of this version's release: from the cache, or downloaded. Its archive
       must have the checksum that the package holds, before anything else is done with it, and the
       worker must say its version before it takes its place

  When nothing has changed since the last time, nothing is run or asked. The variables of the
  environment, and what to do where there is no network, are in [Installation](installation.md).
  """

  use Mix.Task.Compiler

  alias Alumiini.Git.Precompiled
  alias Alumiini.Git.Precompiled.{Checksums, Install, Otp, Progress, Provenance, SmokeTest, Target}
  alias Alumiini.Git.Server.{Binary, Protocol}

  # Tests get a worker that can be told to crash. It is built elsewhere and has another name, so
  # that at no time it can be taken for the one that others run.
  @fault_injection ["--features", "fault-injection"]

  @impl true
  def run(_args) do
    make_priv()

    with :ok <- Otp.load(),
         {:ok, source} <- source(Mix.Project.config(), System.get_env()),
         done when done in [:unchanged, :installed] <- install(source) do
      if done == :unchanged, do: {:noop, []}, else: {:ok, []}
    else
      {:error, message} ->
        Mix.shell().error(message)
        {:error, [diagnostic(message)]}
    end
  end

  # Not the source's priv/, which Mix links into every build: a worker for one environment or target
  # would be that of all of them. What was put there before goes, or it would come back with that
  # link.
  defp make_priv do
    Enum.each(Path.wildcard("priv/alumiini-git*"), &File.rm/1)
    _ = File.rmdir("priv")
    _ = if match?({:ok, _source}, File.read_link(priv())), do: File.rm(priv())
    # A worker that is there and current needs no directory that can be written to.
    _ = File.mkdir_p(priv())
    :ok
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    Enum.each([destination(), Provenance.path(destination()), manifest()], &File.rm/1)
  end

  # Where the binary comes from.
  defp source(project, environment) do
    if given = set(environment, "ALUMIINI_GIT_PATH") do
      {:ok, {:given, Path.expand(given)}}
    else
      with :ok <- possible(environment),
           do:
             if(build?(project, environment),
               do: {:ok, :build},
               else: precompiled(project, environment)
             )
    end
  end

  # Before cargo says so in more words.
  defp possible(environment) do
    with {:error, why} <- Target.possible(Target.host(), environment),
         do: {:error, "alumiini_git: #{why}"}
  end

  defp precompiled(project, environment) do
    plan = %{
      version: project[:version],
      source_url: project[:source_url],
      checksums: Path.expand(Checksums.file_name()),
      host: Target.host(),
      environment: environment
    }

    case Precompiled.plan(plan) do
      {:ok, plan} -> {:ok, {:precompiled, plan}}
      {:error, why} -> {:error, no_worker(why, nil)}
    end
  end

  # No release has the worker with faults.
  defp build?(project, environment) do
    set(environment, "ALUMIINI_GIT_BUILD") in ["1", "true"] or
      String.ends_with?(project[:version], "-dev") or
      Binary.faults?()
  end

  defp set(environment, name) do
    value = String.trim(Map.get(environment, name, ""))
    if value != "", do: value
  end

  defp install({:given, path}) do
    case File.stat(path, time: :posix) do
      {:ok, %File.Stat{type: :regular} = stat} ->
        key = {path, stat.size, stat.mtime, target()}

        # Of one that changed within the second in which it was copied, that does not show.
        if current?(key) and stat.mtime < mtime(manifest()) do
          :unchanged
        else
          copy(path, key, now(), &given/1, "given with ALUMIINI_GIT_PATH: #{path}")
        end

      {:ok, %File.Stat{}} ->
        {:error, "ALUMIINI_GIT_PATH is #{path}, which is not a file"}

      {:error, reason} ->
        {:error,
         "ALUMIINI_GIT_PATH is #{path}, which cannot be used: #{:file.format_error(reason)}"}
    end
  end

  defp install(:build) do
    arguments = cargo_arguments(Mix.env()) ++ cross(System.get_env())

    if current?(arguments) and not stale?() do
      :unchanged
    else
      # A source that changes while cargo runs is newer than this.
      started = now()

      with {:ok, built} <- cargo(arguments),
           do: copy(built, arguments, started, &SmokeTest.fits(&1, target()), "built from source")
    end
  end

  defp install({:precompiled, plan}) do
    key = {:precompiled, plan.archive, plan.checksum}

    if current?(key) do
      :unchanged
    else
      plan = %{plan | note: &note/1, download: %{progress: Progress.on_terminal()}}

      case Precompiled.install(plan, destination()) do
        :ok -> installed(key, now())
        {:error, why} -> {:error, no_worker(why, plan)}
      end
    end
  end

  defp note(text), do: Mix.shell().info(text)

  # What went wrong, and every way on.
  defp no_worker(why, plan) do
    cache = if plan, do: "put #{plan.archive} into #{plan.cache}, or set", else: "set"

    """
    alumiini_git has no worker for this project.

    #{String.trim_trailing(why, ".")}.

    Each of these is a way on:
      * with a network: compile again, if need be with a proxy (https_proxy), another authority
        (ALUMIINI_GIT_CACERT) or a mirror of the release (ALUMIINI_GIT_MIRROR)
      * without a network: #{cache} ALUMIINI_GIT_CACHE to a directory that holds the release's
        archives
      * with Rust (https://rustup.rs): set ALUMIINI_GIT_BUILD=1, and the worker is built from source
      * with a worker from elsewhere: set ALUMIINI_GIT_PATH to its path
    """
  end

  defp cargo_arguments(:prod), do: ["--release", "--target-dir", target_dir()]
  defp cargo_arguments(:test), do: quick("fault-injection") ++ @fault_injection
  defp cargo_arguments(_dev), do: quick(nil)

  defp quick(subdirectory), do: ["--profile", "quick", "--target-dir", target_dir(subdirectory)]

  defp target_dir(subdirectory \\ nil) do
    directory = System.get_env("CARGO_TARGET_DIR") || "target"
    Path.expand(if subdirectory, do: Path.join(directory, subdirectory), else: directory)
  end

  # A worker for this machine would be of no use there. What cargo is told in its own words comes
  # first.
  defp cross(environment) do
    with true <- Target.cross?(environment) and set(environment, "CARGO_BUILD_TARGET") == nil,
         {:ok, target} <- Target.resolve(Target.host(), environment) do
      ["--target", target]
    else
      _native -> []
    end
  end

  defp cargo(arguments) do
    case System.find_executable("cargo") do
      nil ->
        {:error,
         """
         alumiini_git needs its worker, which has to be built from source here, but
         there is no `cargo` in PATH.

         Install Rust (https://rustup.rs), or set ALUMIINI_GIT_PATH to the path of a worker that
         was built elsewhere. Released versions come with precompiled workers, unless
         ALUMIINI_GIT_BUILD=1 is set.
         """}

      cargo ->
        Mix.shell().info("Compiling the worker alumiini-git (cargo build)")

        # What is for people goes to standard error; what is read here says where the binary is,
        # which depends on the user's own configuration of cargo, too.
        arguments =
          [
            "build",
            "--locked",
            "--package",
            "alumiini-git",
            "--message-format",
            "json-render-diagnostics"
          ] ++
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

  defp copy(from, key, as_of, trial, origin) do
    case Install.put(destination(), &File.cp(from, &1), trial, %{"from" => origin}) do
      :ok -> installed(key, as_of)
      {:refused, why} -> {:error, "alumiini_git: the worker #{from} cannot be used: #{why}"}
      {:error, why} -> {:error, "alumiini_git: #{why}"}
    end
  end

  # One for another machine cannot be asked on this one, but it can be looked at.
  defp given(path) do
    asked =
      if Target.cross?(System.get_env()),
        do: :ok,
        else: SmokeTest.run(path, {:protocol, Protocol.version()})

    with :ok <- asked, do: SmokeTest.fits(path, target())
  end

  # For which the project is built. None where there is no name for it here: then cargo, or who
  # gives the worker, knows.
  defp target do
    environment = System.get_env()

    case set(environment, "CARGO_BUILD_TARGET") || Target.resolve(Target.host(), environment) do
      {:ok, target} -> target
      {:error, _unknown} -> nil
      named -> named
    end
  end

  defp installed(key, as_of) do
    remember(key, as_of)
    :installed
  end

  # The manifest holds what the binary was made from, and what it and the note beside it looked like
  # then: another environment may have put its own there since. Its time is that from which on a
  # changed source counts.
  defp remember(key, as_of) do
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary({key, fingerprint()}))
    File.touch!(manifest(), as_of)
  end

  defp current?(key) do
    case File.read(manifest()) do
      {:ok, manifest} ->
        manifest == :erlang.term_to_binary({key, fingerprint()}) and fingerprint() != nil

      {:error, _none} ->
        false
    end
  end

  defp fingerprint do
    case File.stat(destination(), time: :posix) do
      {:ok, stat} ->
        {stat.size, stat.mtime, stat.inode, File.exists?(Provenance.path(destination()))}

      {:error, _missing} ->
        nil
    end
  end

  defp stale? do
    built = mtime(manifest())
    Enum.any?(sources(), &(mtime(&1) >= built))
  end

  defp sources do
    ~w(Cargo.toml Cargo.lock native/alumiini-git/Cargo.toml native/alumiini-git/build.rs) ++
      Path.wildcard("native/alumiini-git/src/**/*.rs")
  end

  defp mtime(path) do
    case File.stat(path, time: :posix) do
      {:ok, stat} -> stat.mtime
      {:error, _missing} -> 0
    end
  end

  defp now, do: System.os_time(:second)
  defp priv, do: Path.join(Mix.Project.app_path(), "priv")
  defp destination, do: Path.join(priv(), Binary.name())
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.alumiini_git")

  defp diagnostic(message) do
    %Mix.Task.Compiler.Diagnostic{
      compiler_name: "alumiini_git",
      file: Path.expand("mix.exs"),
      message: message,
      position: 0,
      severity: :error
    }
  end
end
