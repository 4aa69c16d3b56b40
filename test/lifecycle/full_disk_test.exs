defmodule Alumiini.Git.FullDiskTest do
  # A file system of a few hundred kilobytes is mounted for each test, which takes root on Linux.
  use Alumiini.Git.Test.HttpCase, async: true

  import Alumiini.Git.Test.ErrorAssertions

  alias Alumiini.Git.Test.Manifests

  probe = Path.join(System.tmp_dir!(), "alumiini-git-mount-probe-#{System.pid()}")
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

  setup [:dir, :origin, :http, :git, :volume]

  defp volume(context) do
    volume = Path.join(context.dir, "volume")
    File.mkdir!(volume)
    {_, 0} = System.cmd("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", volume])
    # Runs before the directory is removed: the last to be named is the first to run.
    on_exit(fn -> {_, 0} = System.cmd("umount", ["-l", volume]) end)
    %{volume: volume, path: Path.join(volume, "clone")}
  end

  defp assert_full(context, paths) do
    assert_refused(paths, :io, ["No space left on device"], fn -> sync(context) end)
  end

  # 3 MB that do not compress.
  defp large, do: Manifests.many(30, bytes: 100_000)
  # 4 MB of which a pack is a few kilobytes.
  defp wide, do: %{"wide.yaml" => String.duplicate("a: 1\n", 800_000)}
  defp small, do: %{"small.yaml" => "a: 1\n", "deploy/app.yaml" => "b: 1\n"}

  test "in the middle of the first pack: nothing is left", context do
    Repository.commit!(context.origin, large())
    assert_full(context, [context.volume])
    assert Directory.names(context.volume) == []
    commit = Repository.commit!(context.origin, small(), only: true)
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  test "in the middle of the first checkout: nothing is left", context do
    Repository.commit!(context.origin, wide())
    assert_full(context, [context.volume])
    assert Directory.names(context.volume) == []
    commit = Repository.commit!(context.origin, small(), only: true)
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end

  for change <- [:large, :wide] do
    @change change

    test "in the middle of an update (#{change}): the old commit stays, whole and served",
         context do
      old = Repository.commit!(context.origin, small())
      assert sync(context) == {:ok, old}
      assert sync(context) == {:ok, old}

      Repository.commit!(context.origin, if(@change == :large, do: large(), else: wide()))

      for n <- 1..3 do
        HttpServer.reset(context.http)
        assert_refused([], :io, ["No space left on device"], fn -> sync(context) end)

        # What came is kept where there is room for it, and fetched anew where there is none; in
        # neither case it piles up.
        if @change == :wide and n > 1, do: assert(HttpServer.stats(context.http).pack_bytes == 0)
        packs = Path.wildcard(Path.join(context.path, ".git/objects/pack/*.pack"), match_dot: true)
        assert length(packs) == if(@change == :wide, do: 2, else: 1)
        assert Directory.names(context.path) |> Enum.filter(&(&1 =~ "incoming")) == []
        Oracle.assert_synced(context.path, context.origin, old)
        assert {:ok, ["small.yaml"]} = Git.files(context.path, nil, server: context.git)
        assert {:ok, %{sha: ^old}} = Git.head(context.path, server: context.git)
      end

      commit = Repository.commit!(context.origin, %{"small.yaml" => "a: 2\n"}, only: true)
      assert sync(context) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
    end
  end

  test "a full disk repairs nothing and loses nothing", context do
    old = Repository.commit!(context.origin, small())
    assert sync(context) == {:ok, old}
    Repository.commit!(context.origin, %{"small.yaml" => "a: 2\n"})

    {_, 1} =
      System.cmd("dd", ["if=/dev/zero", "of=#{context.volume}/filler", "bs=4096"],
        stderr_to_stdout: true
      )

    assert {:error, %{reason: :io}} = sync(context)
    Oracle.assert_tree_equals(context.path, context.origin, old)
    assert {:ok, "a: 1\n"} = Git.read(context.path, "small.yaml", server: context.git)
    File.rm!(Path.join(context.volume, "filler"))
    commit = Repository.rev_parse!(context.origin, "main")
    assert sync(context) == {:ok, commit}
    Oracle.assert_synced(context.path, context.origin, commit)
  end
end
