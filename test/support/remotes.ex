defmodule Alumiini.Git.Test.Remotes do
  @moduledoc """
  The same repositories over each of the ways to reach them, for tests that must hold over all.
  """

  alias Alumiini.Git.Test.HttpServer

  @type kind :: :v2 | :v0 | :file

  @doc "HTTP with protocol v2, HTTP where the server refuses v2, and `file://`."
  @spec kinds() :: [kind]
  def kinds, do: [:v2, :v0, :file]

  @doc """
  Serves the repositories in `root` for the running test. `url` makes the URL of one; `server` is
  the HTTP server, nil for `:file`.
  """
  @spec serve!(kind, Path.t()) :: %{url: (String.t() -> String.t()), server: pid | nil}
  def serve!(:file, root), do: %{url: &("file://" <> Path.join(root, &1)), server: nil}

  def serve!(kind, root) do
    server = ExUnit.Callbacks.start_supervised!({HttpServer, root: root})
    if kind == :v0, do: HttpServer.rule(server, :no_v2)
    %{url: &HttpServer.url(server, &1), server: server}
  end
end
