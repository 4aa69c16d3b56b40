defmodule Alumiini.Git.Test.ScriptedWorker do
  @moduledoc """
  Peers that follow a script, for what a real worker does not do on demand. Each is a shell script
  that takes the place of the binary.

  A script is a list of steps. `write!/2` takes one for each start; the last one counts for all
  later starts.

    * `:read` - take one frame
    * `{:answer, value}` - answer the frame that was taken last
    * `{:reply, map}` - write a frame; an `"id"` of `:last` is that of the frame that was taken last
    * `:serve` - take frames for ever: a `cancel` is answered with `cancelled`, a frame that holds
      the text `poison` kills the peer, one that holds `silent` is not answered, and every other one
      is answered with `"served"`
    * `{:raw, bytes}` - write bytes
    * `{:shell, line}` - anything else
    * `:hang` - take whatever comes, say nothing, end with the input
    * `:stop` - SIGSTOP
    * `{:exit, status}` - end

  At the end of its script it ends with status 0. Ids must be below 128.
  """

  @hello %{
    "protocol" => 1,
    "version" => "1.2.3",
    "libgit2" => "1.9.1",
    "pid" => 1,
    "target" => "test"
  }
  # Stands for the id that is known only when the script runs.
  @last 127

  @doc "The steps of a handshake that succeeds."
  def hello, do: [:read, {:answer, @hello}]

  @doc "What a sync answers that brought 70 bytes."
  def synced(sha) do
    %{
      "sha" => sha,
      "branch" => "main",
      "tag" => nil,
      "previous" => nil,
      "changed" => true,
      "cloned" => true,
      "repaired" => false,
      "bytes" => 70,
      "objects" => 3
    }
  end

  @doc "Writes the script of a peer that follows these steps, and returns its path."
  def write!(directory, scripts) do
    path = Path.join(directory, "worker-#{System.unique_integer([:positive])}")

    cases =
      scripts
      |> Enum.with_index(1)
      |> Enum.map_join("\n", fn {script, start} ->
        pattern = if start == length(scripts), do: "*", else: "#{start}"
        "#{pattern})\n#{Enum.map_join(script, "\n", &step/1)}\n;;"
      end)

    cancelled = {:reply, %{"id" => :last, "err" => "cancelled", "kind" => "cancelled"}}

    File.write!(path, """
    #!/bin/sh
    if [ "$1" = --kill ]; then kill -9 "$2"; exit $?; fi
    # It is no news when it writes to a port that is closed.
    exec 2>/dev/null
    take() { dd bs=1 count="$1" 2>/dev/null; }
    frame() {
      size=$(take 4 | od -An -tu1 |
        { read -r a b c d && echo $((((a * 256 + b) * 256 + c) * 256 + d)); })
      [ -n "$size" ] || exit 0
      frame=$(take "$size" | od -An -v -tx1 | tr -d ' \\n')
      # The byte after the key "id", wherever that is. Not by `${frame#*…}`, which takes the square
      # of the frame's length.
      id=$(printf '%s\\n' "$frame" | awk '{ print substr($0, index($0, "a26964") + 6, 2) }')
      id=$(printf '%03o' "0x$id")
    }
    serve() {
      while frame; do
        case $frame in
        *#{hex("poison")}*) kill -9 $$ ;;
        *#{hex("cancel")}*) #{step(cancelled)} ;;
        *#{hex("silent")}*) ;;
        *) #{step({:answer, "served"})} ;;
        esac
      done
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
  defp step(:serve), do: "serve"
  defp step(:stop), do: "kill -STOP $$"
  # The duplicate keeps the port's input open: a peer that closes its output is another case.
  defp step(:hang), do: "exec cat 3>&1 >/dev/null"
  defp step({:exit, status}), do: "exit #{status}"
  defp step({:shell, line}), do: line
  defp step({:raw, bytes}), do: ~s(printf "#{octal(bytes)}")
  defp step({:answer, value}), do: step({:reply, %{"id" => :last, "ok" => value}})

  defp step({:reply, map}) do
    map = Map.new(map, fn {key, value} -> {key, if(value == :last, do: @last, else: value)} end)
    body = Msgpax.pack!(map, iodata: false)
    frame = octal(<<byte_size(body)::32, body::binary>>)

    with_id = octal(<<0xA2, "id">>) <> "\\\\$id"
    ~s(printf "#{String.replace(frame, octal(<<0xA2, "id", @last>>), with_id)}")
  end

  defp octal(bytes) do
    for <<byte <- bytes>>,
      into: "",
      do: "\\" <> String.pad_leading(Integer.to_string(byte, 8), 3, "0")
  end

  defp hex(text), do: Base.encode16(text, case: :lower)
end
