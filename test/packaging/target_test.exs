defmodule Alumiini.Git.Precompiled.TargetTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Precompiled.Target

  @gnu ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-linux-armhf.so.3"]

  defp host(architecture, options \\ []) do
    %{
      architecture: architecture,
      wordsize: options[:wordsize] || 8,
      os_type: options[:os_type] || {:unix, :linux},
      loaders: options[:loaders] || @gnu
    }
  end

  test "is that of the machine" do
    mac = [os_type: {:unix, :darwin}, loaders: []]

    for {host, target} <- [
          {host("x86_64-pc-linux-gnu"), "x86_64-unknown-linux-gnu"},
          {host("aarch64-unknown-linux-gnu"), "aarch64-unknown-linux-gnu"},
          {host("amd64-redhat-linux-gnu"), "x86_64-unknown-linux-gnu"},
          # Fedora and SUSE leave the ABI out.
          {host("x86_64-suse-linux"), "x86_64-unknown-linux-gnu"},
          {host("x86_64-pc-linux-musl"), "x86_64-unknown-linux-musl"},
          {host("aarch64-alpine-linux-musl"), "aarch64-unknown-linux-musl"},
          # A BEAM that was built elsewhere, on Alpine, and one on a system that keeps no loader
          # where others do.
          {host("x86_64-pc-linux-gnu", loaders: ["/lib/ld-musl-x86_64.so.1"]),
           "x86_64-unknown-linux-musl"},
          {host("aarch64-unknown-linux-gnu", loaders: []), "aarch64-unknown-linux-musl"},
          # Musl beside glibc (Debian's package musl).
          {host("x86_64-pc-linux-gnu", loaders: ["/lib/ld-musl-x86_64.so.1" | @gnu]),
           "x86_64-unknown-linux-gnu"},
          {host("armv7l-unknown-linux-gnueabihf", wordsize: 4), "armv7-unknown-linux-gnueabihf"},
          {host("arm-unknown-linux-gnueabihf", wordsize: 4), "armv7-unknown-linux-gnueabihf"},
          {host("riscv64-unknown-linux-gnu"), "riscv64gc-unknown-linux-gnu"},
          {host("aarch64-apple-darwin23.5.0", mac), "aarch64-apple-darwin"},
          {host("x86_64-apple-darwin21.6.0", mac), "x86_64-apple-darwin"}
        ] do
      assert {host.architecture, Target.resolve(host, %{})} == {host.architecture, {:ok, target}}
    end
  end

  test "is what Nerves names, whatever the machine is" do
    mac = host("aarch64-apple-darwin23.5.0", os_type: {:unix, :darwin}, loaders: [])

    for host <- [host("x86_64-pc-linux-gnu"), mac],
        {environment, target} <- [
          # rpi3, rpi4
          {%{
             "TARGET_ARCH" => "arm",
             "TARGET_CPU" => "cortex_a7",
             "TARGET_OS" => "linux",
             "TARGET_ABI" => "gnueabihf"
           }, "armv7-unknown-linux-gnueabihf"},
          {%{"TARGET_ARCH" => "aarch64", "TARGET_OS" => "linux", "TARGET_ABI" => "gnu"},
           "aarch64-unknown-linux-gnu"},
          {%{
             "TARGET_ARCH" => "x86_64",
             "TARGET_OS" => "linux",
             "TARGET_ABI" => "musl",
             "TARGET_VENDOR" => "unknown"
           }, "x86_64-unknown-linux-musl"},
          {%{"TARGET_ARCH" => "riscv64", "TARGET_OS" => "linux", "TARGET_ABI" => "gnu"},
           "riscv64gc-unknown-linux-gnu"},
          {%{"TARGET_ARCH" => "x86_64", "TARGET_OS" => "macos"}, "x86_64-apple-darwin"}
        ] do
      assert {environment, Target.resolve(host, environment)} == {environment, {:ok, target}}
      assert Target.cross?(environment)
    end

    linux = host("x86_64-pc-linux-gnu")
    assert Target.resolve(linux, %{"TARGET_ABI" => "musl"}) == {:ok, "x86_64-unknown-linux-musl"}
    assert Target.resolve(linux, %{"TARGET_ARCH" => ""}) == {:ok, "x86_64-unknown-linux-gnu"}
    refute Target.cross?(%{"TARGET_ARCH" => "", "PATH" => "/bin"})
    # What this machine's ABI is says nothing of another's.
    musl = host("x86_64-pc-linux-musl", loaders: [])
    assert Target.resolve(musl, %{"TARGET_ARCH" => "aarch64"}) == {:ok, "aarch64-unknown-linux-gnu"}
  end

  test "where there is none, a sentence names all that there are, and how to build one" do
    for {host, environment, named} <- [
          {host("i686-pc-linux-gnu", wordsize: 4), %{}, "this machine (i686, linux, gnu)"},
          {host("x86_64-pc-linux-gnu", wordsize: 4), %{}, "x86_64 with 32 bits"},
          {host("s390x-ibm-linux-gnu"), %{}, "s390x"},
          {host("amd64-portbld-freebsd14.0", os_type: {:unix, :freebsd}), %{}, "freebsd"},
          # The first Raspberry Pi: Nerves calls it arm, too.
          {host("x86_64-pc-linux-gnu"),
           %{
             "TARGET_ARCH" => "arm",
             "TARGET_CPU" => "arm1176jzf_s",
             "TARGET_OS" => "linux",
             "TARGET_ABI" => "gnueabihf"
           }, "TARGET_ARCH, TARGET_CPU, TARGET_OS, TARGET_ABI (armv7, linux, gnueabihf)"},
          {host("x86_64-pc-linux-gnu"), %{"TARGET_ARCH" => "mipsel"},
           "TARGET_ARCH (mipsel, linux)"},
          {host("x86_64-pc-linux-gnu"), %{"TARGET_ABI" => "uclibc"}, "uclibc"}
        ] do
      assert {:error, sentence} = Target.resolve(host, environment)
      assert sentence =~ named
      for target <- Target.all(), do: assert(sentence =~ target)
      assert sentence =~ "ALUMIINI_GIT_BUILD=1"
    end
  end

  test "is none for Windows, where a build would not work either" do
    for {host, environment} <- [
          {host("win32", os_type: {:win32, :nt}, loaders: []), %{}},
          {host("win32", os_type: {:win32, :nt}, loaders: []), %{"TARGET_ARCH" => "aarch64"}},
          {host("x86_64-pc-linux-gnu"), %{"TARGET_OS" => "windows"}}
        ] do
      assert {:error, sentence} = Target.resolve(host, environment)
      assert {:error, sentence} == Target.possible(host, environment)
      assert sentence =~ "there is no worker for Windows" and sentence =~ "WSL 2"
      refute sentence =~ "ALUMIINI_GIT_BUILD"
    end

    # Nerves, on a Windows machine.
    windows = host("win32", os_type: {:win32, :nt}, loaders: [])

    assert Target.resolve(windows, %{
             "TARGET_ARCH" => "aarch64",
             "TARGET_OS" => "linux",
             "TARGET_ABI" => "gnu"
           }) ==
             {:ok, "aarch64-unknown-linux-gnu"}
  end

  test "of this very machine can be told" do
    assert {:ok, target} = Target.resolve(Target.host(), %{})
    assert target in Target.all()
  end
end
