defmodule Alumiini.Git.Test.Http2Refuser do
  @moduledoc """
  A TLS front of an HTTP server that offers HTTP/2 and then wants each request by HTTP/1.1, as
  servers do that log in per connection. What comes by HTTP/1.1 is passed on.

      options = [port: HttpServer.port(server), tls: certificate.tls]
      refuser = start_supervised!({Http2Refuser, options})
      Http2Refuser.counts(refuser)
      #=> %{http2: 1, http1: 3}
  """

  use GenServer

  # RFC 9113: frames by type, and HTTP_1_1_REQUIRED.
  @headers 1
  @rst_stream 3
  @settings 4
  @goaway 7
  @required 13
  @preface "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

  @doc """
  Options: `:port` (of the server behind), `:tls` (for `:ssl.handshake/2`) and `:refusal`
  (`:rst_stream` or `:goaway`).
  """
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @spec url(pid, String.t()) :: String.t()
  def url(refuser, repository),
    do: "https://localhost:#{GenServer.call(refuser, :port)}/#{repository}"

  @doc "Connections by the protocol that was spoken on them."
  @spec counts(pid) :: %{http1: non_neg_integer, http2: non_neg_integer}
  def counts(refuser), do: GenServer.call(refuser, :counts)

  @impl true
  def init(options) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, backlog: 64])
    {:ok, port} = :inet.port(listener)
    owner = self()

    context = %{
      behind: options[:port],
      tls: options[:tls],
      refusal: options[:refusal] || :rst_stream,
      owner: owner
    }

    spawn_link(fn -> accept(listener, context) end)
    {:ok, %{listener: listener, port: port, counts: %{http1: 0, http2: 0}}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:counts, _from, state), do: {:reply, state.counts, state}

  @impl true
  def handle_info({:spoken, protocol}, state),
    do: {:noreply, update_in(state.counts[protocol], &(&1 + 1))}

  defp accept(listener, context) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = spawn_link(fn -> receive do: (:go -> serve(socket, context)) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :go)
    accept(listener, context)
  end

  defp serve(socket, context) do
    options = [alpn_preferred_protocols: ["h2", "http/1.1"]] ++ context.tls

    with {:ok, tls} <- :ssl.handshake(socket, options, 10_000) do
      case :ssl.negotiated_protocol(tls) do
        {:ok, "h2"} ->
          send(context.owner, {:spoken, :http2})
          refuse(tls, context.refusal)

        _ ->
          send(context.owner, {:spoken, :http1})
          pass_on(tls, context.behind)
      end
    end
  end

  defp refuse(tls, refusal) do
    {:ok, @preface} = :ssl.recv(tls, byte_size(@preface))
    :ok = :ssl.send(tls, frame(@settings, 0, ""))
    refuse_requests(tls, refusal)
  end

  defp refuse_requests(tls, refusal) do
    with {:ok, <<length::24, type, flags, _::1, stream::31>>} <- :ssl.recv(tls, 9),
         {:ok, _payload} <- if(length == 0, do: {:ok, ""}, else: :ssl.recv(tls, length)) do
      case {type, refusal} do
        {@headers, :rst_stream} -> :ssl.send(tls, frame(@rst_stream, stream, <<@required::32>>))
        {@headers, :goaway} -> :ssl.send(tls, frame(@goaway, 0, <<0::32, @required::32>>))
        # Acknowledged, unless it is an acknowledgement.
        {@settings, _} when flags == 0 -> :ssl.send(tls, <<0::24, @settings, 1, 0::32>>)
        _ -> :ok
      end

      refuse_requests(tls, refusal)
    end
  end

  defp frame(type, stream, payload),
    do: <<byte_size(payload)::24, type, 0, stream::32, payload::binary>>

  defp pass_on(tls, port) do
    {:ok, behind} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    spawn_link(fn -> copy(fn -> :gen_tcp.recv(behind, 0) end, &:ssl.send(tls, &1)) end)
    copy(fn -> :ssl.recv(tls, 0) end, &:gen_tcp.send(behind, &1))
    :gen_tcp.close(behind)
  end

  defp copy(receive_more, send) do
    with {:ok, data} <- receive_more.(), :ok <- send.(data), do: copy(receive_more, send)
  end
end
