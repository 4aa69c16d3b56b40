defmodule Alumiini.Git.Test.ShownUrls do
  @moduledoc """
  The table of what may be shown of a URL, `protocol/shown_urls.txt`, which the worker's tests read,
  too.
  """

  @path Path.expand("../../protocol/shown_urls.txt", __DIR__)

  @doc "Each text with what is shown of it."
  @spec table() :: [{url :: binary, shown :: String.t()}]
  def table do
    for line <- @path |> File.read!() |> String.split("\n", trim: true),
        not String.starts_with?(line, "#") do
      [url, shown | _worker] = String.split(line, "\t")

      {Regex.replace(~r/\\x([0-9a-f]{2})/, url, fn _all, hex ->
         Base.decode16!(hex, case: :lower)
       end), shown}
    end
  end
end
