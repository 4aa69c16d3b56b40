defmodule Alumiini.Git.Test.OsProcess do
  @moduledoc "Looks at processes of the operating system through `/proc` (Linux), and signals them."

  @type os_pid :: pos_integer

  @spec kill(os_pid, :KILL | :STOP | :CONT | :TERM) :: :ok | {:error, String.t()}
  def kill(pid, signal) do
    # `kill` is built into every shell; the program is not everywhere.
    case System.cmd("/bin/sh", ["-c", "kill -#{signal} #{pid}"], stderr_to_stdout: true) do
      {_, 0} -> :ok
      {message, _} -> {:error, message}
    end
  end

  @doc """
  Whether it exists and is no zombie; one of whose threads some still run is alive, and holds its
  files and locks.
  """
  @spec alive?(os_pid) :: boolean
  def alive?(pid) do
    case stat(pid) do
      nil ->
        false

      # The number of threads, see proc_pid_stat(5).
      {_name, [state | fields]} when state in ["Z", "X"] ->
        fields |> Enum.at(16) |> String.to_integer() > 1

      _running ->
        true
    end
  end

  @doc """
  One letter: `R`unning, `S`leeping, `T` stopped, `Z`ombie …; nil where there is no such process.
  """
  @spec state(os_pid) :: String.t() | nil
  def state(pid) do
    case stat(pid) do
      nil -> nil
      {_name, [state | _]} -> state
    end
  end

  @doc """
  Waits until a process that need not be a child of ours has ended. The kernel tells only parents,
  so this looks again and again, and returns as soon as it is so.
  """
  @spec await_exit(os_pid, timeout) :: :ok | :timeout
  def await_exit(pid, timeout \\ 5_000), do: await(fn -> not alive?(pid) end, timeout)

  @doc "Waits until the process is in one of the states, for instance `[\"T\"]` after `:STOP`."
  @spec await_state(os_pid, [String.t()], timeout) :: :ok | :timeout
  def await_state(pid, states, timeout \\ 5_000), do: await(fn -> state(pid) in states end, timeout)

  @doc "Waits for something that only the kernel knows, by looking."
  @spec await((() -> boolean), timeout) :: :ok | :timeout
  def await(condition, timeout) do
    await_until(condition, System.monotonic_time(:millisecond) + timeout)
  end

  defp await_until(condition, deadline) do
    cond do
      condition.() ->
        :ok

      System.monotonic_time(:millisecond) >= deadline ->
        :timeout

      true ->
        receive after: (2 -> await_until(condition, deadline))
    end
  end

  @doc "Direct children."
  @spec children(os_pid) :: [os_pid]
  def children(pid), do: for({child, ^pid} <- parents(), do: child)

  @doc "Children, their children, and so on. Of this BEAM without an argument."
  @spec descendants(os_pid) :: [os_pid]
  def descendants(pid \\ own()), do: descendants([pid], parents(), [])

  defp descendants([], _parents, found), do: found

  defp descendants([pid | rest], parents, found) do
    children = for {child, ^pid} <- parents, do: child
    descendants(children ++ rest, parents, found ++ children)
  end

  @doc """
  Living descendants of this BEAM whose program has that name (the kernel keeps 15 bytes of it).
  """
  @spec named(String.t()) :: [os_pid]
  def named(name) do
    short = binary_part(name, 0, min(byte_size(name), 15))
    for pid <- descendants(), {^short, [state | _]} <- [stat(pid)], state not in ["Z", "X"], do: pid
  end

  @spec own() :: os_pid
  def own, do: String.to_integer(System.pid())

  @doc "Resident memory in bytes; `:peak` for the most it ever had."
  @spec memory(os_pid, :now | :peak) :: non_neg_integer
  def memory(pid, which \\ :now) do
    field = %{now: "VmRSS:", peak: "VmHWM:"}[which]

    "/proc/#{pid}/status"
    |> File.read!()
    |> String.split("\n")
    |> Enum.find_value(0, fn line ->
      case String.split(line) do
        [^field, kilobytes, "kB"] -> String.to_integer(kilobytes) * 1024
        _ -> nil
      end
    end)
  end

  @spec threads(os_pid) :: non_neg_integer
  def threads(pid), do: length(File.ls!("/proc/#{pid}/task"))

  @doc "What each open file descriptor leads to."
  @spec open_files(os_pid) :: [String.t()]
  def open_files(pid) do
    for fd <- ls("/proc/#{pid}/fd"),
        {:ok, target} <- [File.read_link("/proc/#{pid}/fd/#{fd}")],
        do: target
  end

  @doc "The remote ports of its established TCP connections (IPv4)."
  @spec connections(os_pid) :: [:inet.port_number()]
  def connections(pid) do
    inodes =
      for "socket:[" <> rest <- open_files(pid),
          into: MapSet.new(),
          do: String.trim_trailing(rest, "]")

    for line <- "/proc/#{pid}/net/tcp" |> File.read!() |> String.split("\n", trim: true) |> tl(),
        [_, _, remote, "01", _, _, _, _, _, inode | _] <- [String.split(line)],
        MapSet.member?(inodes, inode) do
      [_address, port] = String.split(remote, ":")
      String.to_integer(port, 16)
    end
  end

  @doc "Command line and environment, where no secret may be."
  @spec visible_strings(os_pid) :: binary
  def visible_strings(pid) do
    Enum.map_join(["cmdline", "environ"], "\n", &read("/proc/#{pid}/#{&1}"))
  end

  defp parents do
    for name <- ls("/proc"),
        {pid, ""} <- [Integer.parse(name)],
        {_name, [_state, parent | _]} <- [stat(pid)] do
      {pid, String.to_integer(parent)}
    end
  end

  # The name stands in parentheses and may hold anything, also parentheses and spaces.
  defp stat(pid) do
    with [_, rest] <- :binary.split(read("/proc/#{pid}/stat"), "("),
         [{at, 2} | _] <- rest |> :binary.matches(") ") |> Enum.reverse() do
      {binary_part(rest, 0, at),
       rest |> binary_part(at + 2, byte_size(rest) - at - 2) |> String.split()}
    else
      _ -> nil
    end
  end

  defp read(path) do
    case File.read(path) do
      {:ok, content} -> content
      {:error, _gone} -> ""
    end
  end

  defp ls(path) do
    case File.ls(path) do
      {:ok, names} -> names
      {:error, _gone} -> []
    end
  end
end
