defmodule Alumiini.Git.Test.TokenProvider do
  @moduledoc """
  An HTTP server on loopback in the place of a provider of tokens: it keeps what it is asked, and
  answers what a function makes of it.

      provider = start_supervised!({TokenProvider, fn _request -> {200, [], "{}"} end})
      [request] = TokenProvider.requests(provider)

  A request has `method`, `path`, `headers` (with names in lower case), `body`, and `form`, that
  body as a form. The function returns `{status, headers, body}`, or `:silent`, for no answer until
  the client leaves; then its starter gets `{TokenProvider, provider, :left}`.
  """

  use GenServer

  @type request :: %{
          method: String.t(),
          path: String.t(),
          headers: %{String.t() => String.t()},
          body: binary,
          form: %{String.t() => String.t()}
        }
  @type answer :: {100..599, [{String.t(), String.t()}], iodata} | :silent

  @spec start_link((request -> answer)) :: GenServer.on_start()
  def start_link(answer), do: GenServer.start_link(__MODULE__, {self(), answer})

  def child_spec(answer) do
    # The test is told who left, not its supervisor.
    owner = self()
    start = {GenServer, :start_link, [__MODULE__, {owner, answer}]}
    %{id: make_ref(), start: start, restart: :temporary}
  end

  @spec url(pid) :: String.t()
  def url(provider), do: "http://127.0.0.1:#{GenServer.call(provider, :port)}"

  @doc "What it was asked so far, oldest first."
  @spec requests(pid) :: [request]
  def requests(provider), do: GenServer.call(provider, :requests)

  @doc "Answers otherwise from now on."
  @spec answer(pid, (request -> answer)) :: :ok
  def answer(provider, answer), do: GenServer.call(provider, {:answer, answer})

  @doc "A token as OAuth 2.0 has it."
  @spec access_token(String.t()) :: answer
  def access_token(token) do
    body = ~s({"token_type":"Bearer","expires_in":3600,"access_token":"#{token}"})
    {200, [{"content-type", "application/json"}], body}
  end

  @impl true
  def init({owner, answer}) do
    options = [:binary, packet: :http_bin, active: false, ip: {127, 0, 0, 1}, backlog: 256]
    {:ok, listener} = :gen_tcp.listen(0, options)
    {:ok, port} = :inet.port(listener)
    server = self()
    spawn_link(fn -> accept(listener, server) end)
    {:ok, %{port: port, owner: owner, answer: answer, requests: []}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}

  def handle_call(:requests, _from, state),
    do: {:reply, Enum.reverse(state.requests), state}

  def handle_call({:answer, answer}, _from, state), do: {:reply, :ok, %{state | answer: answer}}

  def handle_call({:asked, request}, _from, state),
    do: {:reply, state.answer, %{state | requests: [request | state.requests]}}

  @impl true
  def handle_info(:left, state) do
    send(state.owner, {__MODULE__, self(), :left})
    {:noreply, state}
  end

  defp accept(listener, server) do
    {:ok, socket} = :gen_tcp.accept(listener)
    serving = spawn(fn -> receive do: (:go -> serve(socket, server)) end)
    :ok = :gen_tcp.controlling_process(socket, serving)
    send(serving, :go)
    accept(listener, server)
  end

  defp serve(socket, server) do
    with {:ok, {:http_request, method, {:abs_path, path}, _version}} <- :gen_tcp.recv(socket, 0),
         {:ok, headers} <- headers(socket, %{}),
         {:ok, body} <- body(socket, headers) do
      form = URI.decode_query(if String.valid?(body), do: body, else: "")
      method = to_string(method)
      request = %{method: method, path: path, headers: headers, body: body, form: form}
      answer = GenServer.call(server, {:asked, request})
      reply(answer.(request), socket, server)
    end

    :gen_tcp.close(socket)
  end

  defp headers(socket, headers) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, {:http_header, _n, name, _raw, value}} ->
        headers(socket, Map.put(headers, name |> to_string() |> String.downcase(), value))

      {:ok, :http_eoh} ->
        {:ok, headers}

      _closed ->
        :error
    end
  end

  defp body(socket, headers) do
    :ok = :inet.setopts(socket, packet: :raw)

    case String.to_integer(Map.get(headers, "content-length", "0")) do
      0 -> {:ok, ""}
      length -> :gen_tcp.recv(socket, length)
    end
  end

  defp reply(:silent, socket, server) do
    {:error, _closed} = :gen_tcp.recv(socket, 0)
    send(server, :left)
  end

  defp reply({status, headers, body}, socket, _server) do
    length = {"content-length", "#{IO.iodata_length(body)}"}

    head =
      for {name, value} <- [length, {"connection", "close"} | headers],
          do: "#{name}: #{value}\r\n"

    :gen_tcp.send(socket, ["HTTP/1.1 #{status} Said\r\n", head, "\r\n", body])
  end
end
