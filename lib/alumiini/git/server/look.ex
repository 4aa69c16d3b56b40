defmodule Alumiini.Git.Server.Look do
  @moduledoc false

  # `Alumiini.Git.info/2`: the server answers from what it knows; only `hosts` are asked for at the
  # worker, and left out where it does not answer.

  alias Alumiini.Git.{Error, Info, Options}
  alias Alumiini.Git.Server.Call

  @timeout 1_000

  @spec run(GenServer.server(), [Options.info()]) :: {:ok, Info.t()} | {:error, Error.t()}
  def run(server, options) do
    Options.Check.call!(:info, [:timeout, :hosts], options)
    Options.Check.server!(server)
    deadline = now() + Keyword.get(options, :timeout, @timeout)

    with {:ok, %Info{} = info} <-
           Call.run(server, %{"op" => "info"}, as: :info, timeout: deadline - now()) do
      {:ok, if(options[:hosts], do: %{info | hosts: hosts(info, server, deadline)}, else: info)}
    end
  end

  # While no worker is up, there is nobody to ask.
  defp hosts(%Info{version: nil}, _server, _deadline), do: nil

  defp hosts(_info, server, deadline) do
    case Call.run(server, %{"op" => "hosts"}, timeout: max(1, deadline - now())) do
      {:ok, %{"ok" => hosts}} -> Info.Host.from_wire(hosts)
      _no_answer -> nil
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
