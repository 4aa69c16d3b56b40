defmodule Alumiini.Git.CrossTest do
  # What `cross` builds and tests the worker with, as far as that takes no container: that all names
  # agree, and what is run. `make cross-test` and hosted CI do the rest.
  use ExUnit.Case, async: true

  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Test.TempDir

  @root Path.expand("../..", __DIR__)
  # Tested and not released.
  @tests_only ["s390x-unknown-linux-gnu"]
  @host "x86_64-unknown-linux-gnu"

  defp read!(file), do: File.read!(Path.join(@root, file))

  defp configured do
    for [_, target] <- Regex.scan(~r/^\[target\.([\w-]+)\.dockerfile\]$/m, read!("Cross.toml")),
        do: target
  end

  test "there is an image for each Linux target, and for what is only tested" do
    linux = Enum.filter(Target.all(), &(&1 =~ "-linux-"))
    assert Enum.sort(configured()) == Enum.sort(linux ++ @tests_only)

    built = for [_, target] <- Regex.scan(~r/TARGET = "([^"]+)"/, read!("Cross.toml")), do: target
    assert built == configured()

    # Cargo asks the environment by the target's name.
    image = read!("native/cross/Dockerfile")

    for target <- configured(), target != @host, tool <- ["LINKER", "RUNNER"] do
      name = target |> String.upcase() |> String.replace("-", "_")
      assert image =~ "CARGO_TARGET_#{name}_#{tool}=target-"
    end

    assert image =~ ~r/^ARG DEBIAN=\S+:bookworm-\d+-slim@sha256:[0-9a-f]{64}$/m
    assert read!("bin/release/pins") =~ ~r/^cross=\d+\.\d+\.\d+$/m
  end

  test "hosted CI tests all but those that are tested natively" do
    workflow = read!(".github/workflows/ci.yml")
    [_, job] = Regex.run(~r/^  cross:\n(.*?)(?=^  \w|\z)/ms, workflow)

    rows =
      for [_, target, build] <- Regex.scan(~r/\{ target: ([\w-]+), build: (\w+) \}/, job),
          do: {target, build == "true"}

    musl_and_host = for target <- configured(), target =~ "-musl" or target == @host, do: target

    assert Enum.sort(Enum.map(rows, &elem(&1, 0))) ==
             Enum.sort(configured() -- musl_and_host)

    for {target, build?} <- rows,
        do: assert({target, build?} == {target, target not in @tests_only})
  end

  ## What is run

  # A checkout's scripts; in place of what they call, programs that note how they were called.
  setup do
    root = TempDir.create!("cross")
    bin = Path.join(root, "programs")
    File.mkdir_p!(bin)
    File.mkdir_p!(Path.join(root, "bin"))
    for path <- ["bin/in-env", "bin/cross-test", "Cross.toml"], do: copy!(root, path)
    File.cp_r!(Path.join(@root, "bin/release"), Path.join(root, "bin/release"))
    [_, version] = Regex.run(~r/^cross=(\S+)$/m, read!("bin/release/pins"))

    program!(Path.join(bin, "docker"), "exit 0")

    program!(Path.join(bin, "rustup"), """
    case "$*" in
      *target-libdir*|*sysroot*) echo "#{bin}" ;;
      *--verbose*) echo "commit-hash: abc" ;;
    esac
    """)

    cross = Path.join(root, "target/cross-tools/#{version}/bin/cross")

    program!(cross, """
    for argument in "$@"; do echo "$argument"; done >"#{root}/arguments"
    names='CARGO_ENCODED_RUSTFLAGS|CARGO_TARGET_DIR|CROSS_CONTAINER_ENGINE|RUSTUP_TOOLCHAIN'
    env | grep -E "^($names)=" >"#{root}/environment"
    for argument in "$@"; do
      case "$before" in --target-dir) out=$argument ;; esac
      before=$argument
    done
    mkdir -p "$out/#{@host}/release"
    echo "a worker" >"$out/#{@host}/release/alumiini-git"
    """)

    path = Enum.join([bin, "/usr/bin", "/bin"], ":")
    %{root: root, bin: bin, env: [{"PATH", path}, {"CROSS_CONTAINER_ENGINE", nil}]}
  end

  defp copy!(root, path), do: File.cp!(Path.join(@root, path), Path.join(root, path))

  defp program!(path, code) do
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, "#!/bin/sh\n" <> code)
    File.chmod!(path, 0o755)
  end

  defp run(context, script, arguments, env \\ []) do
    options = [stderr_to_stdout: true, cd: context.root, env: context.env ++ env]
    System.cmd(Path.join(context.root, script), arguments, options)
  end

  defp noted(context, what),
    do: context.root |> Path.join(what) |> File.read!() |> String.split("\n")

  test "cross-test runs all tests of the worker but those that say nothing there", context do
    assert {"", 0} = run(context, "bin/cross-test", [@host, "repo::pack"])
    arguments = noted(context, "arguments")
    assert ["test", "--locked" | _] = arguments
    assert ["--target", @host] = arguments |> Enum.drop_while(&(&1 != "--target")) |> Enum.take(2)
    [_tests, given] = Enum.chunk_by(arguments, &(&1 == "--")) |> Enum.reject(&(&1 == ["--"]))
    assert ["repo::pack", "--skip" | _] = given
    assert "CROSS_CONTAINER_ENGINE=docker" in noted(context, "environment")

    # Tests that are skipped are there.
    files = Path.wildcard(Path.join(@root, "native/alumiini-git/{src,tests}/**/*.rs"))
    sources = Enum.map_join(files, &File.read!/1)

    for ["--skip", skipped] <- given |> tl() |> Enum.reject(&(&1 == "")) |> Enum.chunk_every(2) do
      name = skipped |> String.split("::") |> List.last()
      assert sources =~ "fn #{name}("
    end
  end

  test "build --with cross builds in a container, and shows none of its directories", context do
    out = Path.join(context.root, "out/worker")
    env = [{"CARGO_HOME", context.bin}, {"CARGO_TARGET_DIR", Path.join(context.root, "elsewhere")}]
    assert {output, 0} = run(context, "bin/release/build", ["--with", "cross", @host, out], env)
    assert output =~ "9 bytes, for #{@host}"
    assert File.read!(out) == "a worker\n"
    assert ["build", "--locked", "--release" | _] = noted(context, "arguments")
    environment = noted(context, "environment")
    assert [flags] = Enum.filter(environment, &String.starts_with?(&1, "CARGO_ENCODED_RUSTFLAGS="))
    assert flags =~ "--remap-path-prefix=/project=/alumiini-git"
    refute Enum.any?(environment, &(&1 =~ ~r/^CARGO_TARGET_DIR=/))
  end

  test "what is missing, or wrong, is said", context do
    build = &run(context, "bin/release/build", &1)
    assert {output, 2} = build.(["--with", "zag", @host, "out"])
    assert output =~ ~s(--with takes cross, and not "zag")
    assert {output, 2} = build.(["--with", "cross", @host])
    assert output =~ "give a target and a file"
    assert {output, 1} = build.(["--with", "cross", "aarch64-apple-darwin", "out"])
    assert output =~ "cross builds for Linux only"

    assert {output, 2} = run(context, "bin/cross-test", [])
    assert output =~ "for which target?"
    assert {output, 3} = run(context, "bin/cross-test", ["sparc64-unknown-linux-gnu"])
    assert output =~ "sparc64-unknown-linux-gnu: not one of Cross.toml"

    engine = [{"CROSS_CONTAINER_ENGINE", "no-such-engine"}]
    assert {output, 3} = run(context, "bin/cross-test", [@host], engine)
    assert output =~ "no-such-engine is not installed"
    File.rm!(Path.join(context.bin, "rustup"))
    # Nor where it is looked for beside PATH.
    elsewhere = [{"CARGO_HOME", context.bin}]
    assert {output, 3} = run(context, "bin/cross-test", [@host], elsewhere)
    assert output =~ "rustup is missing"
  end
end
