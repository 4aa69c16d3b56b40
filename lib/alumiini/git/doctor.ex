defmodule Alumiini.Git.Doctor do
  @moduledoc false

  # What `mix alumiini_git.doctor` finds out: about the worker, and how far one gets with a remote.
  # `Doctor.Arguments` reads what was asked for, `Doctor.Report` writes down what was found.

  alias Alumiini.Git.Doctor.{Arguments, Report}
  alias Alumiini.Git.{Error, OneLine, RedactedUrl, Remote, Server}
  alias Alumiini.Git.Precompiled.Provenance
  alias Alumiini.Git.Server.{Binary, Protocol}

  @spec examine(Arguments.t()) :: Report.t()
  def examine(arguments) do
    # Starts where a Mix task runs, in a project that may well have a server of its own.
    {:ok, server} = Alumiini.Git.start_link(name: nil)

    try do
      worker(server, arguments)
    after
      GenServer.stop(server)
    end
  end

  defp worker(server, arguments) do
    # Any request waits for a worker that is up, and is told why there is none.
    case Server.call(server, %{"op" => "hello", "protocol" => Protocol.version()},
           timeout: arguments.timeout
         ) do
      {:ok, _hello} ->
        info = Server.info(server)

        found = [
          {"version", info.version},
          {"target", info.target},
          {"libgit2", info.libgit2},
          {"protocol", Integer.to_string(Protocol.version())}
        ]

        remote(%Report{worker: binary() ++ found}, server, arguments)

      {:error, error} ->
        %Report{worker: binary(), error: error}
    end
  end

  # Where the binary came from, and whether it is still what it was then. One that was configured
  # has no such note.
  defp binary do
    case Binary.locate(nil) do
      {:ok, path} -> [{"binary", path} | if(in_priv?(), do: Provenance.tell(path), else: [])]
      {:error, _nowhere} -> []
    end
  end

  defp in_priv?, do: Application.get_env(:alumiini_git, :binary) == nil

  defp remote(report, _server, %{url: nil}), do: report

  defp remote(report, server, arguments) do
    remote = Remote.new(arguments.url, arguments.options)
    report = %{report | url: remote.shown}

    case Remote.call(remote, server, %{"op" => "probe"}, timeout: arguments.timeout) do
      {:ok, %{"ok" => steps}} when is_list(steps) ->
        ref(%{report | steps: Enum.map(steps, &step/1)}, server, arguments)

      {:ok, _other} ->
        %{report | error: Error.unexpected(:probe)}

      {:error, error} ->
        %{report | error: error}
    end
  end

  defp step(%{"step" => name} = step) when is_binary(name) do
    error = if is_map(step["error"]), do: Error.from_reply(step["error"], :probe)

    note =
      if is_binary(step["note"]),
        do: step["note"] |> RedactedUrl.clean_text() |> OneLine.escape(),
        else: ""

    %{name: name, us: step["us"], note: note, error: error}
  end

  defp step(_other), do: %{name: "probe", us: nil, note: "", error: Error.unexpected(:probe)}

  # A step of our own: the probe asks for no ref in particular.
  defp ref(report, server, %{ref: ref} = arguments) when ref != nil do
    if Report.ok?(report) do
      options = [server: server, timeout: arguments.timeout] ++ arguments.options
      {us, result} = :timer.tc(fn -> Alumiini.Git.ls_remote(arguments.url, ref, options) end)

      step =
        case {result, ref |> RedactedUrl.clean_text() |> OneLine.escape()} do
          {{:ok, sha}, shown} -> %{name: "ref", us: us, note: "#{shown} is #{sha}", error: nil}
          {{:error, error}, shown} -> %{name: "ref", us: us, note: shown, error: error}
        end

      %{report | steps: report.steps ++ [step]}
    else
      report
    end
  end

  defp ref(report, _server, _no_ref), do: report
end
