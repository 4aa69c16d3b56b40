defmodule Alumiini.Git.Precompiled.MaintainerTest do
  # It changes the current directory, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Precompiled.{Checksums, Target}
  alias Alumiini.Git.Release.Guard
  alias Mix.Tasks.AlumiiniGit.Checksum
  alias Mix.Tasks.AlumiiniGit.ReleaseGuard, as: GuardTask
  alias Alumiini.Git.Test.Vm

  @version "1.2.3"
  @changelog "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-11-24\n\n### Added\n\n- " <>
               "Something.\n\n## 1.2.2 - 2026-01-01\n"

  describe "no package is built" do
    defp facts(changes) do
      checksums =
        for target <- Target.first_tier(),
            into: %{},
            do: {Target.archive(@version, target), "sha256:0"}

      Map.merge(
        %{
          version: @version,
          worker: @version,
          tags: ["v1.2.3"],
          changelog: @changelog,
          checksums: checksums
        },
        Map.new(changes)
      )
    end

    test "unless version, tag, worker, CHANGELOG and checksums agree" do
      assert Guard.problems(facts([])) == []
      assert Guard.problems(facts(tags: [])) == []
      assert Guard.problems(facts(tags: ["other", "v1.2.3"])) == []
      assert Guard.problems(facts(changelog: "## [1.2.3] - 2026-11-24\n\n- x\n")) == []

      for {changes, words} <- [
            {[worker: "1.2.3-dev"], "Cargo.toml has version 1.2.3-dev, mix.exs has 1.2.3"},
            {[worker: nil], "Cargo.toml has version (none)"},
            {[tags: ["v1.2.2"]], "tagged v1.2.2, mix.exs has 1.2.3"},
            {[changelog: "## Unreleased\n\n- x\n\n## 1.2.2\n"],
             "the newest version in CHANGELOG.md is not 1.2.3"},
            {[changelog: "## Unreleased\n\n- x\n\n## 1.2.3\n"],
             "still has changes under Unreleased"},
            {[changelog: ""], "the newest version in CHANGELOG.md is not 1.2.3"},
            {[checksums: nil], "there is no checksum file"},
            {[
               checksums:
                 Map.delete(facts([]).checksums, Target.archive(@version, "x86_64-apple-darwin"))
             ], "the checksum file lacks alumiini-git-v1.2.3-x86_64-apple-darwin.tar.gz"},
            {[
               checksums:
                 Map.put(
                   facts([]).checksums,
                   Target.archive("1.2.2", "x86_64-apple-darwin"),
                   "sha256:0"
                 )
             ], "no archive of version 1.2.3: alumiini-git-v1.2.2-x86_64-apple-darwin.tar.gz"}
          ] do
        assert [problem] = Guard.problems(facts(changes))
        assert problem =~ words
      end
    end

    test "of a version that ends with -dev, with a tag or another worker" do
      dev = [version: "1.2.3-dev", worker: "1.2.3-dev", checksums: nil, changelog: "", tags: []]
      assert Guard.problems(facts(dev)) == []
      assert [_tag] = Guard.problems(facts(Keyword.put(dev, :tags, ["v1.2.3"])))
      assert [_worker] = Guard.problems(facts(Keyword.put(dev, :worker, "1.2.3")))
    end

    test "by Hex before the guard has looked" do
      aliases = Mix.Project.config()[:aliases]

      assert aliases[:"hex.build"] == [
               "alumiini_git.release_guard",
               "alumiini_git.package hex.build"
             ]

      assert aliases[:"hex.publish"] == [
               "alumiini_git.release_guard --publish",
               "alumiini_git.package hex.publish"
             ]
    end
  end

  describe "the tasks" do
    @describetag :tmp_dir

    setup %{tmp_dir: dir} do
      Vm.mix_shell!()
      module = "MaintainerTest#{System.unique_integer([:positive])}.MixProject"

      File.write!(Path.join(dir, "mix.exs"), """
      defmodule #{module} do
        use Mix.Project
        def project, do: [app: :maintainer_test, version: "#{@version}"]
      end
      """)

      archives = Path.join(dir, "archives")
      File.mkdir_p!(archives)
      File.write!(Path.join(archives, "SHA256SUMS"), "beside them")

      for target <- Target.first_tier(),
          do: File.write!(Path.join(archives, Target.archive(@version, target)), target)

      %{archives: archives, checksums: Path.join(dir, Checksums.file_name())}
    end

    defp run(%{tmp_dir: dir}, task, argv) do
      Mix.Project.in_project(:maintainer_test, dir, fn _module -> task.run(argv) end)
    end

    # Mix says which project it is in, when that has changed.
    defp told do
      receive do
        {:mix_shell, :info, ["==> " <> _project]} -> told()
        {:mix_shell, :info, [text]} -> text
      after
        0 -> nil
      end
    end

    defp refused(context, task, argv) do
      assert %Mix.Error{message: message} = catch_error(run(context, task, argv))
      message
    end

    test "checksum writes what the compiler reads, and verifies it", context do
      run(context, Checksum, [context.archives])
      assert told() == "checksum-alumiini_git.exs: 6 archives of 1.2.3"
      assert {:ok, checksums} = Checksums.read(context.checksums)

      assert Map.keys(checksums) ==
               Enum.sort(for target <- Target.first_tier(), do: Target.archive(@version, target))

      assert checksums[Target.archive(@version, "x86_64-apple-darwin")] ==
               Checksums.sum("x86_64-apple-darwin")

      run(context, Checksum, ["--verify"])
      assert told() =~ "6 archives"
      run(context, Checksum, ["--verify", context.archives])
      assert told() =~ "6 of them compared with"

      changed = Path.join(context.archives, Target.archive(@version, "x86_64-apple-darwin"))
      File.write!(changed, "changed")
      assert refused(context, Checksum, ["--verify", context.archives]) =~ Path.basename(changed)
      # It came later, and the file does not know it.
      File.write!(changed, "x86_64-apple-darwin")
      later = Target.archive(@version, "riscv64gc-unknown-linux-gnu")
      File.write!(Path.join(context.archives, later), "later")
      assert refused(context, Checksum, ["--verify", context.archives]) =~ "#{later} has sha256:"
    end

    test "checksum wants all targets of the first tier, of this version", context do
      File.rm!(Path.join(context.archives, Target.archive(@version, "aarch64-apple-darwin")))

      assert refused(context, Checksum, [context.archives]) =~
               "lacks alumiini-git-v1.2.3-aarch64-apple-darwin.tar.gz"

      refute File.exists?(context.checksums)
      run(context, Checksum, [context.archives, "--partial"])
      assert {:ok, checksums} = Checksums.read(context.checksums)
      assert map_size(checksums) == 5
      assert refused(context, Checksum, ["--verify"]) =~ "lacks"
      run(context, Checksum, ["--verify", "--partial"])

      File.write!(Path.join(context.archives, Target.archive("1.2.2", "aarch64-apple-darwin")), "")

      assert refused(context, Checksum, [context.archives, "--partial"]) =~
               "no archive of version 1.2.3"

      assert refused(context, Checksum, [context.archives <> "/none"]) =~ "not a directory"
      assert refused(context, Checksum, []) =~ "usage"
      File.rm!(context.checksums)
      assert refused(context, Checksum, ["--verify"]) =~ "there is no checksum file"
    end

    test "release_guard looks at the files that are there", context do
      File.mkdir_p!(Path.join(context.tmp_dir, "native/alumiini-git"))

      File.write!(
        Path.join(context.tmp_dir, "native/alumiini-git/Cargo.toml"),
        "[package]\nversion = \"1.2.3\"\n"
      )

      File.write!(Path.join(context.tmp_dir, "CHANGELOG.md"), @changelog)

      assert refused(context, GuardTask, []) =~
               "alumiini_git 1.2.3 is not ready:\n  * there is no checksum file"

      run(context, Checksum, [context.archives])
      run(context, GuardTask, ["--publish"])

      {_, 0} =
        System.cmd(
          "sh",
          [
            "-ec",
            "git init -q; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m a; " <>
              "git tag v1.2.4"
          ],
          cd: context.tmp_dir,
          stderr_to_stdout: true
        )

      assert refused(context, GuardTask, []) =~ "tagged v1.2.4"
    end
  end
end
