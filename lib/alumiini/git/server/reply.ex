defmodule Alumiini.Git.Server.Reply do
  @moduledoc false

  # What the server tells a caller. See `Alumiini.Git.Server.Call`, which reads it.

  alias Alumiini.Git.Error
  alias Alumiini.Git.Server.{Protocol, Worker}

  # A pending entry, or a request that has not become one.
  @type to :: %{:ref => reference, :caller => pid, :timeout => pos_integer, optional(atom) => term}

  @doc """
  The worker's reply, whether `ok` or `err`. A request that went to others before, which died, was
  made again as often.
  """
  @spec answer(to, map) :: :ok
  def answer(%{deaths: deaths} = to, reply) when deaths > 0,
    do: deliver(to, {to.ref, :answer, Map.update(reply, "retries", deaths, &(&1 + deaths))})

  def answer(to, reply), do: deliver(to, {to.ref, :answer, reply})

  @doc "The result of a call that was made for it, or of what the server itself knows."
  @spec result(
          %{:ref => reference, :caller => pid, optional(atom) => term},
          {:ok, map} | {:error, Error.t()}
        ) :: :ok
  def result(to, result), do: deliver(to, {to.ref, :result, result})

  @doc "An event, where the caller asked for them. Dropped where a remote caller does not keep up."
  @spec event(to, binary, map) :: :ok
  def event(%{events?: false}, _name, _event), do: :ok

  def event(to, name, event) do
    :erlang.send(to.ref, {to.ref, :event, name, event}, [:nosuspend, :noconnect])
    :ok
  end

  @spec timeout(to) :: :ok
  def timeout(to),
    do: error(to, :timeout, "it did not end within #{to.timeout} ms; the work was stopped")

  @spec overloaded(to, pos_integer) :: :ok
  def overloaded(to, max_pending) do
    message =
      "#{max_pending} requests are pending already; call later, or raise the server's :max_pending"

    error(to, :overloaded, message)
  end

  @spec worker_exited(to, Worker.cause()) :: :ok
  def worker_exited(to, cause) do
    error(
      to,
      :worker_exited,
      "this request ended three workers, in the last of which it ran alone: #{cause.message}"
    )
  end

  @spec cause(to, Worker.cause()) :: :ok
  def cause(to, cause), do: error(to, cause.reason, cause.message, cause.final?)

  @spec unsendable(to, :too_large | :unreadable_secret | :not_encodable) :: :ok
  def unsendable(to, :too_large) do
    error(to, :invalid, "the request is larger than #{Protocol.max_request()} bytes")
  end

  def unsendable(to, :unreadable_secret) do
    message =
      "the server's node cannot read what was sealed on the caller's; run the same version of " <>
        "alumiini_git on both"

    error(to, :internal, message)
  end

  def unsendable(to, :not_encodable),
    do: error(to, :invalid, "the request holds something that msgpack cannot")

  defp error(to, reason, message, final? \\ false),
    do: deliver(to, {to.ref, :error, reason, message, final?})

  # The reference is an alias of the caller that it takes back when it does not wait any more, so
  # nothing can reach its mailbox later. To another node a send may suspend the sender, and the
  # server must not be.
  defp deliver(%{ref: ref, caller: caller}, message) when node(caller) == node() do
    send(ref, message)
    :ok
  end

  defp deliver(%{ref: ref}, message) do
    case :erlang.send(ref, message, [:nosuspend]) do
      :ok ->
        :ok

      :nosuspend ->
        spawn(fn -> send(ref, message) end)
        :ok
    end
  end
end
