defmodule Alumiini.Git.ScriptedWorker do
  @moduledoc """
  Peers that follow a script, for what a real worker does not do on demand. Each is a shell script that takes the place
  of the binary.

  A script is a list of steps. `write!/2` takes one for each start; the last one counts for all later starts.

    * `:read` - take one frame
    * `{:reply, map}` - write a frame
    * `{:raw, bytes}` - write bytes
    * `{:touch, path}` - make a file
    * `:hang` - take whatever comes, say nothing, end with the input
    * `:stop` - SIGSTOP
    * `{:exit, status}` - end

  At the end of its script it ends with status 0. Ids count from 1: the handshake has the first, each request and each
  later handshake the next one.
  """

  @hello %{"protocol" => 1, "version" => "1.2.3", "libgit2" => "1.9.1", "pid" => 1, "target" => "test"}

  @doc "The steps of a handshake that succeeds."
  def hello(id \\ 1), do: [:read, {:reply, %{"id" => id, "ok" => @hello}}]

  @doc "Writes the script of a peer that follows these steps, and returns its path."
  def write!(directory, scripts) do
    path = Path.join(directory, "worker-#{System.unique_integer([:positive])}")
    scripts = Enum.map(scripts, &Enum.map_join(&1, "\n", fn step -> step(step) end))

    cases =
      scripts
      |> Enum.with_index(1)
      |> Enum.map_join("\n", fn {script, start} ->
        pattern = if start == length(scripts), do: "*", else: "#{start}"
        "#{pattern})\n#{script}\n;;"
      end)

    File.write!(path, """
    #!/bin/sh
    if [ "$1" = --kill ]; then kill -9 "$2"; exit $?; fi
    take() { dd bs=1 count="$1" 2>/dev/null; }
    frame() {
      size=$(take 4 | od -An -tu1 | { read -r a b c d && echo $((((a * 256 + b) * 256 + c) * 256 + d)); })
      [ -n "$size" ] || exit 0
      take "$size" >/dev/null
    }
    echo start >> "$0.starts"
    case $(($(wc -l < "$0.starts"))) in
    #{cases}
    esac
    """)

    File.chmod!(path, 0o755)
    path
  end

  @doc "How often it was started."
  def starts(path) do
    case File.read(path <> ".starts") do
      {:ok, lines} -> lines |> String.split("\n", trim: true) |> length()
      {:error, :enoent} -> 0
    end
  end

  defp step(:read), do: "frame"
  defp step(:stop), do: "kill -STOP $$"
  defp step(:hang), do: "exec cat 3>&1 >/dev/null"
  defp step({:exit, status}), do: "exit #{status}"
  defp step({:touch, path}), do: ": > #{path}"
  defp step({:raw, bytes}), do: printf(bytes)

  defp step({:reply, map}) do
    body = Msgpax.pack!(map, iodata: false)
    printf(<<byte_size(body)::32, body::binary>>)
  end

  defp printf(bytes) do
    octal =
      for <<byte <- bytes>>, into: "", do: "\\" <> String.pad_leading(Integer.to_string(byte, 8), 3, "0")

    "printf '#{octal}'"
  end
end
