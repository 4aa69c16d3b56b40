defmodule Alumiini.Git.Test.FreePort do
  @moduledoc """
  Ports for server programs that cannot let the system choose one, and for those that come back on the same port.

  They are below those that the system gives to clients, so that no connection of another test takes one while its server
  is away.
  """

  @range 15_000..31_999

  @doc """
  Runs `start` with a free port, and returns what it does; with another one while it says `:taken`, which somebody can have
  done since we looked.
  """
  @spec with_port((:inet.port_number() -> {:ok, result} | :taken)) :: result when result: term
  def with_port(start), do: with_port(start, 20)

  defp with_port(_start, 0), do: raise("no free port in #{inspect(@range)}")

  defp with_port(start, left) do
    port = Enum.random(@range)

    with true <- free?(port), {:ok, result} <- start.(port) do
      result
    else
      _taken -> with_port(start, left - 1)
    end
  end

  defp free?(port) do
    case :gen_tcp.listen(port, ip: {127, 0, 0, 1}, reuseaddr: true) do
      {:ok, socket} -> :gen_tcp.close(socket) == :ok
      {:error, _taken} -> false
    end
  end
end
