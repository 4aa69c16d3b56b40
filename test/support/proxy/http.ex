defmodule Alumiini.Git.Test.Proxy.Http do
  @moduledoc """
  A proxy of HTTP: `CONNECT` for a way through, whole URLs for single requests (RFC 9110, 9.3.6 and
  7.1).
  """

  alias Alumiini.Git.Test.Proxy.Stream

  @spec serve(Stream.t(), map) :: :ok
  def serve(client, settings) do
    {head, client} = Stream.read_until!(client, "\r\n\r\n")
    [line | headers] = head |> String.trim_trailing() |> String.split("\r\n")
    [method, target, "HTTP/1.1"] = String.split(line, " ")

    headers =
      for header <- headers do
        [name, value] = String.split(header, ":", parts: 2)
        {String.downcase(name), String.trim(value)}
      end

    request = %{method: method, target: target, headers: headers, credentials: credentials(headers)}
    answer = answer(request, settings)
    :ok = GenServer.call(settings.proxy, {:asked, Map.put(request, :answer, answer)})
    serve(answer, request, client, settings)
  end

  defp credentials(headers) do
    with {_name, "Basic " <> base64} <- List.keyfind(headers, "proxy-authorization", 0) do
      [user, password] = base64 |> Base.decode64!() |> String.split(":", parts: 2)
      {user, password}
    end
  end

  defp answer(_request, %{refuse: status}) when status != nil, do: status

  defp answer(request, settings) do
    if settings.auth in [nil, request.credentials], do: :ok, else: 407
  end

  defp serve(:ok, %{method: "CONNECT"} = request, client, settings) do
    [_, host, port] = Regex.run(~r/^(.+):(\d+)$/, request.target)

    case Stream.connect(host, String.to_integer(port), settings) do
      {:ok, server} ->
        Stream.open!(client, server, "HTTP/1.1 200 Connection established\r\n\r\n", settings)
        Stream.join(client, server)

      :error ->
        refuse(502, client, settings)
    end
  end

  defp serve(:ok, request, client, settings) do
    uri = %URI{scheme: "http"} = URI.parse(request.target)

    case Stream.connect(uri.host, uri.port, settings) do
      {:ok, server} ->
        path = (uri.path || "/") <> if(uri.query, do: "?" <> uri.query, else: "")

        # One request for each connection: what comes after it is passed on without a look.
        kept =
          for {name, value} <- request.headers,
              name not in hop_by_hop(),
              do: [name, ": ", value, "\r\n"]

        :ok =
          :gen_tcp.send(server, [
            request.method,
            " ",
            path,
            " HTTP/1.1\r\n",
            kept,
            "connection: close\r\n\r\n"
          ])

        Stream.join(client, server)

      :error ->
        refuse(502, client, settings)
    end
  end

  defp serve(status, _request, client, settings), do: refuse(status, client, settings)

  defp hop_by_hop, do: ["proxy-authorization", "proxy-connection", "connection", "keep-alive"]

  defp refuse(status, client, _settings) do
    challenge = if status == 407, do: "proxy-authenticate: Basic realm=\"test\"\r\n", else: ""

    Stream.send!(
      client,
      "HTTP/1.1 #{status} No\r\n#{challenge}content-length: 0\r\nconnection: close\r\n\r\n"
    )

    Stream.close(client)
  end
end
