defmodule Alumiini.Git.Precompiled.BuildsTest do
  # One checkout, several builds: each release has the worker of its own target and environment, in
  # whichever order they were made.
  use Alumiini.Git.Test.ConsumerCase, async: false

  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Test.ReleaseArchive

  @moduletag timeout: 600_000

  # No program, but the head of one for that machine, as far as anybody looks.
  @foreign <<0x7F, "ELF", 2, 1, 1, 0::72, 2::16-little, 183::16-little, 1::32-little, 0::64, 0::64,
             0::64, 0::32, 64::16-little, 56::16-little, 0::16, 0::64>> <> "a worker for a board"
  @target "aarch64-unknown-linux-musl"
  @board %{
    "MIX_TARGET" => "board",
    "TARGET_ARCH" => "aarch64",
    "TARGET_OS" => "linux",
    "TARGET_ABI" => "musl"
  }

  setup [:consumer, :foreign, :own]

  # The release has a worker for that machine, too.
  defp foreign(consumer) do
    archive = Target.archive(consumer.version, @target)
    bytes = ReleaseArchive.build([{"alumiini-git", @foreign}])
    File.write!(Path.join(Path.dirname(consumer.published), archive), bytes)
    ours = %{consumer.archive => File.read!(consumer.published), archive => bytes}
    checksums = Path.join(consumer.package, "checksum-alumiini_git.exs")
    File.write!(checksums, ReleaseArchive.checksums(ours))
  end

  # One of somebody's own, which says so.
  defp own(consumer) do
    own = Path.join(consumer.dir, "own")
    File.write!(own, Consumer.worker(Consumer.version(2)))
    File.chmod!(own, 0o755)
    %{own: own}
  end

  test "each release carries the worker that it was built with", context do
    builds = [
      {"prod", %{},
       File.read!(context.own) |> String.replace(Consumer.version(2), context.version)},
      {"board_prod", @board, @foreign},
      {"staging", %{"MIX_ENV" => "staging", "ALUMIINI_GIT_PATH" => context.own},
       File.read!(context.own)}
    ]

    for order <- [builds, Enum.reverse(builds)] do
      File.rm_rf!(Path.join(context.shop, "_build"))
      # As one from an earlier version of this library, which every build had then.
      stale = Path.join(context.package, "priv/alumiini-git")
      File.mkdir_p!(Path.dirname(stale))
      File.write!(stale, "stale")

      for {name, env, _worker} <- order do
        assert {output, 0} = Consumer.mix(context, ["compile"], env)
        refute {name, output =~ "warning"} == {name, true}
      end

      refute File.exists?(Path.dirname(stale))

      for {name, env, worker} <- order do
        assert {_output, 0} = Consumer.mix(context, ["release", "--quiet"], env)

        [carried] =
          Path.wildcard(Path.join(context.shop, "_build/#{name}/rel/shop/lib/alumiini_git-*/priv"))

        assert {name, Directory.names(carried)} == {name, ["alumiini-git", "alumiini-git.origin"]}
        assert File.read!(Path.join(carried, "alumiini-git")) == worker
        assert {:ok, %{type: :directory}} = File.lstat(carried)
      end
    end
  end

  test "a worker for another target is refused, given and in an archive", context do
    given = Path.join(context.dir, "given")
    File.write!(given, @foreign)
    host = Map.new(@board, fn {name, _} -> {name, nil} end)
    given_env = %{"ALUMIINI_GIT_PATH" => given}

    assert {output, 1} = Consumer.mix(context, ["compile"], Map.merge(host, given_env))
    assert output =~ "it is not for this machine"
    assert output =~ "but for aarch64"

    # And the other way round.
    assert {output, 1} =
             Consumer.mix(context, ["compile"], Map.put(@board, "ALUMIINI_GIT_PATH", context.own))

    assert output =~ "this project is built for #{@target}"

    # An archive that holds something else than its name says.
    mislabelled = ReleaseArchive.build([{"alumiini-git", File.read!(context.own)}])
    archive = Target.archive(context.version, @target)
    File.write!(Path.join(Path.dirname(context.published), archive), mislabelled)

    File.write!(
      Path.join(context.package, "checksum-alumiini_git.exs"),
      ReleaseArchive.checksums(%{archive => mislabelled})
    )

    assert {output, 1} = Consumer.mix(context, ["compile"], @board)
    assert output =~ "the worker in #{archive} cannot be used"
    assert output =~ "this project is built for #{@target}"
  end
end
