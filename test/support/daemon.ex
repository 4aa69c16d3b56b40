defmodule Alumiini.Git.Test.Daemon do
  @moduledoc """
  A server program of the system, run in the foreground: what it prints, and an end that it cannot
  miss.

      sshd = start_supervised!({Daemon, program: "sshd", args: ["-D", "-e", "-f", config]})
      Daemon.await(sshd, ~r/Server listening/)

  It ends with the process that runs it here, also where the BEAM is killed: a shell beside it reads
  the port's pipe, and ends the program when that does.
  """

  use GenServer

  alias Alumiini.Git.Test.{GitCommand, OsProcess}

  # The pipe is read in the background, since the shell has to wait for the program. A shell gives
  # background jobs an empty standard input, so the pipe goes there by another number.
  @beside """
  exec 3<&0
  "$@" 3<&- </dev/null 2>&1 &
  program=$!
  # Where the shell would say how it ended.
  exec 2>/dev/null
  echo "pid $program"
  { cat <&3; kill "$program"; } >/dev/null &
  exec 3<&-
  wait "$program"
  """

  @type daemon :: GenServer.server()

  @doc """
  Starts a program. Options:

    * `:program` - its name or path (required). `sbin` directories are looked into, too
    * `:args`, `:env`, `:cd`
    * `:package` - what to install where it is missing, for the message
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options = Keyword.validate!(options, [:program, :package, :cd, args: [], env: []])
    GenServer.start_link(__MODULE__, Keyword.put(options, :program, find!(options)))
  end

  def child_spec(options) do
    # Ends are waited for, so that nothing is at work where the test was.
    %{
      id: make_ref(),
      start: {__MODULE__, :start_link, [options]},
      restart: :temporary,
      shutdown: 15_000
    }
  end

  @doc """
  The path of a program; raises with what to install where there is none, since no test may pass for
  want of it.
  """
  @spec find!(keyword) :: Path.t()
  def find!(options) do
    program = Keyword.fetch!(options, :program)
    # Not in the PATH of most users.
    elsewhere = Enum.map(["/usr/sbin", "/usr/local/sbin", "/sbin"], &Path.join(&1, program))

    System.find_executable(program) || Enum.find(elsewhere, &File.exists?/1) ||
      raise "#{program} is missing; install #{options[:package] || program} (bin/setup checks does)"
  end

  @spec os_pid(daemon) :: OsProcess.os_pid()
  def os_pid(daemon), do: GenServer.call(daemon, :os_pid)

  @doc "What it printed, on standard output and standard error, oldest first."
  @spec lines(daemon) :: [String.t()]
  def lines(daemon), do: GenServer.call(daemon, :lines)

  @doc "How many lines so far match."
  @spec count(daemon, Regex.t()) :: non_neg_integer
  def count(daemon, regex), do: daemon |> lines() |> Enum.count(&(&1 =~ regex))

  @doc """
  Waits until so many lines have matched since it began. Raises with all that it printed where they
  do not come in time, or cannot come because it has ended.
  """
  @spec await(daemon, Regex.t(), pos_integer, timeout) :: :ok
  def await(daemon, regex, count \\ 1, timeout \\ 10_000) do
    case reached(daemon, regex, count, timeout) do
      :ok -> :ok
      {:error, lines} -> raise "not #{count} × #{inspect(regex)} among:\n#{Enum.join(lines, "\n")}"
    end
  end

  @doc "As `await/4`, for those who know what to do where it does not come."
  @spec reached(daemon, Regex.t(), pos_integer, timeout) :: :ok | {:error, [String.t()]}
  def reached(daemon, regex, count, timeout) do
    ref = GenServer.call(daemon, {:notify, regex, count})

    receive do
      {^ref, :ok} -> :ok
      {^ref, :exited} -> {:error, lines(daemon)}
    after
      timeout ->
        GenServer.call(daemon, {:forget, ref})

        # It may have come in between.
        receive do
          {^ref, :ok} -> :ok
        after
          0 -> {:error, lines(daemon)}
        end
    end
  end

  ## Server

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    port =
      Port.open(
        {:spawn_executable, "/bin/sh"},
        [
          :binary,
          :exit_status,
          line: 65_536,
          args: ["-c", @beside, "sh", options[:program] | options[:args]],
          env: GitCommand.charlists(options[:env])
        ] ++ Keyword.take(options, [:cd])
      )

    receive do
      {^port, {:data, {:eol, "pid " <> pid}}} ->
        state = %{
          port: port,
          os_pid: String.to_integer(pid),
          lines: [],
          part: "",
          waiting: [],
          ended?: false
        }

        {:ok, state}
    end
  end

  @impl true
  def handle_call(:os_pid, _from, state), do: {:reply, state.os_pid, state}
  def handle_call(:lines, _from, state), do: {:reply, Enum.reverse(state.lines), state}

  def handle_call({:notify, regex, count}, {pid, _tag}, state) do
    ref = make_ref()
    {:reply, ref, tell(%{state | waiting: [{ref, pid, regex, count} | state.waiting]})}
  end

  def handle_call({:forget, ref}, _from, state) do
    {:reply, :ok, %{state | waiting: Enum.reject(state.waiting, &(elem(&1, 0) == ref))}}
  end

  @impl true
  def handle_info({port, {:data, {:noeol, part}}}, %{port: port} = state) do
    {:noreply, %{state | part: state.part <> part}}
  end

  def handle_info({port, {:data, {:eol, rest}}}, %{port: port} = state) do
    {:noreply,
     tell(%{state | lines: [String.trim_trailing(state.part <> rest) | state.lines], part: ""})}
  end

  def handle_info({port, {:exit_status, _status}}, %{port: port} = state) do
    {:noreply, tell(%{state | ended?: true})}
  end

  def handle_info({:EXIT, port, _reason}, %{port: port} = state), do: {:noreply, state}
  def handle_info({:EXIT, _parent, reason}, state), do: {:stop, reason, state}

  defp tell(state) do
    waiting =
      Enum.reject(state.waiting, fn {ref, pid, regex, count} ->
        cond do
          Enum.count(state.lines, &(&1 =~ regex)) >= count -> send(pid, {ref, :ok})
          state.ended? -> send(pid, {ref, :exited})
          true -> nil
        end
      end)

    %{state | waiting: waiting}
  end

  @impl true
  def terminate(_reason, state) do
    children = OsProcess.descendants(state.os_pid)
    if Port.info(state.port), do: Port.close(state.port)
    if OsProcess.await_exit(state.os_pid) == :timeout, do: OsProcess.kill(state.os_pid, :KILL)
    # What it leaves behind would hold the test's directory, and its ports.
    for pid <- children, OsProcess.alive?(pid) do
      OsProcess.kill(pid, :KILL)
      OsProcess.await_exit(pid)
    end
  end
end
