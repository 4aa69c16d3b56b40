defmodule Alumiini.Git.Server.Call do
  @moduledoc false

  # The caller's side of a request: the request as `protocol/README.md` has it, without `id` and
  # `timeout`. It sends the server
  #
  #     {Call, :request, request}         or {Call, :lease, request}, which a keeper takes,
  #                                       or {Call, :info, request}, which the server answers,
  #                                       and, when it does not wait any more,
  #     {Call, :cancel, ref}
  #
  # and waits for
  #
  #     {ref, :event, name, map}          any number
  #     {ref, :answer, reply}             the worker's reply
  #     {ref, :result, result}            what a keeper's own call came to, or the server's numbers
  #     {ref, :error, reason, message, final?}
  #                                       the server's own; final where nothing changes by itself
  #     {ref, :raise, kind, reason}       of a stub of tests alone (`Alumiini.Git.Test`)
  #
  # where `ref` is both a monitor of the server and an alias of the caller. When the call is over
  # the alias is gone and what was still in the mailbox is flushed: no message of it can show up
  # later, whatever the server does.

  alias Alumiini.Git.{Error, Ops, Stacktrace, Tally}

  # The server holds the deadline. Past it by this much, it is too busy to, or cut off.
  @margin 200
  @default_timeout 300_000

  @type request :: %{
          ref: reference,
          caller: pid,
          op: atom,
          request: map,
          timeout: pos_integer,
          deadline: integer,
          events?: boolean
        }

  @spec run(GenServer.server(), map, keyword) :: {:ok, map} | {:error, Error.t()}
  def run(server, request, options \\ []) do
    op = options[:op] || Ops.name(request["op"])

    case whereis(server) do
      nil -> {:error, not_running(op, server)}
      destination -> run_at(destination, server, op, request, options)
    end
  end

  defp run_at(destination, server, op, request, options) do
    timeout = Keyword.get(options, :timeout, @default_timeout)
    deadline = now() + timeout
    ref = :erlang.monitor(:process, destination, alias: :explicit_unalias)

    try do
      send(
        destination,
        {__MODULE__, Keyword.get(options, :as, :request),
         %{
           ref: ref,
           caller: self(),
           op: op,
           request: request,
           timeout: timeout,
           deadline: deadline,
           events?: request["progress"] == true
         }}
      )

      await(ref, deadline, options[:on_event] || fn _name, _event -> :ok end)
    catch
      kind, reason ->
        send(destination, {__MODULE__, :cancel, ref})
        :erlang.raise(kind, reason, Stacktrace.without_arguments(__STACKTRACE__))
    else
      {:answer, %{"ok" => _value} = reply} ->
        Tally.add(reply)
        {:ok, reply}

      {:result, result} ->
        result

      {:answer, reply} ->
        Tally.add(reply)
        {:error, Error.from_reply(reply, op)}

      {:error, reason, message, true} ->
        {:error, Error.final(reason, op, message)}

      {:error, reason, message, false} ->
        {:error, Error.new(reason, op, message)}

      {:down, reason} ->
        {:error, down(op, server, reason)}

      :late ->
        send(destination, {__MODULE__, :cancel, ref})

        {:error,
         Error.new(
           :timeout,
           op,
           "it did not end within #{timeout} ms, and the server gave no answer"
         )}
    after
      :erlang.unalias(ref)
      Process.demonitor(ref, [:flush])
      flush(ref)
    end
  end

  # The clocks of two nodes have nothing to do with each other; on one, the time that the request
  # lay in the server's mailbox counts.
  @doc false
  @spec deadline(request) :: integer
  def deadline(%{caller: caller} = request) do
    if node(caller) == node(), do: request.deadline, else: now() + request.timeout
  end

  defp await(ref, deadline, on_event) do
    receive do
      {^ref, :event, name, event} ->
        on_event.(name, event)
        await(ref, deadline, on_event)

      {^ref, kind, value} when kind in [:answer, :result] ->
        {kind, value}

      {^ref, :error, reason, message, final?} ->
        {:error, reason, message, final?}

      {^ref, :raise, kind, reason} ->
        :erlang.raise(kind, reason, [])

      {:DOWN, ^ref, :process, _server, reason} ->
        {:down, reason}
    after
      max(0, deadline + @margin - now()) -> :late
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _kind, _} -> flush(ref)
      {^ref, _kind, _, _} -> flush(ref)
      {^ref, _kind, _, _, _} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp whereis({name, node}) when is_atom(name) and node == node(), do: Process.whereis(name)

  # A name on another node, from one that is not distributed: there is nothing to reach it with.
  defp whereis({name, node} = remote) when is_atom(name) and is_atom(node) do
    if Node.alive?(), do: remote, else: nil
  end

  defp whereis(server) do
    GenServer.whereis(server)
  rescue
    # The registry of a `{:via, module, name}` is not running.
    ArgumentError -> nil
  end

  defp not_running(op, server) do
    message =
      "no server is running as #{inspect(server)}; add {Alumiini.Git, []} to your supervision " <>
        "tree, " <>
        "or say which one with the :server option"

    Error.final(:worker_unavailable, op, message)
  end

  defp down(op, server, :noproc), do: not_running(op, server)

  defp down(op, server, :noconnection) do
    Error.new(
      :worker_unavailable,
      op,
      "the node of the server #{inspect(server)} cannot be reached"
    )
  end

  # Not why: the reason of a crash may hold anything.
  defp down(op, server, _reason) do
    Error.new(
      :worker_unavailable,
      op,
      "the server #{inspect(server)} stopped before it had an answer; call again"
    )
  end

  defp now, do: System.monotonic_time(:millisecond)
end
