defmodule Alumiini.Git.Test.DocumentedEvents do
  @moduledoc "The table of events in the documentation of `Alumiini.Git.Telemetry`."

  alias Alumiini.Git.{Ops, Telemetry}

  @type keys :: %{measurements: [atom], metadata: [atom]}

  @doc "What each event has, sorted."
  @spec all() :: %{:telemetry.event_name() => keys}
  def all do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Telemetry)

    for "| `[" <> _ = row <- String.split(doc, "\n"),
        [event, measurements, metadata] =
          row |> String.split("|", trim: true) |> Enum.map(&words/1),
        event <- each(event),
        into: %{} do
      {event, %{measurements: Enum.sort(measurements), metadata: Enum.sort(metadata)}}
    end
  end

  defp words(cell), do: for([word] <- Regex.scan(~r/\w+/, cell), do: String.to_atom(word))

  defp each([:alumiini_git, :op, event]), do: for(op <- Ops.all(), do: [:alumiini_git, op, event])
  defp each(event), do: [event]
end
