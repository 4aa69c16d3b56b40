defmodule Alumiini.Git.CompileTest do
  # It changes the environment and the current directory, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Precompiled.Provenance
  alias Mix.Tasks.Compile.AlumiiniGit
  alias Alumiini.Git.Test.Vm

  @moduletag :tmp_dir
  @priv "_build/test/lib/compile_test/priv"
  @installed @priv <> "/alumiini-git-test"

  # A project with the sources of a worker, and a `cargo` that notes how it was called and says that
  # it built `built`.
  setup %{tmp_dir: directory} do
    project = Path.join(directory, "project")
    File.mkdir_p!(Path.join(project, "native/alumiini-git/src"))
    module = "CompileTest#{System.unique_integer([:positive])}.MixProject"

    File.write!(Path.join(project, "mix.exs"), """
    defmodule #{module} do
      use Mix.Project
      def project, do: [app: :compile_test, version: "1.0.0-dev"]
    end
    """)

    for source <- [
          "Cargo.toml",
          "Cargo.lock",
          "native/alumiini-git/Cargo.toml",
          "native/alumiini-git/src/main.rs"
        ] do
      path = Path.join(project, source)
      File.write!(path, "")
      File.touch!(path, System.os_time(:second) - 60)
    end

    bin = Path.join(directory, "bin")
    File.mkdir_p!(bin)
    built = Path.join(directory, "built")
    File.write!(built, "first")

    File.write!(Path.join(bin, "cargo"), """
    #!/bin/sh
    echo "$@" >> "#{directory}/calls"
    [ ! -e "#{directory}/broken" ] || exit 101
    echo '{"reason":"compiler-artifact","executable":null}'
    echo '{"reason":"compiler-artifact","executable":"#{built}","fresh":false}'
    """)

    File.chmod!(Path.join(bin, "cargo"), 0o755)

    Vm.put_env!([
      {"PATH", bin <> ":" <> System.get_env("PATH")},
      {"ALUMIINI_GIT_PATH", nil},
      {"ALUMIINI_GIT_BUILD", nil},
      {"TARGET_ARCH", nil},
      {"TARGET_OS", nil},
      {"CARGO_TARGET_DIR", nil}
    ])

    Vm.mix_shell!()

    %{project: project, built: built, calls: Path.join(directory, "calls"), directory: directory}
  end

  defp compile(%{project: project}) do
    Mix.Project.in_project(:compile_test, project, fn _module -> AlumiiniGit.run([]) end)
  end

  defp calls(%{calls: calls}), do: calls |> File.read!() |> String.split("\n", trim: true)
  defp installed(%{project: project}), do: File.read!(Path.join(project, @installed))

  test "builds with cargo and installs what was built; for tests with faults, and apart from " <>
         "others",
       context do
    assert {:ok, []} = compile(context)
    assert installed(context) == "first"
    assert [call] = calls(context)
    assert call =~ "build --locked"
    assert call =~ "--profile quick"
    assert call =~ "--features fault-injection"
    assert call =~ ~r{--target-dir \S+/target/fault-injection}
    assert {:ok, %{mode: mode}} = File.stat(Path.join(context.project, @installed))
    assert Bitwise.band(mode, 0o111) == 0o111
    name = Path.basename(@installed)
    assert Enum.sort(File.ls!(Path.join(context.project, @priv))) == [name, name <> ".origin"]
  end

  test "does nothing when nothing changed, and builds when a source did", context do
    assert {:ok, []} = compile(context)
    assert {:noop, []} = compile(context)
    assert length(calls(context)) == 1

    File.write!(context.built, "second")

    File.touch!(
      Path.join(context.project, "native/alumiini-git/src/main.rs"),
      System.os_time(:second) + 60
    )

    assert {:ok, []} = compile(context)
    assert installed(context) == "second"
  end

  test "builds when what is installed is not what it installed", context do
    assert {:ok, []} = compile(context)
    File.write!(Path.join(context.project, @installed), "somebody else's")
    assert {:ok, []} = compile(context)
    assert installed(context) == "first"

    File.rm!(Path.join(context.project, @installed))
    assert {:ok, []} = compile(context)
    assert installed(context) == "first"
  end

  test "tells when cargo fails, keeps what was there, and tries again", context do
    assert {:ok, []} = compile(context)
    File.touch!(Path.join(context.project, "Cargo.lock"), System.os_time(:second) + 60)
    broken = Path.join(context.directory, "broken")
    File.write!(broken, "")
    assert {:error, [%{message: message, severity: :error}]} = compile(context)
    assert message =~ "exit status 101"
    assert installed(context) == "first"
    File.rm!(broken)
    assert {:ok, []} = compile(context)
  end

  test "tells when there is no cargo, and what to do", context do
    System.put_env("PATH", "/nowhere")
    assert {:error, [%{message: message}]} = compile(context)
    assert message =~ "cargo"
    assert message =~ "ALUMIINI_GIT_PATH"
    assert_received {:mix_shell, :error, [^message]}
  end

  # A worker of that protocol, as far as it is asked.
  defp worker(protocol),
    do: "#!/bin/sh\necho alumiini-git 9.8.7 protocol #{protocol} libgit2 1.9.7 test\n"

  test "takes the binary that it is given, and builds nothing", context do
    given = Path.join(context.directory, "given")
    File.write!(given, worker(1))
    File.touch!(given, System.os_time(:second) - 60)
    System.put_env("ALUMIINI_GIT_PATH", given)
    assert {:ok, []} = compile(context)
    assert installed(context) == worker(1)
    assert {:noop, []} = compile(context)
    refute File.exists?(context.calls)

    System.put_env("ALUMIINI_GIT_PATH", given <> ".missing")
    assert {:error, [%{message: message}]} = compile(context)
    assert message =~ "given.missing"
    System.put_env("ALUMIINI_GIT_PATH", context.directory)
    assert {:error, [%{message: message}]} = compile(context)
    assert message =~ "not a file"

    # Without it, what is installed is not taken for what was built.
    System.put_env("ALUMIINI_GIT_PATH", "")
    assert {:ok, []} = compile(context)
    assert installed(context) == "first"
  end

  test "does not take one that is given and does not run here, or speaks another protocol",
       context do
    given = Path.join(context.directory, "given")
    File.write!(given, worker(1))
    System.put_env("ALUMIINI_GIT_PATH", given)
    assert {:ok, []} = compile(context)

    for {program, words} <- [
          {worker(7),
           "version 9.8.7 and speaks protocol 7, where this version of alumiini_git speaks 1"},
          {"#!/bin/sh\necho hello\n", "is no worker"},
          {"\x7fELF garbage", "is not for this machine"}
        ] do
      File.write!(given, program)
      assert {:error, [%{message: message}]} = compile(context)
      assert message =~ "the worker #{given} cannot be used"
      assert message =~ words
      assert installed(context) == worker(1)
    end

    # For another machine it is not asked.
    System.put_env("TARGET_ARCH", "arm")
    assert {:ok, []} = compile(context)
    assert installed(context) == "\x7fELF garbage"
  end

  test "builds for the target that TARGET_ARCH and its like name", context do
    System.put_env("TARGET_ARCH", "arm")
    assert {:ok, []} = compile(context)
    assert [call] = calls(context)
    assert call =~ "--target armv7-unknown-linux-gnueabihf"
  end

  test "says that there is none for Windows, and does not try to build one", context do
    System.put_env("TARGET_OS", "windows")
    assert {:error, [%{message: message}]} = compile(context)
    assert message =~ "there is no worker for Windows"
    refute File.exists?(context.calls)
  end

  test "notes where the binary came from", context do
    assert {:ok, []} = compile(context)

    assert {:ok, %{"from" => "built from source"}} =
             Provenance.read(Path.join(context.project, @installed))

    File.write!(context.built, worker(1))
    System.put_env("ALUMIINI_GIT_PATH", context.built)
    assert {:ok, []} = compile(context)
    assert {:ok, %{"from" => from}} = Provenance.read(Path.join(context.project, @installed))
    assert from == "given with ALUMIINI_GIT_PATH: #{context.built}"
  end

  test "removes what it installed", context do
    assert {:ok, []} = compile(context)
    Mix.Project.in_project(:compile_test, context.project, fn _module -> AlumiiniGit.clean() end)
    assert File.ls!(Path.join(context.project, @priv)) == []
    assert {:ok, []} = compile(context)
  end
end
