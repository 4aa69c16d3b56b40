defmodule Alumiini.Git.Request do
  @moduledoc false

  # What the functions of `Alumiini.Git` have in common on the way out: where a request goes, what telemetry may say of it,
  # and how its progress is told.

  alias Alumiini.Git.{Error, OneLine, Options, RedactedUrl, Remote, Server}

  @phases %{"connect" => :connect, "receive" => :receive, "index" => :index, "checkout" => :checkout}

  @doc "A call's metadata. Arguments in the wrong order make a URL of a path or ref."
  @spec metadata(keyword, map) :: map
  def metadata(options, fields) do
    fields
    |> Map.new(fn {key, value} -> {key, shown(value)} end)
    |> Map.put(:server, server(options))
  end

  defp shown(text) when is_binary(text), do: text |> RedactedUrl.clean_text() |> OneLine.escape()
  defp shown({kind, text}), do: {kind, shown(text)}

  @doc "Makes a request, with the options of a call; to a remote, if there is one."
  @spec run(map, keyword, Remote.t() | nil) :: {:ok, map} | {:error, Error.t()}
  def run(request, options, remote \\ nil) do
    call = [timeout: Options.timeout(options)]

    {request, call} =
      case options[:progress] do
        nil -> {request, call}
        progress -> {Map.put(request, "progress", true), [on_event: on_event(progress)] ++ call}
      end

    if remote,
      do: Remote.call(remote, server(options), request, call),
      else: Server.call(server(options), request, call)
  end

  defp server(options), do: Keyword.get(options, :server, Alumiini.Git)

  # An event that this version does not know is nothing to tell.
  defp on_event(progress) do
    fn
      "progress", %{"phase" => phase, "done" => done, "total" => total, "bytes" => bytes} ->
        case @phases do
          %{^phase => phase} -> progress.(%{phase: phase, done: done, total: total, bytes: bytes})
          _unknown -> :ok
        end

      _name, _event ->
        :ok
    end
  end
end
