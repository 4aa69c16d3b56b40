defmodule Alumiini.Git.Bench.Baseline do
  @moduledoc """
  What the server alone needs to tell what a branch is at: the one request that a sync with nothing
  new consists of, on a connection that is open already, with nothing done to the answer. No client
  can be faster.
  """

  @spec connect!(:inet.port_number()) :: :gen_tcp.socket()
  def connect!(port) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true])
    socket
  end

  @doc "Asks once, and returns when the answer is whole."
  @spec ask!(:gen_tcp.socket(), String.t()) :: :ok
  def ask!(socket, url) do
    path = URI.parse(url).path
    body = body()

    :ok =
      :gen_tcp.send(socket, [
        "POST #{path}/git-upload-pack HTTP/1.1\r\nhost: 127.0.0.1\r\ngit-protocol: version=2\r\n",
        "content-type: application/x-git-upload-pack-request\r\n",
        "content-length: #{byte_size(body)}\r\n\r\n",
        body
      ])

    answered!(socket, "")
  end

  defp body do
    "0014command=ls-refs\n" <>
      "0017object-format=sha1\n" <>
      "0001" <> "0009peel\n" <> "001fref-prefix refs/heads/main\n" <> "0000"
  end

  # The answer is in chunks; Git's own last bytes are a flush.
  defp answered!(socket, got) do
    if String.ends_with?(got, "0000\r\n0\r\n\r\n") do
      "HTTP/1.1 200" <> _ = got
      :ok
    else
      {:ok, more} = :gen_tcp.recv(socket, 0, 30_000)
      answered!(socket, got <> more)
    end
  end
end
