defmodule Alumiini.Git.Url do
  @moduledoc """
  What a URL comes to: where a remote is, as the worker uses it.

  Whoever lets others choose URLs, and decides by the host which of them to take, must look at this,
  not at the text. What is used is not what is written there: `https://0x7f000001/`,
  `https://127.1/` and `https://１２７.0.0.1/` are `127.0.0.1`, `https://ex%61mple.com/a/../b` is
  `https://example.com/b`, and `git@example.com:r.git` is SSH. `URI.parse/1` and others read several
  of these differently.

      {:ok, url} = Alumiini.Git.Url.normalize(tenant.url)

      if url.scheme == "https" and url.host in ["github.com", "git.example.com"] do
        Alumiini.Git.sync(tenant.url, "main", path)
      end

  A host's name says nothing about where it leads: for that there is the option `:addresses` of
  `Alumiini.Git.start_link/1`, which is asked at each connection and each redirect.

  | field | |
  | --- | --- |
  | `scheme` | `"https"`, `"http"`, `"ssh"` or `"file"` (paths of this machine, too) |
  | `host` | a name in lower case, with punycode over HTTP, or an address without brackets; `nil` for a path of this machine |
  | `port` | also where the URL names none; `nil` for a path of this machine |
  | `path` | as the server gets it, without a query; over SSH it may be relative to the user's home |
  | `url` | all of it, as errors and telemetry show it: without password, token, query and fragment. Over SSH with the user, and in the short form where the path is relative |
  | `hidden?` | whether more is used than `url` shows: a query, or what may be a secret. Two URLs with the same `url` may then be two repositories |

  Credentials are in no field. Where there may be some in the path, it is `"[hidden]"`.
  """

  alias Alumiini.Git.{Error, Operation, Options, RedactedUrl, Response}

  # Of the common ones; there are no events of it.
  @options [:server, :timeout]

  @enforce_keys [:scheme, :host, :port, :path, :url, :hidden?]
  defstruct [:scheme, :host, :port, :path, :url, :hidden?]

  @type t :: %__MODULE__{
          scheme: String.t(),
          host: String.t() | nil,
          port: :inet.port_number() | nil,
          path: binary,
          url: binary,
          hidden?: boolean
        }

  @doc """
  The URL as the worker uses it. Nothing is resolved or connected to, and whether the server's
  options allow it is not asked.

  It is the worker that says so, by the code that it connects with: a server must run.

  ## Options

    * `:server`, `:timeout` - see `Alumiini.Git.Options`

  ## Errors

  Among others: `:invalid` (no URL, or one that holds what Git would read differently),
  `:unsupported` (a scheme that is not spoken).

  ## Examples

      iex> {:ok, url} = Alumiini.Git.Url.normalize("https://0x7f000001:443/team/r.git")
      iex> {url.scheme, url.host, url.port, url.path}
      {"https", "127.0.0.1", 443, "/team/r.git"}
  """
  @spec normalize(String.t(), [{:server, GenServer.server()} | {:timeout, pos_integer}]) ::
          {:ok, t} | {:error, Error.t()}
  def normalize(url, options \\ []) do
    Options.Check.call!(:"Url.normalize", @options, options)
    # Its credentials stay here.
    {bare, _auth} = url |> Options.Check.url!() |> RedactedUrl.split()

    case Operation.request(%{"op" => "normalize", "url" => bare}, options) do
      {:ok, %{"ok" => %{"scheme" => scheme, "host" => host, "path" => path} = ok}} ->
        url = %__MODULE__{
          scheme: scheme,
          host: host,
          port: ok["port"],
          path: path,
          url: ok["url"],
          hidden?: ok["hidden"]
        }

        {:ok, url}

      other ->
        Response.failed(other, :normalize)
    end
  end
end
