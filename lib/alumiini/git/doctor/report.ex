defmodule Alumiini.Git.Doctor.Report do
  @moduledoc """
  What the doctor found, as `Alumiini.Git.Doctor.run/2` returns it.

  | field | |
  | --- | --- |
  | `worker` | what is known of the worker, as a list of names and values: `"binary"`, `"origin"`, `"checksum"`, `"version"`, `"target"`, … |
  | `url` | the remote, without credentials; `nil` if none was asked about |
  | `steps` | how far one gets with it: maps with `name`, `us` (how long it took, in microseconds), `note` (what was found) and `error` (an `Alumiini.Git.Error`, or `nil`) |
  | `error` | what kept the doctor from finding out more, or `nil` |

  `Alumiini.Git.Doctor.ok?/1` says whether all is well.
  """

  alias Alumiini.Git.Error

  defstruct worker: [], url: nil, steps: [], error: nil

  @typedoc "A step on the way to the remote."
  @type step :: %{
          name: String.t(),
          us: non_neg_integer | nil,
          note: String.t(),
          error: Error.t() | nil
        }

  @type t :: %__MODULE__{
          # What is known of the worker, in the order in which it is shown.
          worker: [{label :: String.t(), value :: String.t()}],
          # The remote, without credentials.
          url: String.t() | nil,
          steps: [step],
          # What kept it from finding out more.
          error: Error.t() | nil
        }

  @doc false
  @spec ok?(t) :: boolean
  def ok?(report), do: report.error == nil and Enum.all?(report.steps, &(&1.error == nil))

  # Line by line, for `IO.ANSI.format/2`.
  @doc false
  @spec lines(t) :: [IO.ANSI.ansidata()]
  def lines(report) do
    worker = ["The worker" | Enum.map(aligned(report.worker), &["  ", &1])]

    remote =
      if report.url do
        width = report.steps |> Enum.map(&String.length(&1.name)) |> Enum.max(fn -> 0 end)
        ["", report.url | Enum.flat_map(report.steps, &step(&1, width))]
      else
        []
      end

    worker ++ remote ++ failure(report.error, "  ") ++ verdict(report)
  end

  defp aligned(pairs) do
    width =
      pairs |> Enum.map(fn {label, _value} -> String.length(label) end) |> Enum.max(fn -> 0 end)

    for {label, value} <- pairs, do: [String.pad_trailing(label, width), "  ", value]
  end

  defp step(step, width) do
    mark = if step.error, do: [:red, "✗", :reset], else: [:green, "✓", :reset]
    name = String.pad_trailing(step.name, width)
    line = ["  ", mark, " ", name, "  ", milliseconds(step.us), note(step.note)]
    [line | detail(step.error, "    ")]
  end

  defp note(""), do: []
  defp note(note), do: ["  ", note]

  defp milliseconds(us) when is_integer(us) do
    String.pad_leading(:erlang.float_to_binary(us / 1000, decimals: 1), 8) <> " ms"
  end

  defp milliseconds(_unknown), do: String.duplicate(" ", 11)

  defp failure(nil, _indent), do: []

  defp failure(error, indent),
    do: [[indent, :red, "✗", :reset, " ", error.message] | line(error, indent <> "  ")]

  defp detail(nil, _indent), do: []
  defp detail(error, indent), do: [[indent, :red, error.message, :reset] | line(error, indent)]

  # To be copied as it is.
  defp line(%{detail: %{line: line}}, indent) when is_binary(line) do
    [[indent, "add to known_hosts, once the fingerprint has been checked:"], [indent, line]]
  end

  defp line(_error, _indent), do: []

  defp verdict(report) do
    cond do
      not ok?(report) -> ["", [:red, "Something is wrong, see above.", :reset]]
      report.url -> ["", [:green, "The worker runs, and the remote can be read.", :reset]]
      true -> ["", [:green, "The worker runs.", :reset]]
    end
  end
end
