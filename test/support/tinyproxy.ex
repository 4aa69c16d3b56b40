defmodule Alumiini.Git.Test.Tinyproxy do
  @moduledoc """
  tinyproxy on loopback: a proxy of HTTP that others wrote, so that ours is held against something.
  """

  alias Alumiini.Git.Test.{Daemon, FreePort}

  @doc """
  Starts one for the running test; returns it (its lines are its log) and its URL. Options: `:auth`,
  `{user, password}`.
  """
  @spec start!(Path.t(), keyword) :: {pid, String.t()}
  def start!(dir, options \\ []) do
    FreePort.with_port(fn port ->
      config = Path.join(dir, "tinyproxy-#{port}.conf")
      File.write!(config, config(port, options[:auth]))

      daemon =
        ExUnit.Callbacks.start_supervised!(
          {Daemon, program: "tinyproxy", args: ["-d", "-c", config]}
        )

      case Daemon.reached(daemon, ~r/Accepting connections/, 1, 10_000) do
        :ok ->
          {:ok, {daemon, "http://127.0.0.1:#{port}"}}

        {:error, lines} ->
          if Enum.any?(lines, &(&1 =~ "bind")), do: :taken, else: raise(Enum.join(lines, "\n"))
      end
    end)
  end

  defp config(port, auth) do
    password = with {user, password} <- auth, do: "BasicAuth #{user} #{password}\n"

    """
    Port #{port}
    Listen 127.0.0.1
    Timeout 60
    LogLevel Info
    Allow 127.0.0.1
    #{password}
    """
  end
end
