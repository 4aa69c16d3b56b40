defmodule Alumiini.Git.Precompiled.PackageTest do
  # It changes the current directory, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Precompiled.{Checksums, Target}
  alias Alumiini.Git.Release.{Package, SourceStripper}
  alias Alumiini.Git.Test.{Consumer, TempDir, Vm}
  alias Mix.Tasks.AlumiiniGit.Package, as: PackageTask

  # What it weighs, with some room: with all reads it has 359 KiB.
  @most 512 * 1024

  describe "of a Rust file, the package has" do
    test "no comments, and each line and column where it was" do
      source = """
      //! What it is for.

      /// Doc.
      #[derive(Debug)] // trailing
      fn f<'a>(x: &'a str) -> char {
          // http://example.com
          let url = "https://example.com//x"; // "
          let raw = r#"a " // b"#;
          let bytes = br"\\"; // c
          let quote = '"'; // d
          let escaped = '\\'';  let slash = "\\\\"; // e
          let text = "one
          // two";
          /* three // /* four */ " */ let half = x.len() / 2;
          '/'
      }
      """

      lean = SourceStripper.rust(source)

      assert lean ==
               """


               #[derive(Debug)]
               fn f<'a>(x: &'a str) -> char {

                   let url = "https://example.com//x";
                   let raw = r#"a " // b"#;
                   let bytes = br"\\";
                   let quote = '"';
                   let escaped = '\\'';  let slash = "\\\\";
                   let text = "one
                   // two";
                   /* three // /* four */ " */ let half = x.len() / 2;
                   '/'
               }
               """
               |> String.replace_prefix("\n", "\n\n")
    end

    test "no module of tests at its end" do
      for tests <- [
            "#[cfg(test)]\nmod tests;\n",
            "#[cfg(test)]\n#[path = \"a_tests.rs\"]\npub(crate) mod tests;\n",
            "#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn a() {}\n}\n"
          ] do
        assert SourceStripper.rust("fn a() {}\n\n" <> tests) == "fn a() {}\n"
        # What comes after it would be on another line.
        assert SourceStripper.rust("fn a() {}\n\n" <> tests <> "\nfn b() {}\n") =~ "mod tests"
      end

      assert SourceStripper.rust("impl A {\n    #[cfg(test)]\n    fn a() {}\n}\n") =~ "cfg(test)"
    end

    test "the same code, in all the sources that there are" do
      for file <- files(), Path.extname(file) == ".rs", source = File.read!(file) do
        before = String.split(source, "\n")
        lean = String.split(SourceStripper.rust(source), "\n")

        for {line, kept} <- Enum.zip(before, lean), line != kept do
          # What went is the end of the line, and began with a comment.
          assert {file, true} == {file, String.starts_with?(line, kept)}
          gone = String.trim_leading(String.replace_prefix(line, kept, ""))
          assert {file, gone, true} == {file, gone, gone == "" or String.starts_with?(gone, "//")}
        end

        refute {file, SourceStripper.rust(source)} == {file, source} and source =~ ~r/^\s*\/\//m
      end
    end
  end

  test "of an Elixir file, the package has all but its comments" do
    source = ~S'''
    # one
    defmodule A do
      @moduledoc """
      # A heading
      """

      # two
      def ä(x), do: "# no comment #{x}" # three
      def b, do: ?#
    end
    '''

    assert SourceStripper.elixir(source) == ~S'''

           defmodule A do
             @moduledoc """
             # A heading
             """


             def ä(x), do: "# no comment #{x}"
             def b, do: ?#
           end
           '''

    for file <- files(), Path.extname(file) == ".ex", source = File.read!(file) do
      lean = SourceStripper.elixir(source)
      assert {file, quoted(lean)} == {file, quoted(source)}
      assert length(String.split(lean, "\n")) == length(String.split(source, "\n"))
    end
  end

  # With all lines and columns.
  defp quoted(source), do: Code.string_to_quoted!(source, columns: true, token_metadata: false)

  test "of a Cargo.toml, the package has all but what tests depend on" do
    toml =
      "[dependencies]\na = \"1\"\n\n[dev-dependencies]\nb = \"1\"\nc = { version = \"1\" " <>
        "}\n\n[lints.rust]\nd = \"warn\"\n"

    assert [before, left_out, rest] = String.split(SourceStripper.manifest(toml), "\n\n")
    assert before == "[dependencies]\na = \"1\""
    assert left_out =~ ~r/\A# Comments, tests .* are in the repository/
    assert rest == "[lints.rust]\nd = \"warn\"\n"

    refute SourceStripper.manifest("[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"1\"") =~
             "b ="
  end

  describe "the package" do
    defp files, do: Mix.Project.config()[:package][:files]

    # What cargo needs to know it has learnt when it built the worker.
    setup do
      Vm.put_env!(%{"CARGO_NET_OFFLINE" => "true"})
      Vm.mix_shell!()
    end

    test "has what users need, in one order, and nothing else" do
      files = files()

      for wanted <-
            ~w(lib/alumiini/git.ex mix.exs Cargo.lock LICENSE NOTICE) ++
              ~w(native/alumiini-git/src/main.rs native/alumiini-git/src/net/mod.rs),
          do: assert(wanted in files)

      assert files == Enum.uniq(files)
      assert Enum.all?(files, &File.regular?/1)
      refute Enum.any?(files, &(&1 =~ ~r/tests|golden|fuzz|^release/))

      {sources, _others} =
        Enum.split_with(files, &String.starts_with?(&1, "native/alumiini-git/src/"))

      assert sources == Enum.sort(sources)
      # What lies in lib/ is for users; what only releases are made with lies elsewhere.
      assert Path.wildcard("lib/**/*.ex") -- files == []

      assert "release/lib/mix/tasks/alumiini_git.checksum.ex" in Path.wildcard(
               "release/lib/**/*.ex"
             )
    end

    test "weighs at most 512 KiB, with a lock that cargo takes as it is" do
      directory = Path.join(TempDir.create!("package"), "package")
      PackageTask.run([directory])
      assert told() =~ ~r/: \d+ bytes as a package, of at most #{@most}/

      # As in a release: checksums do not compress.
      project = Mix.Project.config()

      checksums =
        for target <- Target.all(),
            into: %{},
            do: {Target.archive(project[:version], target), Checksums.sum(target)}

      File.write!(Path.join(directory, Checksums.file_name()), Checksums.format(checksums))
      size = Package.size(directory, Enum.uniq(files() ++ [Checksums.file_name()]), project)
      assert size <= @most

      locked = fn arguments ->
        System.cmd("cargo", arguments, cd: directory, stderr_to_stdout: true)
      end

      assert {_output, 0} = locked.(~w(update --workspace --locked --quiet))
      refute File.read!(Path.join(directory, "Cargo.lock")) =~ "proptest"
      assert {tree, 0} = locked.(~w(tree --locked --edges normal,build --prefix none))

      assert {^tree, 0} =
               System.cmd("cargo", ~w(tree --locked --edges normal,build --prefix none),
                 stderr_to_stdout: true
               )
               |> elsewhere(directory)
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

    # The first line names the directory.
    defp elsewhere({output, status}, directory),
      do: {String.replace(output, File.cwd!(), directory), status}

    test "is not made without cargo, which its lock takes" do
      directory = Path.join(TempDir.create!("package"), "package")
      Vm.put_env!(%{"PATH" => "/nowhere"})
      assert %Mix.Error{message: message} = catch_error(PackageTask.run([directory]))
      assert message =~ "cargo, which writes the package's Cargo.lock, is missing"
      assert %Mix.Error{message: message} = catch_error(PackageTask.run([]))
      assert message =~ "usage"
    end

    # Some minutes, though the worker is not optimised.
    @tag :soak
    @tag timeout: 1_800_000
    test "is all that it takes to build the worker, beside Rust" do
      consumer = Consumer.create!()
      File.rm_rf!(Path.join(consumer.package, "lib"))
      PackageTask.run([Path.join(consumer.dir, "staged")])
      File.cp_r!(Path.join(consumer.dir, "staged"), consumer.package)

      env = %{
        "ALUMIINI_GIT_BUILD" => "1",
        "ALUMIINI_GIT_MIRROR" => "https://localhost:1",
        "PATH" => System.get_env("PATH"),
        "HOME" => System.get_env("HOME"),
        "CARGO_NET_OFFLINE" => "true",
        "CARGO_PROFILE_RELEASE_LTO" => "off",
        "CARGO_PROFILE_RELEASE_OPT_LEVEL" => "0",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS" => "16"
      }

      assert {output, 0} = Consumer.mix(consumer, ["compile"], env)
      assert output =~ "Compiling the worker alumiini-git (cargo build)"
      refute output =~ "warning"
      version = Mix.Project.config()[:version]

      assert {"alumiini-git " <> told, 0} =
               System.cmd(Path.join(consumer.priv, "alumiini-git"), ["--version"])

      assert String.starts_with?(told, version <> " ")
    end
  end
end
