defmodule Alumiini.Git.Precompiled.Progress do
  @moduledoc false

  # A bar for those who watch.

  @bar 30

  @doc "A function that shows how far a download is: on a terminal, and nowhere else."
  @spec on_terminal() :: (non_neg_integer, non_neg_integer | nil -> :ok)
  def on_terminal do
    # Only a terminal has columns.
    case :io.columns() do
      {:ok, columns} when columns > @bar + 40 -> &show/2
      _no_terminal -> fn _received, _total -> :ok end
    end
  end

  defp show(received, total) do
    # One of a few hundred steps, so that the terminal is not what takes the time.
    step = if total, do: max(div(total, 200), 1), else: 65_536
    last = Process.get(__MODULE__, -1)

    if div(received, step) != last or received == total do
      Process.put(__MODULE__, div(received, step))
      IO.write(["\r", line(received, total), if(received == total, do: "\n", else: "")])
    end

    :ok
  end

  @doc "The line for so many bytes of so many."
  @spec line(non_neg_integer, non_neg_integer | nil) :: String.t()
  def line(received, total) when is_integer(total) and total > 0 do
    full = min(div(received * @bar, total), @bar)
    percent = String.pad_leading("#{min(div(received * 100, total), 100)}", 3)

    "  #{String.duplicate("█", full)}#{String.duplicate("░", @bar - full)} #{percent} %  " <>
      "#{mebibytes(total)} MiB"
  end

  def line(received, _unknown), do: "  #{mebibytes(received)} MiB"

  defp mebibytes(bytes), do: :erlang.float_to_binary(bytes / 1024 / 1024, decimals: 1)
end
