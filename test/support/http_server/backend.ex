defmodule Alumiini.Git.Test.HttpServer.Backend do
  @moduledoc """
  `git http-backend` for one request, as RFC 3875 (CGI) asks.

  A port cannot close its program's standard input alone, so requests always go there with a
  `CONTENT_LENGTH`: bodies that came in chunks have been put together before. Compressed bodies stay
  compressed, Git inflates them itself.
  """

  alias Alumiini.Git.Test.{GitCommand, HttpServer.Request, HttpServer.Rules}

  @type t :: port

  @spec start(map, Request.t(), %Rules.Plan{}) :: t
  def start(shared, request, plan) do
    {executable, args} = command(shared)
    environment = environment(shared, request, plan)

    port =
      Port.open({:spawn_executable, executable}, [
        :binary,
        :exit_status,
        :use_stdio,
        :hide,
        args: args,
        env: GitCommand.charlists(environment)
      ])

    if request.body != "", do: write(port, request.body)
    port
  end

  # Git talks to standard error when a client goes away. That is what many tests are about, so it is
  # dropped unless asked for.
  defp command(%{stderr: :inherit} = shared), do: {shared.http_backend, []}

  defp command(shared),
    do: {~c"/bin/sh", [~c"-c", ~c"exec \"$0\" 2>/dev/null", shared.http_backend]}

  # It may have answered and gone without reading (404).
  defp write(port, body) do
    Port.command(port, body)
  rescue
    ArgumentError -> false
  end

  defp environment(shared, request, plan) do
    protocol = if plan.protocol == :as_asked, do: request.headers["git-protocol"]

    cgi = [
      {"GATEWAY_INTERFACE", "CGI/1.1"},
      {"SERVER_PROTOCOL", "HTTP/1.1"},
      {"GIT_PROJECT_ROOT", shared.root},
      {"GIT_HTTP_EXPORT_ALL", "1"},
      {"REQUEST_METHOD", request.method},
      {"PATH_INFO", request.path},
      {"QUERY_STRING", request.query},
      {"CONTENT_TYPE", request.headers["content-type"]},
      {"CONTENT_LENGTH", Integer.to_string(byte_size(request.body))},
      {"HTTP_CONTENT_ENCODING", request.headers["content-encoding"]},
      {"HTTP_GIT_PROTOCOL", protocol},
      {"GIT_PROTOCOL", protocol},
      {"REMOTE_ADDR", "127.0.0.1"}
    ]

    cgi ++ shared.environment ++ GitCommand.config(shared.config ++ plan.config)
  end

  @doc "Waits for the head of the answer: status, headers, and what came of the body with it."
  @spec head(t) :: {:ok, pos_integer, [{String.t(), String.t()}], binary} | :error
  def head(port), do: head(port, "")

  defp head(port, got) do
    receive do
      {^port, {:data, data}} ->
        got = got <> data

        case :binary.split(got, "\r\n\r\n") do
          [head, body] -> parse(head, body)
          [_] -> head(port, got)
        end

      {^port, {:exit_status, _}} ->
        :error
    end
  end

  defp parse(head, body) do
    headers =
      for line <- String.split(head, "\r\n"),
          [name, value] <- [String.split(line, ": ", parts: 2)] do
        {name, value}
      end

    {status, headers} =
      Enum.split_with(headers, fn {name, _} -> String.downcase(name) == "status" end)

    code =
      case status do
        [{_, value}] -> value |> String.slice(0, 3) |> String.to_integer()
        [] -> 200
      end

    {:ok, code, headers, body}
  end

  @doc "Folds over the rest of the body as it comes, up to the program's end."
  @spec each(t, acc, (binary, acc -> acc)) :: acc when acc: term
  def each(port, acc, fun) do
    receive do
      {^port, {:data, data}} -> each(port, fun.(data, acc), fun)
      {^port, {:exit_status, _}} -> acc
    end
  end
end
