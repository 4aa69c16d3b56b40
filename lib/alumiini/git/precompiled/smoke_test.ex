defmodule Alumiini.Git.Precompiled.SmokeTest do
  @moduledoc false

  # Asks a binary for its version before it takes its place: one for another machine, or without its
  # loader, is found out when the project is compiled and not when it is deployed.

  # Long enough for an emulator on a busy machine.
  @timeout 30_000

  @machines %{3 => "x86", 40 => "arm", 62 => "x86_64", 183 => "aarch64", 243 => "riscv64"}
  # What they are in the names of targets.
  @names %{
    "armv7" => "arm",
    "x86_64" => "x86_64",
    "aarch64" => "aarch64",
    "riscv64gc" => "riscv64",
    "i686" => "x86"
  }

  # A worker of one's own may be of another version, if it speaks the same protocol.
  @type wanted :: {:version, String.t()} | {:protocol, pos_integer}

  @doc "Whether the program at `path` is a worker of that version or protocol."
  @spec run(Path.t(), wanted, timeout) :: :ok | {:error, String.t()}
  def run(path, wanted, timeout \\ @timeout) do
    task = Task.async(fn -> ask(path) end)

    case Task.yield(task, timeout) || Task.shutdown(task, :brutal_kill) do
      {:ok, {output, 0}} -> check(String.split(output), wanted)
      {:ok, {output, status}} -> {:error, cannot_run(path, output, status)}
      {:ok, reason} when is_atom(reason) -> {:error, cannot_run(path, "", reason)}
      nil -> {:error, "it did not say its version within #{div(timeout, 1000)} s"}
    end
  end

  defp ask(path) do
    System.cmd(path, ["--version"],
      stderr_to_stdout: true,
      env: Alumiini.Git.Server.Binary.scrubbed_env() |> unset()
    )
  rescue
    error in ErlangError -> error.original
  end

  defp unset(environment), do: for({name, false} <- environment, do: {List.to_string(name), nil})

  defp check(["alumiini-git", version | _rest], {:version, version}), do: :ok

  defp check(["alumiini-git", other | _rest], {:version, version}),
    do: {:error, "it is version #{clean(other)}, and #{version} is wanted"}

  defp check(["alumiini-git", version, "protocol", told | _rest], {:protocol, protocol}) do
    if told == Integer.to_string(protocol),
      do: :ok,
      else:
        {:error,
         "it is version #{clean(version)} and speaks protocol #{clean(told)}, where this " <>
           "version of alumiini_git speaks #{protocol}"}
  end

  defp check(_other, _wanted), do: {:error, "it is no worker: it does not say its version"}

  defp cannot_run(path, output, status) do
    about = describe(path)
    here = to_string(:erlang.system_info(:system_architecture))

    cond do
      output =~ "GLIBC_" ->
        "it needs a newer glibc than this machine has (#{clean(output)}). TARGET_ABI=musl " <>
          "takes the static binary"

      about[:interpreter] && not File.exists?(about.interpreter) ->
        "it needs the loader #{about.interpreter}, which this machine (#{here}) does not " <>
          "have: #{loader(about)}"

      # What exec says, as an exit status or as a reason, by the release of OTP; 86 is macOS's, for
      # another processor's.
      status in [8, 86, :enoexec] ->
        "it is not for this machine (#{here})" <>
          if(about[:machine], do: ", but for #{about.machine}", else: "")

      status in [13, :eacces] ->
        "it may not be run where it lies: is #{Path.dirname(path)} on a file system that is " <>
          "mounted noexec?"

      true ->
        "it ended with status #{status} when it was asked for its version" <>
          if(output == "", do: "", else: ": #{clean(output)}")
    end
  end

  defp loader(%{interpreter: interpreter}) do
    if interpreter =~ "musl",
      do:
        "it is for musl, and this is not; unset TARGET_ABI, or build it with ALUMIINI_GIT_BUILD=1",
      else: "it is for glibc, and this is not; TARGET_ABI=musl takes the static binary"
  end

  @doc "Whether the program at `path` is for that target, as far as its head says."
  @spec fits(Path.t(), target :: String.t() | nil) :: :ok | {:error, String.t()}
  def fits(_path, nil), do: :ok

  def fits(path, target) do
    found = describe(path)
    [arch | system] = String.split(target, "-")
    linux? = "linux" in system

    cond do
      found[:machine] && linux? && found.machine != Map.get(@names, arch, found.machine) ->
        {:error, "it is for #{found.machine}, and this project is built for #{target}"}

      found[:machine] && not linux? && "darwin" in system ->
        {:error, "it is for Linux, and this project is built for #{target}"}

      found[:system] == :darwin and linux? ->
        {:error, "it is for macOS, and this project is built for #{target}"}

      found[:interpreter] && linux? &&
          String.contains?(found.interpreter, "musl") != "musl" in system ->
        {:error,
         "it needs the loader #{found.interpreter}, and this project is built for #{target}"}

      true ->
        :ok
    end
  end

  @doc """
  What the head of a program says: of an ELF file the machine, and the loader if it needs one;
  whether it is one for macOS.
  """
  @spec describe(Path.t()) :: %{
          optional(:machine) => String.t(),
          optional(:interpreter) => Path.t(),
          optional(:system) => :darwin
        }
  def describe(path) do
    with {:ok, file} <- File.open(path, [:read, :binary, :raw]) do
      try do
        case :file.read(file, 64 * 1024) do
          {:ok, head} -> elf(head)
          _empty -> %{}
        end
      after
        _ = File.close(file)
      end
    else
      {:error, _reason} -> %{}
    end
  end

  # 64 bits, little endian: all that we build but armv7.
  defp elf(
         <<0x7F, "ELF", 2, 1, _::binary-size(12), machine::16-little, _::binary-size(12),
           offset::64-little, _::binary-size(14), size::16-little, count::16-little,
           _::binary>> = head
       )
       when size >= 56 and count < 100 do
    headers = for n <- 0..(count - 1)//1, found = program_header(head, offset + n * size), do: found
    Map.merge(machine(machine), Enum.into(headers, %{}))
  end

  defp elf(<<0x7F, "ELF", _::binary-size(14), machine::16-little, _::binary>>), do: machine(machine)
  # Mach-O, for one architecture and for several.
  defp elf(<<0xCF, 0xFA, 0xED, 0xFE, _::binary>>), do: %{system: :darwin}
  defp elf(<<0xCA, 0xFE, 0xBA, 0xBE, _::binary>>), do: %{system: :darwin}
  defp elf(_other), do: %{}

  defp machine(number), do: %{machine: Map.get(@machines, number, "another machine (#{number})")}

  # Type 3 names the interpreter.
  defp program_header(head, at) when at + 56 <= byte_size(head) do
    with <<3::32-little, _::32, offset::64-little, _::128, size::64-little, _::binary>> <-
           binary_part(head, at, 56),
         true <- size in 2..4096 and offset + size <= byte_size(head) do
      {:interpreter, binary_part(head, offset, size - 1)}
    else
      _other -> nil
    end
  end

  defp program_header(_head, _at), do: nil

  defp clean(output),
    do:
      output
      |> String.split("\n")
      |> hd()
      |> String.replace(~r/[^\x20-\x7e]/, "")
      |> String.slice(0, 200)
end
