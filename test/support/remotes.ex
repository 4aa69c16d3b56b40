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
  the HTTP server, nil for `:file`, with the options of `HttpServer.start_link/1`.
  """
  @spec serve!(kind, Path.t(), keyword) :: %{url: (String.t() -> String.t()), server: pid | nil}
  def serve!(kind, root, options \\ [])

  def serve!(:file, root, _options), do: %{url: &("file://" <> Path.join(root, &1)), server: nil}

  def serve!(kind, root, options) do
    server = ExUnit.Callbacks.start_supervised!({HttpServer, [root: root] ++ options})
    if kind == :v0, do: HttpServer.rule(server, :no_v2)
    %{url: &HttpServer.url(server, &1), server: server}
  end
end
