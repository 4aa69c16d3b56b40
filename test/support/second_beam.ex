defmodule Alumiini.Git.Test.SecondBeam do
  @moduledoc """
  Another BEAM with this library in it, as a process of the operating system: for tests of what is
  left when it is killed.
  """

  alias Alumiini.Git.Test.OsProcess

  @enforce_keys [:port, :os_pid]
  defstruct [:port, :os_pid]

  @start "{:ok, _} = Application.ensure_all_started(:alumiini_git)"

  # What was started is linked to the process that runs the code.
  @stay "Process.sleep(:infinity)"

  @type t :: %__MODULE__{port: port, os_pid: pos_integer}

  @doc "Starts one that runs `code`. What that prints comes line by line, see `line!/1`."
  @spec start!(String.t()) :: t
  def start!(code) do
    paths = Enum.flat_map(:code.get_path(), &["-pa", List.to_string(&1)])

    port =
      Port.open({:spawn_executable, System.find_executable("elixir")}, [
        :binary,
        :exit_status,
        {:line, 4096},
        args: paths ++ Enum.flat_map(["IO.puts(System.pid())", @start, code, @stay], &["-e", &1])
      ])

    beam = %__MODULE__{port: port, os_pid: 0}
    # What the port started may be a shell around it.
    os_pid = beam |> line!() |> String.to_integer()
    ExUnit.Callbacks.on_exit(fn -> OsProcess.kill(os_pid, :KILL) end)
    %{beam | os_pid: os_pid}
  end

  @doc "The next line that it prints."
  @spec line!(t) :: String.t()
  def line!(%{port: port}) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
      {^port, {:exit_status, status}} -> raise "the second BEAM ended with status #{status}"
    after
      20_000 -> raise "the second BEAM printed nothing"
    end
  end

  @doc "SIGKILL; returns when it is gone."
  @spec kill!(t) :: :ok
  def kill!(%{os_pid: os_pid}) do
    :ok = OsProcess.kill(os_pid, :KILL)
    :ok = OsProcess.await_exit(os_pid)
  end
end
