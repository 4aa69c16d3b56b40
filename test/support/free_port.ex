defmodule Alumiini.Git.Test.FreePort do
  @moduledoc """
  Ports for server programs that cannot let the system choose one, and for those that come back on
  the same port.

  They are below those that the system gives to clients, so that no connection of another test takes
  one while its server is away.
  """

  @range 15_000..31_999
  @addresses for last <- 22..41, do: {127, 0, 0, last}

  @doc """
  Runs `start` with a free port, and returns what it does; with another one while it says `:taken`,
  which somebody can have done since we looked.
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

  @doc """
  Whether servers of ours can have this port on some loopback address of `with_address/2`; if not,
  why.

  For ports below 1024, and where loopback has more than one address: to Linux all of 127.0.0.0/8
  is.
  """
  @spec allowed(:inet.port_number()) :: :ok | {:error, String.t()}
  def allowed(port) do
    results = for address <- @addresses, do: listen(address, port)

    if :ok in results do
      :ok
    else
      [{:error, reason} | _] = results

      {:error,
       "no server of the tests can listen on port #{port} of a loopback address: " <>
         "#{:inet.format_error(reason)}"}
    end
  end

  @doc """
  As `with_port/1`, for a port that must be this one: runs `start` with a loopback address that has
  it free.
  """
  @spec with_address(:inet.port_number(), (:inet.ip4_address() -> {:ok, result} | :taken)) :: result
        when result: term
  def with_address(port, start) do
    # Not always the same first, so that servers that start at once seldom meet.
    started =
      for address <- Enum.shuffle(@addresses), listen(address, port) == :ok, reduce: nil do
        nil -> with :taken <- start.(address), do: nil
        started -> started
      end

    with nil <- started, do: raise("port #{port} is free on no loopback address")
    elem(started, 1)
  end

  defp free?(port), do: listen({127, 0, 0, 1}, port) == :ok

  defp listen(address, port) do
    with {:ok, socket} <- :gen_tcp.listen(port, ip: address, reuseaddr: true),
         do: :gen_tcp.close(socket)
  end
end
