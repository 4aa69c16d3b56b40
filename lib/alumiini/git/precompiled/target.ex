defmodule Alumiini.Git.Precompiled.Target do
  @moduledoc false

  # For which target a binary is wanted: that of the machine which compiles, or that which Nerves
  # and others name with TARGET_*. Pure but for `host/0`, which gathers what is known of this
  # machine.

  @first_tier ~w(
    aarch64-apple-darwin
    aarch64-unknown-linux-gnu
    aarch64-unknown-linux-musl
    x86_64-apple-darwin
    x86_64-unknown-linux-gnu
    x86_64-unknown-linux-musl
  )

  @second_tier ~w(
    armv7-unknown-linux-gnueabihf
    riscv64gc-unknown-linux-gnu
  )

  # The dynamic loaders of glibc, without which a binary for it cannot start.
  @gnu_loaders %{
    "x86_64" => ["/lib64/ld-linux-x86-64.so.2"],
    "aarch64" => ["/lib/ld-linux-aarch64.so.1"],
    "armv7" => ["/lib/ld-linux-armhf.so.3"],
    "riscv64gc" => ["/lib/ld-linux-riscv64-lp64d.so.1"]
  }

  @type host :: %{
          architecture: String.t(),
          wordsize: 4 | 8,
          os_type: {atom, atom},
          # Of the dynamic loaders above and those of musl, the ones that are there.
          loaders: [Path.t()]
        }

  @type environment :: %{optional(String.t()) => String.t()}

  @spec first_tier() :: [String.t()]
  def first_tier, do: @first_tier

  @spec all() :: [String.t()]
  def all, do: @first_tier ++ @second_tier

  @doc "The file name of a target's archive."
  @spec archive(version :: String.t(), target :: String.t()) :: String.t()
  def archive(version, target), do: "alumiini-git-v#{version}-#{target}.tar.gz"

  @doc "The one file in it."
  @spec executable() :: String.t()
  def executable, do: "alumiini-git"

  @doc "What is known of this machine."
  @spec host() :: host
  def host do
    loaders = @gnu_loaders |> Map.values() |> List.flatten() |> Enum.filter(&File.exists?/1)

    %{
      architecture: List.to_string(:erlang.system_info(:system_architecture)),
      wordsize: :erlang.system_info(:wordsize),
      os_type: :os.type(),
      loaders: loaders ++ Path.wildcard("/lib/ld-musl-*.so.1")
    }
  end

  @doc "Whether the environment names another target than this machine."
  @spec cross?(environment) :: boolean
  def cross?(environment),
    do: Enum.any?(~w(TARGET_ARCH TARGET_OS TARGET_ABI), &given(environment, &1))

  @doc """
  Whether there can be a worker at all, precompiled or built; if not, a sentence that says so.
  """
  @spec possible(host, environment) :: :ok | {:error, String.t()}
  def possible(host, environment) do
    {_arch, host_os, _abi} = describe(host)

    if normal_os(given(environment, "TARGET_OS") || host_os) == "windows",
      do:
        {:error,
         "there is no worker for Windows, and none can be built: it is written for Unix " <>
           "systems. Run the project in WSL 2 or in a " <>
           "container, where the worker for Linux is taken"},
      else: :ok
  end

  @doc "The target to take, as cargo names it, or a sentence that says why there is none."
  @spec resolve(host, environment) :: {:ok, String.t()} | {:error, String.t()}
  def resolve(host, environment) do
    with :ok <- possible(host, environment), do: named(host, environment)
  end

  defp named(host, environment) do
    arch = given(environment, "TARGET_ARCH")
    cpu = given(environment, "TARGET_CPU")
    os = given(environment, "TARGET_OS")
    abi = given(environment, "TARGET_ABI")
    {host_arch, host_os, host_abi} = describe(host)

    # What is not named is as on this machine, but an ABI belongs to its architecture.
    wanted = {
      normal_arch(arch || host_arch),
      normal_os(os || host_os),
      abi || if(arch == nil or normal_arch(arch) == host_arch, do: host_abi)
    }

    case target(wanted, cpu) do
      nil -> {:error, none(wanted, environment)}
      target -> {:ok, target}
    end
  end

  # An arm11 is an ARMv6 (the first Raspberry Pi and Zero), which does not know the instructions of
  # ARMv7.
  defp target({"armv7", "linux", _abi}, "arm11" <> _), do: nil

  defp target({"armv7", "linux", abi}, _cpu) when abi in ["gnueabihf", "gnu", nil],
    do: "armv7-unknown-linux-gnueabihf"

  defp target({"riscv64gc", "linux", abi}, _cpu) when abi in ["gnu", nil],
    do: "riscv64gc-unknown-linux-gnu"

  defp target({arch, "linux", abi}, _cpu) when arch in ["x86_64", "aarch64"] do
    case abi do
      "musl" <> _ -> "#{arch}-unknown-linux-musl"
      gnu when gnu in ["gnu", nil] -> "#{arch}-unknown-linux-gnu"
      _other -> nil
    end
  end

  defp target({arch, "darwin", _abi}, _cpu) when arch in ["x86_64", "aarch64"],
    do: "#{arch}-apple-darwin"

  defp target(_other, _cpu), do: nil

  # On Windows the architecture is called "win32" whatever it is.
  defp describe(%{os_type: {:win32, _}, architecture: architecture}),
    do: {architecture, "windows", nil}

  defp describe(%{architecture: architecture} = host) do
    [arch | rest] = String.split(architecture, "-")
    arch = normal_arch(arch)

    # A 32-bit BEAM on a 64-bit kernel most likely runs in a 32-bit system.
    arch =
      if host.wordsize == 4 and arch in ["x86_64", "aarch64"],
        do: arch <> " with 32 bits",
        else: arch

    {_unix, os} = host.os_type
    os = Atom.to_string(os)
    {arch, os, if(os == "linux", do: abi(arch, List.last(rest), host.loaders))}
  end

  # Musl where the system says so, and where it has no loader of glibc: our binaries for musl are
  # static and need none (Alpine with a BEAM from elsewhere, NixOS, minimal images).
  defp abi(arch, named, loaders) do
    known = Map.get(@gnu_loaders, arch)

    cond do
      named != nil and String.starts_with?(named, "musl") ->
        named

      known != nil and not Enum.any?(known, &(&1 in loaders)) and arch in ["x86_64", "aarch64"] ->
        "musl"

      named in [nil, "linux"] ->
        nil

      true ->
        named
    end
  end

  defp normal_arch(arch) when arch in ["amd64", "x64", "x86_64"], do: "x86_64"
  defp normal_arch(arch) when arch in ["arm64", "aarch64"], do: "aarch64"
  defp normal_arch(arch) when arch in ["riscv64", "riscv64gc"], do: "riscv64gc"
  defp normal_arch(arch) when arch in ["arm", "armv7", "armv7l", "armv7a", "armv8l"], do: "armv7"
  defp normal_arch(arch), do: arch

  defp normal_os(os) when os in ["macos", "darwin"], do: "darwin"
  defp normal_os(os) when os in ["win32", "windows", "nt"], do: "windows"
  defp normal_os(os), do: os

  defp none({arch, os, abi}, environment) do
    named =
      for name <- ~w(TARGET_ARCH TARGET_CPU TARGET_OS TARGET_ABI),
          given(environment, name),
          do: name

    from = if named == [], do: "this machine", else: Enum.join(named, ", ")
    wanted = [arch, os, abi] |> Enum.reject(&is_nil/1) |> Enum.join(", ")
    "there is no precompiled worker for #{from} (#{wanted}); " <> available(all())
  end

  @doc "The rest of a sentence that says there is none: which there are, and how to build one."
  @spec available([String.t()]) :: String.t()
  def available(targets) do
    "there is one for #{Enum.join(Enum.sort(targets), ", ")}. " <>
      "For others, build it: install Rust (https://rustup.rs) and set ALUMIINI_GIT_BUILD=1"
  end

  defp given(environment, name) do
    case Map.get(environment, name) do
      unset when unset in [nil, ""] -> nil
      value -> value |> String.trim() |> String.downcase()
    end
  end
end
