defmodule Telemetry.Metrics do
  @moduledoc """
  A stand-in for the Hex package `telemetry_metrics`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the documented functions, types and options of telemetry_metrics 0.6 and later that
  `alumiini_git` and its tests use, and nothing else. It is never published.
  """

  fields = [
    :name,
    :event_name,
    :measurement,
    :tags,
    :tag_values,
    :keep,
    :description,
    :unit,
    :reporter_options
  ]

  for kind <- [Counter, Sum, LastValue, Distribution] do
    defmodule Module.concat(__MODULE__, kind) do
      @moduledoc false
      defstruct fields
      @type t :: %__MODULE__{}
    end
  end

  alias __MODULE__.{Counter, Distribution, LastValue, Sum}

  @type t :: Counter.t() | Distribution.t() | LastValue.t() | Sum.t()

  @spec counter(String.t(), keyword) :: Counter.t()
  def counter(name, options \\ []), do: struct!(Counter, fields(name, options))

  @spec sum(String.t(), keyword) :: Sum.t()
  def sum(name, options \\ []), do: struct!(Sum, fields(name, options))

  @spec last_value(String.t(), keyword) :: LastValue.t()
  def last_value(name, options \\ []), do: struct!(LastValue, fields(name, options))

  @spec distribution(String.t(), keyword) :: Distribution.t()
  def distribution(name, options \\ []), do: struct!(Distribution, fields(name, options))

  defp fields(name, options) do
    {event, [measurement]} = name |> atoms() |> Enum.split(-1)

    fields =
      Map.merge(
        %{
          name: atoms(name),
          event_name: event,
          measurement: measurement,
          tags: [],
          tag_values: &Function.identity/1,
          description: nil,
          unit: :unit,
          reporter_options: []
        },
        Map.new(options)
      )

    %{converted(fields) | event_name: atoms(fields.event_name)}
  end

  defp converted(%{unit: {:native, unit}, measurement: measurement} = fields) do
    ratio = System.convert_time_unit(1_000_000_000, unit, :native) / 1_000_000_000
    %{fields | unit: unit, measurement: &(Map.fetch!(&1, measurement) / ratio)}
  end

  defp converted(fields), do: fields

  defp atoms(name) when is_list(name), do: name
  defp atoms(name), do: name |> String.split(".") |> Enum.map(&String.to_atom/1)
end
