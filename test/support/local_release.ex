defmodule Alumiini.Git.Test.LocalRelease do
  @moduledoc """
  A release of version 1.2.3 on a server of its own, and what it takes to install from there.

      setup_all do: %{certificate: Certificates.build(:good)}
      setup context, do: LocalRelease.start(context)
  """

  import ExUnit.Assertions
  import ExUnit.Callbacks

  alias Alumiini.Git.Precompiled
  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Test.{Directory, ReleaseArchive, ReleaseServer, TempDir}

  @version "1.2.3"
  # Large enough to come in pieces, whatever gzip does.
  @worker ReleaseArchive.worker(@version) <> "exit\n" <> :crypto.strong_rand_bytes(300_000)

  @doc "The program in the archive."
  @spec worker() :: String.t()
  def worker, do: @worker

  @doc "Publishes the release. For `setup`."
  @spec start(map) :: map
  def start(%{certificate: certificate}) do
    dir = TempDir.create!("install")
    {:ok, target} = Target.resolve(Target.host(), %{})
    archive = Target.archive(@version, target)
    for name <- ["release/v#{@version}", "priv"], do: File.mkdir_p!(Path.join(dir, name))
    File.write!(Path.join(dir, "ca.pem"), certificate.ca)

    server =
      start_supervised!({ReleaseServer, root: Path.join(dir, "release"), tls: certificate.tls})

    context = %{
      dir: dir,
      server: server,
      target: target,
      archive: archive,
      published: Path.join([dir, "release", "v#{@version}", archive]),
      cache: Path.join(dir, "cache"),
      priv: Path.join(dir, "priv"),
      worker: Path.join(dir, "priv/alumiini-git")
    }

    publish(context, ReleaseArchive.build([{"alumiini-git", @worker}]))
    context
  end

  # What the server has, and what the package says of it.
  def publish(context, bytes, expected \\ nil) do
    File.write!(context.published, bytes)

    File.write!(
      checksums(context),
      ReleaseArchive.checksums(%{context.archive => expected || bytes})
    )

    bytes
  end

  def checksums(context), do: Path.join(context.dir, "checksum-alumiini_git.exs")

  def plan(context, environment \\ %{}) do
    with {:ok, plan} <-
           Precompiled.plan(%{
             version: @version,
             source_url: "https://github.invalid/yairfalse/alumiini_git",
             checksums: checksums(context),
             host: Target.host(),
             environment: Map.merge(environment(context), environment)
           }) do
      {:ok, %{plan | download: %{backoff: 0, attempts: 3, stall_timeout: 5_000}}}
    end
  end

  def environment(context) do
    %{
      "ALUMIINI_GIT_MIRROR" => ReleaseServer.url(context.server),
      "ALUMIINI_GIT_CACHE" => context.cache,
      "ALUMIINI_GIT_CACERT" => Path.join(context.dir, "ca.pem")
    }
  end

  def install(context, environment \\ %{}, download \\ %{}) do
    with {:ok, plan} <- plan(context, environment) do
      Precompiled.install(%{plan | download: Map.merge(plan.download, download)}, context.worker)
    end
  end

  def requests(context), do: for(%{path: path} <- ReleaseServer.log(context.server), do: path)

  # Refused, with these words, and nothing is left.
  def assert_refused(context, words, environment \\ %{}, download \\ %{}) do
    assert {:error, sentence} = install(context, environment, download)
    for word <- List.wrap(words), do: assert(sentence =~ word)
    assert files(context.cache) == []
    assert files(context.priv) == []
    sentence
  end

  def files(dir), do: if(File.dir?(dir), do: Directory.names(dir), else: [])
end
