defmodule Alumiini.Git.Precompiled.VolumeTest do
  # A file system that is full, or read-only, is mounted for each test, which takes root on Linux.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Precompiled
  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Test.{Certificates, Directory, ReleaseArchive, ReleaseServer, TempDir}

  probe = Path.join(System.tmp_dir!(), "alumiini-git-volume-probe-#{System.pid()}")
  File.mkdir_p!(probe)

  mounted? =
    match?({:unix, :linux}, :os.type()) and
      match?(
        {_, 0},
        System.cmd("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", probe],
          stderr_to_stdout: true
        )
      )

  if mounted?, do: {_, 0} = System.cmd("umount", [probe])
  File.rmdir(probe)

  unless mounted?, do: @moduletag(skip: "mounting a small file system takes root on Linux")

  setup do
    dir = TempDir.create!("volume")
    certificate = Certificates.build(:good)
    volume = Path.join(dir, "volume")
    File.mkdir!(volume)
    {_, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", volume])
    # Runs before the directory is removed: the last to be named is the first to run.
    on_exit(fn -> {_, 0} = System.cmd("umount", ["-l", volume]) end)

    {:ok, target} = Target.resolve(Target.host(), %{})
    archive = Target.archive("1.2.3", target)
    worker = ReleaseArchive.worker("1.2.3") <> "exit\n" <> :crypto.strong_rand_bytes(1_000_000)
    bytes = ReleaseArchive.build([{"alumiini-git", worker}])
    File.mkdir_p!(Path.join(dir, "release/v1.2.3"))
    File.write!(Path.join([dir, "release/v1.2.3", archive]), bytes)
    File.write!(Path.join(dir, "checksums"), ReleaseArchive.checksums(%{archive => bytes}))
    File.write!(Path.join(dir, "ca.pem"), certificate.ca)

    server =
      start_supervised!({ReleaseServer, root: Path.join(dir, "release"), tls: certificate.tls})

    File.mkdir!(Path.join(dir, "priv"))
    %{dir: dir, volume: volume, server: server, archive: archive}
  end

  defp install(context, cache, priv) do
    environment = %{
      "ALUMIINI_GIT_MIRROR" => ReleaseServer.url(context.server),
      "ALUMIINI_GIT_CACHE" => cache,
      "ALUMIINI_GIT_CACERT" => Path.join(context.dir, "ca.pem")
    }

    {:ok, plan} =
      Precompiled.plan(%{
        version: "1.2.3",
        source_url: "https://github.invalid",
        checksums: Path.join(context.dir, "checksums"),
        host: Target.host(),
        environment: environment
      })

    Precompiled.install(plan, Path.join(priv, "alumiini-git"))
  end

  defp read_only!(volume), do: {_, 0} = System.cmd("mount", ["-o", "remount,ro", volume])

  test "a disk that is full for the cache", context do
    assert {:error, sentence} = install(context, context.volume, Path.join(context.dir, "priv"))
    assert sentence == "#{context.volume} cannot be written to: no space left on device"
    assert Directory.names(context.volume) == []
    assert Directory.names(Path.join(context.dir, "priv")) == []
  end

  test "a disk that is full for priv/, where an older worker stays", context do
    File.write!(Path.join(context.volume, "alumiini-git"), "older")
    assert {:error, sentence} = install(context, Path.join(context.dir, "cache"), context.volume)

    assert sentence =~
             "the worker cannot be put into #{context.volume}/alumiini-git: no space left on device"

    assert Directory.names(context.volume) == ["alumiini-git"]
    assert File.read!(Path.join(context.volume, "alumiini-git")) == "older"
  end

  test "a read-only priv/, a read-only cache", context do
    read_only!(context.volume)
    assert {:error, sentence} = install(context, Path.join(context.dir, "cache"), context.volume)

    assert sentence =~
             "the worker cannot be put into #{context.volume}/alumiini-git: read-only file system"

    assert sentence =~ "Mix must be able to write to #{context.volume}"

    for cache <- [context.volume, Path.join(context.volume, "new")] do
      assert {:error, sentence} = install(context, cache, Path.join(context.dir, "priv"))
      assert sentence =~ context.volume
      assert sentence =~ "read-only file system"
    end

    assert Directory.names(Path.join(context.dir, "priv")) == []
  end

  test "a file system on which nothing may be run", context do
    {_, 0} = System.cmd("mount", ["-o", "remount,noexec,size=8m", context.volume])
    assert {:error, sentence} = install(context, Path.join(context.dir, "cache"), context.volume)
    assert sentence =~ "noexec"
    assert Directory.names(context.volume) == []
  end
end
