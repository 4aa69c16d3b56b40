defmodule Alumiini.Git.Test.HttpServer.Request do
  @moduledoc "One HTTP request: reading it off a connection, and what Git means by it."

  alias Alumiini.Git.Test.HttpServer.Connection

  defstruct [
    :method,
    :target,
    :path,
    :query,
    :headers,
    :service,
    :repository,
    body: "",
    version: {1, 1}
  ]

  @type service :: :info_refs | :upload_pack | :receive_pack | :other
  @type t :: %__MODULE__{
          method: String.t(),
          target: String.t(),
          path: String.t(),
          query: String.t(),
          headers: %{String.t() => String.t()},
          service: service,
          repository: String.t(),
          body: binary,
          version: {non_neg_integer, non_neg_integer}
        }

  @doc """
  The next request of the connection, with its whole body. Throws `:closed` where the client has
  gone.
  """
  @spec read(Connection.t()) :: {t, Connection.t()}
  def read(connection) do
    {request, connection} = read_head(connection)
    if request.headers["expect"] == "100-continue", do: Connection.send!(connection, continue())
    read_body(request, connection)
  end

  @doc """
  The scheme of the `Authorization` header, in lower case: `"basic"`, `"bearer"`, or nil without
  one.
  """
  @spec authorization(t) :: String.t() | nil
  def authorization(%{headers: %{"authorization" => value}}) do
    value |> String.split(" ", parts: 2) |> hd() |> String.downcase()
  end

  def authorization(_request), do: nil

  defp continue, do: "HTTP/1.1 100 Continue\r\n\r\n"

  defp read_head(connection) do
    case parse_head(connection.buffer) do
      {:ok, request, rest} -> {request, %{connection | buffer: rest}}
      :more -> connection |> Connection.receive_more!() |> read_head()
      :error -> throw(:closed)
    end
  end

  defp parse_head(buffer) do
    with {:ok, {:http_request, method, {:abs_path, target}, version}, rest} <-
           :erlang.decode_packet(:http_bin, buffer, []),
         {:ok, headers, rest} <- parse_headers(rest, %{}) do
      {:ok, build(to_string(method), target, version, headers), rest}
    else
      {:more, _} -> :more
      :more -> :more
      _ -> :error
    end
  end

  defp parse_headers(buffer, headers) do
    case :erlang.decode_packet(:httph_bin, buffer, []) do
      {:ok, {:http_header, _, name, _, value}, rest} ->
        parse_headers(rest, Map.put(headers, name |> to_string() |> String.downcase(), value))

      {:ok, :http_eoh, rest} ->
        {:ok, headers, rest}

      {:more, _} ->
        :more

      _ ->
        :error
    end
  end

  defp build(method, target, version, headers) do
    {path, query} =
      case String.split(target, "?", parts: 2) do
        [path, query] -> {path, query}
        [path] -> {path, ""}
      end

    path = URI.decode(path)
    {repository, service} = service(path)

    %__MODULE__{
      method: method,
      target: target,
      path: path,
      query: query,
      version: version,
      headers: headers,
      repository: repository,
      service: service
    }
  end

  defp service(path) do
    Enum.find_value(
      [info_refs: "/info/refs", upload_pack: "/git-upload-pack", receive_pack: "/git-receive-pack"],
      {path, :other},
      fn {service, suffix} ->
        if String.ends_with?(path, suffix), do: {String.replace_suffix(path, suffix, ""), service}
      end
    )
  end

  defp read_body(%{headers: %{"transfer-encoding" => "chunked"}} = request, connection) do
    {body, connection} = read_chunks(connection, [])
    {%{request | body: body}, connection}
  end

  defp read_body(%{headers: %{"content-length" => length}} = request, connection) do
    {body, connection} = read_exactly(connection, String.to_integer(length))
    {%{request | body: body}, connection}
  end

  defp read_body(request, connection), do: {request, connection}

  defp read_chunks(connection, chunks) do
    {line, connection} = read_line(connection)

    case Integer.parse(line, 16) do
      {0, _} ->
        {_trailer_end, connection} = read_line(connection)
        {chunks |> Enum.reverse() |> IO.iodata_to_binary(), connection}

      {size, _} ->
        {chunk, connection} = read_exactly(connection, size)
        {_line_end, connection} = read_exactly(connection, 2)
        read_chunks(connection, [chunk | chunks])

      :error ->
        throw(:closed)
    end
  end

  defp read_line(connection) do
    case :binary.split(connection.buffer, "\r\n") do
      [line, rest] -> {line, %{connection | buffer: rest}}
      [_] -> connection |> Connection.receive_more!() |> read_line()
    end
  end

  defp read_exactly(%{buffer: buffer} = connection, size) when byte_size(buffer) >= size do
    {bytes, rest} = :erlang.split_binary(buffer, size)
    {bytes, %{connection | buffer: rest}}
  end

  defp read_exactly(%{buffer: buffer} = connection, size) do
    bytes = Connection.receive_exactly!(connection, size - byte_size(buffer))
    {buffer <> bytes, %{connection | buffer: ""}}
  end
end
