defmodule Alumiini.Git.Test.Demo.Screen do
  @moduledoc "What the demo prints: in colour, and with a bar that moves, on a terminal only."

  @bar 32

  @spec title(pos_integer, String.t()) :: :ok
  def title(number, text), do: IO.puts(["\n", paint([:bright, :cyan], "#{number}. #{text}")])

  @spec say(IO.chardata()) :: :ok
  def say(text), do: IO.puts(["   ", text])

  @spec good(IO.chardata()) :: :ok
  def good(text), do: IO.puts(["   ", paint([:green], "✓ "), text])

  @spec bad(IO.chardata()) :: :ok
  def bad(text), do: IO.puts(["   ", paint([:red], "✗ "), text])

  @doc "A call as one would write it."
  @spec code(String.t()) :: :ok
  def code(text), do: IO.puts(["   ", paint([:faint], "iex> "), paint([:yellow], text)])

  @spec faint(IO.chardata()) :: IO.chardata()
  def faint(text), do: paint([:faint], text)

  @spec bold(IO.chardata()) :: IO.chardata()
  def bold(text), do: paint([:bright], text)

  @doc "The beginning of a file, with its name above."
  @spec file(String.t(), binary, pos_integer) :: :ok
  def file(name, content, lines \\ 20) do
    all = content |> text() |> String.split("\n") |> drop_last_empty()
    IO.puts(["   ", bold(name)])
    for line <- Enum.take(all, lines), do: IO.puts(["   ", faint("│ "), line])
    if length(all) > lines, do: IO.puts(["   ", faint("│ … #{length(all) - lines} more lines")])
    :ok
  end

  @doc """
  What changed between two versions of a file, with a line or two around it; nil is a file that is
  not there.
  """
  @spec diff(String.t(), binary | nil, binary | nil) :: :ok
  def diff(name, before, later) do
    IO.puts(["   ", bold(name), faint(change(before, later))])

    before
    |> lines()
    |> List.myers_difference(lines(later))
    |> context()
    |> Enum.each(fn
      {:eq, line} -> IO.puts(["     ", faint(["  ", line])])
      {:del, line} -> IO.puts(["     ", paint([:red], ["- ", line])])
      {:ins, line} -> IO.puts(["     ", paint([:green], ["+ ", line])])
      :gap -> IO.puts(["     ", faint("  ⋮")])
    end)
  end

  defp change(nil, _later), do: "  (new)"
  defp change(_before, nil), do: "  (gone)"
  defp change(_before, _later), do: ""

  defp lines(nil), do: []
  defp lines(content), do: content |> text() |> String.split("\n") |> drop_last_empty()

  # At most two unchanged lines on either side of a change.
  defp context(parts) do
    last = length(parts) - 1

    parts
    |> Enum.with_index()
    |> Enum.flat_map(fn
      {{:eq, lines}, 0} when last == 0 -> for line <- Enum.take(lines, 2), do: {:eq, line}
      {{:eq, lines}, 0} -> shorten([], lines, 2)
      {{:eq, lines}, ^last} -> shorten(lines, [], 2)
      {{:eq, lines}, _} when length(lines) <= 4 -> for line <- lines, do: {:eq, line}
      {{:eq, lines}, _} -> shorten(lines, lines, 2)
      {{kind, lines}, _} -> for line <- lines, do: {kind, line}
    end)
  end

  defp shorten(after_change, before_change, count) do
    head = for line <- Enum.take(after_change, count), do: {:eq, line}
    tail = for line <- Enum.take(before_change, -count), do: {:eq, line}
    left_out? = max(length(after_change), length(before_change)) > count
    head ++ if(left_out?, do: [:gap], else: []) ++ tail
  end

  defp drop_last_empty(lines) do
    case List.last(lines) do
      "" -> Enum.drop(lines, -1)
      _ -> lines
    end
  end

  # A file in a repository may hold anything; a terminal shall not see it.
  defp text(content),
    do: if(String.printable?(content), do: content, else: inspect(content, limit: 200))

  ## Progress

  @doc "A function for `:progress`, which draws a bar. `finish_bar/0` ends it."
  @spec bar() :: (map -> :ok)
  def bar do
    fn %{phase: phase} = progress ->
      # Nothing is known yet while connecting.
      if phase != :connect, do: draw(progress)
      :ok
    end
  end

  defp draw(%{phase: phase} = progress) do
    if IO.ANSI.enabled?() do
      IO.write(["\r\e[2K   ", drawn(progress)])
    else
      # The last of each phase is enough where lines cannot be drawn over.
      case Process.put(__MODULE__, progress) do
        %{phase: other} = last when other != phase -> IO.puts(["   ", drawn(last)])
        _ -> :ok
      end
    end
  end

  @spec finish_bar() :: :ok
  def finish_bar do
    last = Process.delete(__MODULE__)

    cond do
      IO.ANSI.enabled?() -> IO.write("\r\e[2K")
      last -> IO.puts(["   ", drawn(last)])
      true -> :ok
    end
  end

  defp drawn(%{phase: phase, done: done, total: total, bytes: bytes}) do
    share = if total > 0, do: done / total, else: 0.0
    full = round(share * @bar)

    [
      String.pad_trailing("#{phase}", 9),
      paint([:green], String.duplicate("█", full)),
      faint(String.duplicate("░", @bar - full)),
      " #{String.pad_leading("#{round(share * 100)}", 3)} %  #{done}/#{total}",
      if(bytes > 0, do: "  #{size(bytes)}", else: "")
    ]
  end

  ## Figures

  @doc "Runs `fun` and returns `{microseconds, result}`."
  @spec measure((() -> result)) :: {non_neg_integer, result} when result: term
  def measure(fun), do: :timer.tc(fun)

  @spec time(number) :: String.t()
  def time(microseconds) when microseconds < 10_000, do: "#{Float.round(microseconds / 1000, 2)} ms"
  def time(microseconds) when microseconds < 1_000_000, do: "#{round(microseconds / 1000)} ms"
  def time(microseconds), do: "#{Float.round(microseconds / 1_000_000, 2)} s"

  @spec size(non_neg_integer) :: String.t()
  def size(bytes) when bytes < 1024, do: "#{bytes} B"
  def size(bytes) when bytes < 1_048_576, do: "#{Float.round(bytes / 1024, 1)} KiB"
  def size(bytes), do: "#{Float.round(bytes / 1_048_576, 1)} MiB"

  defp paint(codes, text) do
    if IO.ANSI.enabled?() and System.get_env("NO_COLOR") in [nil, ""] do
      [Enum.map(codes, &apply(IO.ANSI, &1, [])), text, IO.ANSI.reset()]
    else
      text
    end
  end
end
