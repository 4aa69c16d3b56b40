defmodule Alumiini.Git.Server.Worker do
  @moduledoc false

  # One worker process: its port, its writer, and how it comes and goes. The functions run in the
  # server, which owns the port; none of them waits for the worker.

  alias Alumiini.Git.{Addresses, Options}
  alias Alumiini.Git.Server.{Binary, Protocol, Writer}

  @enforce_keys [:port, :writer, :binary, :job, :attempt, :hello_id, :opened_at]
  defstruct [
    :port,
    :writer,
    :os_pid,
    :binary,
    # :main, or {:isolated, id} for a worker that runs one suspect
    :job,
    :attempt,
    :hello_id,
    :opened_at,
    :up_at,
    :version,
    :target,
    :libgit2,
    # The handshake's timer; later that of a kill that has no effect.
    :timer,
    # Why we end it, where we do.
    :ending,
    # The id of a `ping` that has not been answered.
    :ping,
    status: :starting,
    # When it wrote something last.
    heard_at: nil,
    # It answered something.
    proven?: false,
    # It never came up, and what follows from that has been done.
    settled?: false,
    # Requests that nobody waits for any more and that it has not let go of: id => timer of the
    # grace period.
    releasing: %{}
  ]

  @type t :: %__MODULE__{
          port: port,
          writer: pid,
          os_pid: non_neg_integer | nil,
          binary: Path.t(),
          job: job,
          attempt: pos_integer,
          hello_id: pos_integer,
          opened_at: integer,
          up_at: integer | nil,
          version: String.t() | nil,
          target: String.t() | nil,
          libgit2: String.t() | nil,
          timer: reference | nil,
          ending: cause | nil,
          ping: pos_integer | nil,
          status: :starting | :up | :killed,
          heard_at: integer | nil,
          proven?: boolean,
          settled?: boolean,
          releasing: %{pos_integer => reference}
        }

  @type job :: :main | {:isolated, pos_integer}

  @typedoc """
  Why a worker is not there: for a program (`:why`, in telemetry), and for people. `final?` where
  the next attempt will fail like this one unless somebody does something; `:repeated` where that is
  so if several attempts fail.
  """
  @type cause :: %{
          why: term,
          reason: :worker_unavailable | :protocol,
          message: String.t(),
          final?: boolean | :repeated
        }

  @build "Compile the dependency again (`mix deps.compile alumiini_git --force`), or give " <>
           "another one with the :binary option"

  @spec open(Options.Check.start(), job, pos_integer, pos_integer) :: {:ok, t} | {:error, cause}
  def open(options, job, attempt, hello_id) do
    with {:ok, path} <- locate(options.binary),
         {:ok, port} <- open_port(path) do
      worker = %__MODULE__{
        port: port,
        writer: Writer.start_link(port, options.name),
        os_pid: os_pid(port),
        binary: path,
        job: job,
        attempt: attempt,
        hello_id: hello_id,
        opened_at: System.monotonic_time()
      }

      Writer.write(worker.writer, hello_id, %{
        "op" => "hello",
        "id" => hello_id,
        "protocol" => Protocol.version(),
        "max_requests" => options.max_requests,
        "max_requests_per_host" => options.max_requests_per_host,
        "max_requests_per_second_per_host" => rate(options.max_requests_per_second_per_host),
        "schemes" => options.schemes && Enum.map(options.schemes, &Atom.to_string/1),
        "allow_local" => options.allow_local,
        "addresses" => Addresses.to_wire(options.addresses),
        "root" => options.root
      })

      Writer.describe(worker.writer, worker)
      {:ok, worker}
    end
  end

  defp rate(:infinity), do: nil
  defp rate(rate), do: rate

  defp locate(binary) do
    with {:error, message} <- Binary.locate(binary) do
      {:error, %{why: :no_binary, reason: :worker_unavailable, message: message, final?: true}}
    end
  end

  defp open_port(path) do
    options = [
      {:packet, 4},
      :binary,
      :exit_status,
      :use_stdio,
      :hide,
      {:args, []},
      {:env, Binary.scrubbed_env()}
    ]

    {:ok, Port.open({:spawn_executable, path}, options)}
  rescue
    error in ErlangError -> {:error, not_opened(path, error.original)}
    _error in [SystemLimitError, ArgumentError] -> {:error, not_opened(path, :system_limit)}
  end

  defp not_opened(path, :enoent) do
    unavailable(:enoent, "there is no worker binary at #{path}. #{@build}", true)
  end

  defp not_opened(path, :eacces) do
    unavailable(
      :eacces,
      "the worker binary #{path} may not be executed; check its permissions",
      true
    )
  end

  defp not_opened(path, why) do
    unavailable(why, "the worker #{path} could not be started (#{inspect(why)})", false)
  end

  defp os_pid(port) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> os_pid
      nil -> nil
    end
  end

  @doc "The worker with what its answer to `hello` says, or why it cannot be used."
  @spec handshake(t, map) :: {:ok, t} | {:error, cause}
  def handshake(worker, reply) do
    ours = Protocol.version()

    case reply do
      %{"ok" => %{"protocol" => ^ours} = hello} ->
        {:ok,
         %{
           worker
           | status: :up,
             up_at: System.monotonic_time(),
             version: text(hello, "version"),
             target: text(hello, "target"),
             libgit2: text(hello, "libgit2")
         }}

      %{"ok" => %{"protocol" => theirs} = hello} when is_integer(theirs) ->
        {:error, versions(worker, "protocol #{theirs} (version #{text(hello, "version")})")}

      # It may know better than to claim what it does not speak. Its sentence names its own version.
      %{"err" => message} when is_binary(message) ->
        {:error, versions(worker, "another one and says: #{message}")}

      _no_answer_to_hello ->
        {:error, garbage(worker)}
    end
  end

  defp text(hello, key) do
    case hello do
      %{^key => text} when is_binary(text) -> :binary.copy(text)
      _unknown -> "unknown"
    end
  end

  defp versions(worker, theirs) do
    %{
      why: :protocol,
      reason: :protocol,
      message:
        "this version of alumiini_git speaks protocol #{Protocol.version()} with its worker, " <>
          "but #{worker.binary} speaks #{theirs}. If the dependency was upgraded while this " <>
          "application ran, restart it. #{@build}",
      final?: true
    }
  end

  @doc "A cause for each way in which the port may tell that its process is gone."
  @spec gone(t, {:exit_status, integer} | {:exit, term}) :: cause
  # The runtime's own helper ends like this where what it is to run is no program of this machine:
  # ENOEXEC, and EBADARCH on macOS.
  def gone(%{up_at: nil} = worker, {:exit_status, status}) when status in [8, 86] do
    unavailable(
      :enoexec,
      "the worker binary #{worker.binary} is none for this machine. #{@build}",
      true
    )
  end

  # ENOENT of a file that is there: what loads it is not. EACCES of one that may be executed: it is
  # a directory, or on a file system for data only. Others are what a program or its loader says
  # that is none of ours. Not signals, nor errors of a system that lacks something for now.
  def gone(%{up_at: nil} = worker, {:exit_status, status} = why)
      when status in [0, 1, 2, 13, 126, 127] do
    hint =
      case status do
        2 -> " (is it for another libc, glibc or musl?)"
        13 -> " (is it a file that may be executed?)"
        _other -> ""
      end

    message =
      "#{worker.binary} ended with exit status #{status} before it was up#{hint}; is it the " <>
        "worker of alumiini_git, for " <>
        "this system? #{@build}"

    unavailable(why, message, if(status in [0, 1], do: :repeated, else: true))
  end

  def gone(worker, {:exit_status, status} = why) do
    unavailable(
      why,
      "the worker #{worker.binary} ended with exit status #{status}#{signal(status)}",
      false
    )
  end

  # No exit status where a write found the pipe closed (:epipe) before the exit was noticed.
  def gone(worker, {:exit, why}) do
    unavailable(
      {:port, why},
      "the worker #{worker.binary} closed its standard input or output (#{inspect(why)})",
      false
    )
  end

  # As shells have it: 128 and the signal.
  defp signal(status) when status > 128, do: " (killed by signal #{status - 128})"
  defp signal(_status), do: ""

  @spec late(t, pos_integer) :: cause
  def late(worker, timeout) do
    message =
      "#{worker.binary} did not answer the handshake within #{timeout} ms; is it the worker " <>
        "of alumiini_git?"

    unavailable(:handshake_timeout, message, false)
  end

  @spec garbage(t) :: cause
  def garbage(worker) do
    message =
      "#{worker.binary} wrote something to standard output that is no frame; is it the worker " <>
        "of alumiini_git?"

    # One that was up was the worker; then it is its memory that is damaged.
    unavailable(:garbage, message, if(worker.up_at == nil, do: :repeated, else: false))
  end

  @spec unresponsive(t, pos_integer) :: cause
  def unresponsive(worker, grace) do
    message =
      "the worker #{worker.binary} did not let go of a cancelled request within #{grace} ms " <>
        "and was killed"

    unavailable(:unresponsive, message, false)
  end

  @spec silent(t, pos_integer) :: cause
  def silent(worker, heartbeat) do
    message = "the worker #{worker.binary} did not answer for #{heartbeat} ms and was killed"
    unavailable(:silent, message, false)
  end

  @spec writer_gone(t) :: cause
  def writer_gone(worker) do
    unavailable(:writer, "the process that writes to the worker #{worker.binary} is gone", false)
  end

  defp unavailable(why, message, final?) do
    %{why: why, reason: :worker_unavailable, message: message, final?: final?}
  end

  @doc """
  Ends a worker that may not listen any more. Its port tells when it is gone; until then the process
  id is its own. The server gets `{:abandon, port}` where the kill had no effect.
  """
  @spec kill(t, cause) :: t
  def kill(%__MODULE__{status: :killed} = worker, _cause), do: worker

  def kill(worker, cause) do
    server = self()
    spawn(fn -> if run_kill(worker) == :error, do: send(server, {:abandon, worker.port}) end)
    %{worker | status: :killed, ending: cause}
  end

  @doc """
  The same for a server that is about to end itself: returns when it is done, or after a second.
  """
  @spec kill_and_wait(t) :: :ok
  def kill_and_wait(worker) do
    {pid, ref} = spawn_monitor(fn -> run_kill(worker) end)

    receive do
      {:DOWN, ^ref, :process, ^pid, _reason} -> :ok
    after
      1_000 -> :ok
    end
  end

  defp run_kill(%{os_pid: nil}), do: :error

  defp run_kill(%{binary: binary, os_pid: os_pid}) do
    env = for {name, false} <- Binary.scrubbed_env(), do: {List.to_string(name), nil}

    arguments = ["--kill", Integer.to_string(os_pid)]

    case System.cmd(binary, arguments, env: env, stderr_to_stdout: true) do
      {_output, 0} -> :ok
      {_output, _status} -> :error
    end
  rescue
    # The binary is not there any more.
    _not_started in [ErlangError, ArgumentError] -> :error
  end

  @doc "Closes the port: the worker reads the end of its input and exits."
  @spec close(t) :: :ok
  def close(worker) do
    forget(worker)
    Port.close(worker.port)
    :ok
  rescue
    # It was closed already.
    ArgumentError -> :ok
  end

  @doc """
  Ends what belongs to a worker on this side. A writer that is suspended on a port that hangs is
  released by this.
  """
  @spec forget(t) :: :ok
  def forget(worker) do
    Process.unlink(worker.writer)
    Process.exit(worker.writer, :kill)
    _ = if worker.timer, do: Process.cancel_timer(worker.timer)
    Enum.each(worker.releasing, fn {_id, timer} -> Process.cancel_timer(timer) end)
  end

  @doc "Whether it has proved to be of use: it answered something, or stayed up for five seconds."
  @spec proven?(t) :: boolean
  def proven?(%__MODULE__{up_at: nil}), do: false

  def proven?(worker) do
    worker.proven? or
      System.monotonic_time() - worker.up_at >= System.convert_time_unit(5, :second, :native)
  end
end
