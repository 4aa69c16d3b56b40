defmodule Alumiini.Git.Precompiled do
  @moduledoc false

  # Gets the worker for a target out of a release: from the cache or by a download, verified against
  # the checksum file of the package before anything else is done with it. Knows nothing of Mix.

  alias Alumiini.Git.Precompiled.{
    Archive,
    Cache,
    Certificates,
    Checksums,
    Download,
    Install,
    Otp,
    SmokeTest,
    Target
  }

  @enforce_keys [:version, :target, :archive, :checksum, :url, :cache, :environment]
  defstruct [
    :version,
    :target,
    :archive,
    :checksum,
    :url,
    :cache,
    :environment,
    download: %{},
    note: nil
  ]

  @type t :: %__MODULE__{
          version: String.t(),
          target: String.t(),
          archive: String.t(),
          checksum: String.t(),
          # May hold credentials of a mirror.
          url: String.t(),
          cache: Path.t(),
          environment: Target.environment(),
          download: map,
          # Told what is being done.
          note: (String.t() -> any) | nil
        }

  @doc """
  Finds out what is to be got: `version` and `source_url` of the package, the path of its checksum
  file, what is known of the `host`, and the environment. Reads files, and asks nobody.
  """
  @spec plan(map) :: {:ok, t} | {:error, String.t()}
  def plan(%{
        version: version,
        source_url: source_url,
        checksums: path,
        host: host,
        environment: environment
      }) do
    with :ok <- Otp.load(),
         {:ok, target} <- Target.resolve(host, environment),
         {:ok, checksums} <- Checksums.read(path),
         {:ok, archive, checksum} <- checksum(checksums, version, target, path) do
      {:ok,
       %__MODULE__{
         version: version,
         target: target,
         archive: archive,
         checksum: checksum,
         url: base_url(environment, source_url) <> "/v#{version}/#{archive}",
         cache: Cache.directory(environment),
         environment: environment
       }}
    end
  end

  defp checksum(checksums, version, target, path) do
    archive = Target.archive(version, target)

    case Checksums.fetch(checksums, archive) do
      {:ok, checksum} -> {:ok, archive, checksum}
      :error -> missing(checksums, version, target, path)
    end
  end

  defp missing(checksums, version, target, path) do
    case for known <- Target.all(),
             Map.has_key?(checksums, Target.archive(version, known)),
             do: known do
      [] ->
        {:error,
         "#{path} has no checksum for any archive of version #{version}; it belongs to " <>
           "another version"}

      known ->
        {:error, "#{path} has no checksum for #{target}; " <> Target.available(known)}
    end
  end

  defp base_url(environment, source_url) do
    case Map.get(environment, "ALUMIINI_GIT_MIRROR") do
      unset when unset in [nil, ""] -> source_url <> "/releases/download"
      mirror -> String.trim_trailing(mirror, "/")
    end
  end

  @doc """
  Puts the worker where it is run from, once it has said its version (unless it is for another
  machine).
  """
  @spec install(t, destination :: Path.t()) :: :ok | {:error, String.t()}
  def install(plan, destination) do
    trial = fn path ->
      # One for another machine cannot be asked, but it can be looked at.
      asked =
        if Target.cross?(plan.environment),
          do: :ok,
          else: SmokeTest.run(path, {:version, plan.version})

      with :ok <- asked, do: SmokeTest.fits(path, plan.target)
    end

    with {:ok, worker, from} <- fetch(plan) do
      origin = %{"from" => from, "archive" => plan.archive, "archive_checksum" => plan.checksum}

      case Install.put(destination, &File.write(&1, worker), trial, origin) do
        {:refused, why} -> {:error, "the worker in #{plan.archive} cannot be used: #{why}"}
        other -> other
      end
    end
  end

  @doc "The bytes of the worker, and where they came from (without credentials)."
  @spec fetch(t) :: {:ok, binary, from :: String.t()} | {:error, String.t()}
  def fetch(plan) do
    with {:ok, bytes, from} <- archive(plan) do
      case Archive.unpack(bytes, Target.executable()) do
        {:ok, worker} ->
          {:ok, worker, from}

        {:error, why} ->
          Cache.drop(plan.cache, plan.archive)
          {:error, "the archive #{plan.archive} is not usable, and has not been unpacked: #{why}"}
      end
    end
  end

  defp archive(plan) do
    case Cache.fetch(plan.cache, plan.archive, plan.checksum) do
      {:ok, bytes} ->
        {:ok, bytes, "the cache #{plan.cache}"}

      :missing ->
        download(plan)

      {:poisoned, why} ->
        note(plan, "alumiini_git: #{why}")

        with {:error, reason} <- download(plan), do: {:error, "#{why}. And #{reason}"}
    end
  end

  defp download(plan) do
    options =
      Map.merge(%{environment: plan.environment, plain_http: plain_http?(plan)}, plan.download)

    from = Download.shown(URI.parse(plan.url))

    with {:ok, options} <- authorities(plan, options) do
      note(plan, "Downloading #{from}")

      case store(plan, options) do
        {:ok, bytes} ->
          {:ok, bytes, from}

        # The parts may be of two files. In one piece, it may be right.
        {:wrong_checksum, :resumed, _why} ->
          plan |> store(options) |> stored(from)

        other ->
          stored(other, from)
      end
    end
  end

  defp stored({:ok, bytes}, from), do: {:ok, bytes, from}
  defp stored({:error, why}, _from), do: {:error, why}

  defp stored({:wrong_checksum, _how, why}, from),
    do:
      {:error,
       "#{why}, from #{from}. It has been thrown away. Nothing but the published file has the " <>
         "checksum that the package " <>
         "holds: ask who runs the mirror or the proxy, and please report it where it is GitHub"}

  defp store(plan, options) do
    Cache.store(plan.cache, plan.archive, plan.checksum, &Download.run(plan.url, &1, options))
  end

  defp plain_http?(plan), do: Map.get(plan.environment, "ALUMIINI_GIT_ALLOW_HTTP") == "1"

  defp authorities(%{url: "http:" <> _}, options), do: {:ok, options}
  defp authorities(_plan, %{authorities: _given} = options), do: {:ok, options}

  defp authorities(plan, options) do
    ca_file =
      case Map.get(plan.environment, "ALUMIINI_GIT_CACERT") do
        unset when unset in [nil, ""] -> nil
        path -> Path.expand(path)
      end

    with {:ok, authorities} <- Certificates.authorities(ca_file),
         do: {:ok, Map.put(options, :authorities, authorities)}
  end

  defp note(%{note: nil}, _text), do: :ok
  defp note(%{note: note}, text), do: note.(text)
end
