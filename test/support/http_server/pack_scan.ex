defmodule Alumiini.Git.Test.HttpServer.PackScan do
  @moduledoc """
  Finds the bytes of the pack in an answer of `git upload-pack`, while it streams past.

  The pack travels in pkt-lines whose first byte is 1 (side-band 1). Everything else that begins so
  early in a pkt-line is text, so that byte is enough to tell, in protocol v0 and v2.
  """

  @opaque state :: {:len, binary} | {:band, pos_integer} | {:data, kind, pos_integer} | :opaque
  @type kind :: :pack | :other

  @spec new() :: state
  def new, do: {:len, ""}

  @doc """
  Cuts `data` into its parts, in order: bytes of the pack, and others. Their concatenation is
  `data`.
  """
  @spec scan(state, binary) :: {[{kind, binary}], state}
  def scan(state, data), do: scan(state, data, [])

  defp scan(state, "", parts), do: {Enum.reverse(parts), state}
  defp scan(:opaque, data, parts), do: {Enum.reverse([{:other, data} | parts]), :opaque}

  defp scan({:len, got}, data, parts) do
    missing = 4 - byte_size(got)

    if byte_size(data) >= missing do
      {rest_of_length, rest} = :erlang.split_binary(data, missing)
      scan(after_length(got <> rest_of_length), rest, [{:other, rest_of_length} | parts])
    else
      {Enum.reverse([{:other, data} | parts]), {:len, got <> data}}
    end
  end

  defp scan({:band, left}, <<band::binary-size(1), rest::binary>>, parts) do
    kind = if band == <<1>>, do: :pack, else: :other
    scan(in_line(kind, left - 1), rest, [{:other, band} | parts])
  end

  defp scan({:data, kind, left}, data, parts) do
    if byte_size(data) >= left do
      {line, rest} = :erlang.split_binary(data, left)
      scan(new(), rest, [{kind, line} | parts])
    else
      {Enum.reverse([{kind, data} | parts]), {:data, kind, left - byte_size(data)}}
    end
  end

  defp in_line(_kind, 0), do: new()
  defp in_line(kind, left), do: {:data, kind, left}

  defp after_length(hex) do
    case Integer.parse(hex, 16) do
      # Flush, delimiter, response end, and a line with nothing in it.
      {n, ""} when n in 0..4 -> new()
      {n, ""} -> {:band, n - 4}
      # Not pkt-lines at all, an error page for instance.
      _ -> :opaque
    end
  end
end
