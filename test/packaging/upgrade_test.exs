defmodule Alumiini.Git.Precompiled.UpgradeTest do
  # A newer version is compiled while a project runs with the one before: what runs goes on, and
  # what starts is new.
  use Alumiini.Git.Test.ConsumerCase, async: false

  alias Alumiini.Git.Test.{HttpServer, OsProcess, Repository, ScriptedWorker}

  @moduletag timeout: 300_000
  unless match?({:unix, :linux}, :os.type()),
    do: @moduletag(skip: "what a process runs is asked of /proc")

  # Answers each line of its standard input with one.
  @code """
  Shop.start()

  for line <- IO.stream(:stdio, :line) do
    case String.split(line) do
      ["worker"] ->
        # The answer to a first call says that one is up.
        {:ok, _} = Alumiini.Git.files(File.cwd!())
        %{os_pid: pid, version: version} = Alumiini.Git.Server.info(Alumiini.Git)
        IO.puts("worker \#{pid} \#{version}")

      ["sync", url, path] ->
        case Alumiini.Git.sync(url, "main", path) do
          {:ok, sha} -> IO.puts("synced \#{sha}")
          {:error, error} -> IO.puts("failed \#{error.reason}: \#{error.message}")
        end
    end
  end
  """

  setup [:consumer, :origin, :running]

  defp origin(consumer) do
    repositories = Path.join(consumer.dir, "repositories")
    origin = Repository.create!(repositories)
    http = start_supervised!({HttpServer, root: repositories})
    sync = "sync #{HttpServer.url(http, "origin.git")} #{Path.join(consumer.dir, "clone")}"
    %{origin: origin, sync: sync}
  end

  defp running(consumer) do
    assert {_output, 0} = Consumer.mix(consumer, ["compile"])
    running = Consumer.start_mix(consumer, ["run", "-e", @code])
    %{running: running, worker: Path.join(consumer.priv, "alumiini-git")}
  end

  defp ask(%{running: running}, question), do: Port.command(running, question <> "\n")

  defp worker(context) do
    ask(context, "worker")
    [pid, version] = context.running |> Consumer.line!("worker ") |> String.split()
    {String.to_integer(pid), version}
  end

  defp syncs!(context) do
    sha = Repository.commit!(context.origin, %{"a.yaml" => "a: #{System.unique_integer()}"})
    ask(context, context.sync)
    assert Consumer.line!(context.running, "synced ") == sha
  end

  # The file that a process was started from, whatever its name is by now.
  defp runs(pid), do: File.stat!("/proc/#{pid}/exe").inode

  test "a running worker keeps its own, and the next one is the newer", context do
    syncs!(context)
    {pid, version} = worker(context)
    assert version == Consumer.version(1)
    older = File.stat!(context.worker).inode
    assert runs(pid) == older

    Consumer.release!(context, Consumer.version(2), Consumer.worker(Consumer.version(2)))
    assert {output, 0} = Consumer.mix(context, ["compile"])
    assert output =~ "Downloading"
    newer = File.stat!(context.worker).inode
    assert newer != older
    assert File.read!(context.worker) == Consumer.worker(Consumer.version(2))

    # It does not notice.
    syncs!(context)
    assert worker(context) == {pid, version}
    assert runs(pid) == older

    # Its end is the server's to see, which starts what is there now. The protocol is the same, so
    # the library takes it.
    :ok = OsProcess.kill(pid, :KILL)
    :ok = OsProcess.await_exit(pid)
    syncs!(context)
    {successor, version} = worker(context)
    assert version == Consumer.version(2)
    assert runs(successor) == newer
  end

  test "a newer worker with another protocol is refused by the library that still runs, with " <>
         "both named",
       context do
    syncs!(context)
    {pid, _version} = worker(context)

    # The library that goes with it speaks that protocol, too, so it compiles.
    version = Consumer.version(2)

    hello = %{
      "protocol" => 2,
      "version" => version,
      "libgit2" => "1.9.7",
      "pid" => 1,
      "target" => "test"
    }

    scripted = ScriptedWorker.write!(context.dir, [[:read, {:answer, hello}, :hang]])

    Consumer.release!(context, version, """
    #!/bin/sh
    case "$1" in
      --version) echo "alumiini-git #{version} protocol 2 libgit2 1.9.7 test"; exit ;;
    esac
    PATH=/usr/bin:/bin exec "#{scripted}" "$@"
    """)

    protocol = Path.join(context.package, "lib/alumiini/git/server/protocol.ex")
    File.write!(protocol, String.replace(File.read!(protocol), "@version 1", "@version 2"))
    assert {_output, 0} = Consumer.mix(context, ["compile"])
    syncs!(context)

    :ok = OsProcess.kill(pid, :KILL)
    :ok = OsProcess.await_exit(pid)
    ask(context, context.sync)
    assert "protocol: " <> message = Consumer.line!(context.running, "failed ")
    assert message =~ "speaks protocol 1 with its worker"
    assert message =~ "/priv/alumiini-git speaks protocol 2 (version #{version})"
  end
end
