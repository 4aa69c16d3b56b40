defmodule Alumiini.Git.Bench.Way do
  @moduledoc """
  A way to the repositories of the fixtures: a server of its own, and what either side needs to get
  in.
  """

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Bench.Fixtures
  alias Alumiini.Git.Test.{Certificates, HttpServer, Nginx, SshKeys, SshServer}

  @enforce_keys [:name, :port, :url]
  defstruct [:name, :port, :url, options: nil, config: []]

  @typedoc """
  `url` and `options`, those of our calls, are made for a port, which is another one than the
  server's where something stands before it. `config` is Git's.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          port: :inet.port_number(),
          url: (String.t(), :inet.port_number() -> String.t()),
          options: (:inet.port_number() -> keyword) | nil,
          config: [{String.t(), String.t()}]
        }

  @doc """
  By nginx, which has all answers in its cache after the first time: what is left to measure is the
  client.
  """
  @spec http(Fixtures.t()) :: t
  def http(fixtures) do
    %__MODULE__{name: "HTTP", port: Nginx.port(fixtures.web), url: plain()}
  end

  @doc "By `git http-backend`, started for each request on the cores that the client has."
  @spec http_backend(Fixtures.t()) :: t
  def http_backend(fixtures) do
    %__MODULE__{name: "HTTP, git http-backend", port: HttpServer.port(fixtures.http), url: plain()}
  end

  defp plain, do: fn name, port -> "http://127.0.0.1:#{port}/#{name}" end

  @doc "As `http/1`, with a CA of its own, which both sides are told, and HTTP/2."
  @spec https(Fixtures.t()) :: t
  def https(fixtures) do
    certificate = Certificates.build(:good)
    ca = Path.join(fixtures.work, "ca.pem")
    File.write!(ca, certificate.ca)

    {:ok, server} =
      Nginx.start_link(root: fixtures.origins, dir: fixtures.work, cache: true, tls: certificate)

    %__MODULE__{
      name: "HTTPS",
      port: Nginx.port(server),
      url: fn name, port -> "https://localhost:#{port}/#{name}" end,
      options: fn _port -> [tls: [ca: certificate.ca]] end,
      config: [{"http.sslCAInfo", ca}]
    }
  end

  @doc "A real `sshd`."
  @spec ssh(Fixtures.t()) :: t
  def ssh(fixtures) do
    dir = Path.join(fixtures.work, "ssh")
    File.mkdir_p!(dir)
    key = SshKeys.generate!(dir, :ed25519)
    {:ok, server} = SshServer.start_link(dir: dir, authorized: [key])
    file = Path.join(dir, "known")
    File.write!(file, SshServer.known_hosts(server))

    %__MODULE__{
      name: "SSH",
      port: SshServer.port(server),
      url: fn name, port ->
        SshServer.url(server, Path.join(fixtures.origins, name), port: port)
      end,
      options: fn port ->
        [auth: Auth.ssh_key(key.private, known_hosts: SshServer.known_hosts(server, port: port))]
      end,
      config: [
        {"core.sshCommand",
         "ssh -F none -i #{key.path} -o UserKnownHostsFile=#{file} -o BatchMode=yes"}
      ]
    }
  end

  @spec url(t, String.t()) :: String.t()
  def url(way, name), do: way.url.(name, way.port)

  @spec options(t, :inet.port_number()) :: keyword
  def options(%__MODULE__{options: nil}, _port), do: []
  def options(way, port), do: way.options.(port)
end
