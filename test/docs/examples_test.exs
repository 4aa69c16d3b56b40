# The example's tests, as its users run them, are a part of these.
for file <- ["lib/follower.ex", "test/follower_test.exs"],
    do: Code.require_file("../../examples/follower/" <> file, __DIR__)

defmodule Alumiini.Git.ExamplesTest do
  # The GenServer of README.md, which people copy, must outlive every error; examples/follower,
  # whose own tests are run below, becomes an image. Not async: they call the server of the default
  # name, log, and read the environment.
  use Alumiini.Git.Test.HttpCase, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Server.Binary
  alias Alumiini.Git.Test.{Consumer, Dockerfile, Document, OsProcess}

  @moduletag :tmp_dir

  # Milliseconds, in place of 30 seconds and 10 minutes.
  @interval 5
  @longest 80
  @pauses [10, 20, 40, 80, 80, 80]

  @moduletag files: %{"app.yaml" => "a: 1"}

  setup [:dir, :origin, :commit, :http, :listen]

  defp listen(_context) do
    events = for event <- [:start, :stop], do: [:alumiini_git, :sync, event]
    :telemetry.attach_many(__MODULE__, events, &__MODULE__.tell/4, self())
    on_exit(fn -> :telemetry.detach(__MODULE__) end)
  end

  def tell([_, _, event], _measurements, metadata, test),
    do: send(test, {event, System.monotonic_time(), metadata})

  test "the GenServer of README.md goes on after every error, and waits longer and longer",
       context do
    code =
      Document.block!("README.md: Use").code
      |> replace!("/var/lib/shop", context.path)
      |> replace!(":timer.seconds(30)", "#{@interval}")
      |> replace!("working_tree: false]", "working_tree: false, allow_insecure: true]")
      # What a reader has functions of their own for.
      |> replace!(~r/\nend\n$/, """

        defp token, do: "s3cr3t"

        defp apply_manifests(directory, sha),
          do: send(#{inspect(__MODULE__)}, {:applied, directory, sha})
      end
      """)

    Process.register(self(), __MODULE__)
    module = compile!(code)
    outlives(context, {module, context.url})
    assert_received {:applied, directory, sha}
    assert {directory, sha} == {context.path, context.commit}
    refute_received {:applied, _directory, _sha}
  end

  defp compile!(code) do
    code = replace!(code, ":timer.minutes(10)", "#{@longest}")
    [{module, _binary}] = Code.compile_string(code)

    on_exit(fn ->
      :code.purge(module)
      :code.delete(module)
    end)

    module
  end

  defp replace!(code, part, by) do
    replaced = String.replace(code, part, by)
    if replaced == code, do: flunk("there is no #{inspect(part)} in #{code}"), else: replaced
  end

  # Refused for a while, then let in, then refused again: one process all the time.
  defp outlives(context, child) do
    log =
      capture_log(fn ->
        refused = refuse(context)
        supervisor = [[Git, child], [strategy: :one_for_one, max_restarts: 0]]
        start = {Supervisor, :start_link, supervisor}
        application = %{id: :application, type: :supervisor, restart: :temporary, start: start}
        process = application |> start_supervised!() |> Supervisor.which_children() |> follower()

        {:auth, _waited, answered} = next_sync(0)
        answered = Enum.reduce(@pauses, answered, &refused_after/2)

        HttpServer.remove(context.http, refused)
        answered = until(:ok, answered)
        assert {:ok, _waited, _answered} = next_sync(answered)
        assert %{pause: @interval} = :sys.get_state(process)

        refuse(context)
        answered = until(:auth, answered)
        Enum.reduce(Enum.take(@pauses, 3), answered, &refused_after/2)
        assert Process.alive?(process)
        stop_supervised!(:application)
      end)

    # Ten errors, of two occasions.
    assert [_first, _second] = Regex.scan(~r/\[error\] sync: .*origin\.git/, log)
    assert [_first, _second] = Regex.scan(~r/\[error\]/, log)
    refute log =~ "s3cr3t"
  end

  defp refuse(%{http: http}), do: HttpServer.rule(http, {:require, {:basic, "git", "another"}})

  defp follower(children),
    do: Enum.find_value(children, fn {id, pid, _, _} -> if id != Git, do: pid end)

  # A timer may be late and never early, so this holds on any machine.
  defp refused_after(pause, answered) do
    assert {:auth, waited, answered} = next_sync(answered)
    assert waited >= pause
    answered
  end

  # One that was under way when things changed may still have the answer of before.
  defp until(result, answered) do
    case next_sync(answered) do
      {^result, _waited, answered} -> answered
      {_before, _waited, answered} -> until(result, answered)
    end
  end

  # What came of the next sync, how long it began after `answered`, and when it was answered.
  defp next_sync(answered) do
    assert_receive {:start, began, _metadata}, 60_000
    assert_receive {:stop, ended, %{result: result}}, 60_000
    {result, System.convert_time_unit(began - answered, :native, :millisecond), ended}
  end

  ## The image

  @tag timeout: 300_000
  test "the Dockerfile makes a release of examples/follower, which logs a commit, and one " <>
         "that is pushed",
       context do
    consumer = Consumer.create!()
    image = Path.join(consumer.dir, "image")
    text = File.read!("Dockerfile")
    stage = Dockerfile.stage!(text, "elixir:1.18-otp-27-slim AS application")
    last = Dockerfile.stage!(text, "debian:bookworm-slim")

    # Of that Debian, and from Hex, whose packages the stand-ins are in place of.
    {elsewhere, stage} =
      Enum.split_with(stage, &(elem(&1, 1) =~ ~r{^grep .* /etc/os-release|^mix local\.}))

    assert length(elsewhere) == 2
    File.mkdir_p!(Path.join(image, "build/test"))
    File.cp_r!("test/offline", Path.join(image, "build/test/offline"))

    {:ok, worker} = Binary.locate(nil)

    copy = fn
      "worker", "/build/target/release/alumiini-git" -> worker
      nil, path -> Path.expand(path)
    end

    run = fn command, directory, env ->
      {output, status} = Consumer.run(consumer, "/bin/sh", ["-c", command], directory, env)
      refute output =~ "warning:"
      {output, status}
    end

    Dockerfile.run!(stage, image, copy, run)

    # What runs is the release as it was built; the last stage says how.
    File.mkdir_p!(Path.join(image, "tmp"))
    %{env: env} = last |> Enum.filter(&(elem(&1, 0) == "ENV")) |> Dockerfile.run!(image, copy, run)

    {["/app/bin/" <> _ = program | arguments], _} =
      last |> List.keyfind("CMD", 0) |> elem(1) |> Code.eval_string()

    given = %{
      "GIT_URL" => context.url,
      "GIT_SCHEMES" => "http",
      "GIT_DIRECTORY" => context.path,
      "GIT_INTERVAL" => "1"
    }

    follower =
      Consumer.start(consumer, Path.join(image, program), arguments, image, Map.merge(env, given))

    {:os_pid, os_pid} = Port.info(follower, :os_pid)
    on_exit(fn -> OsProcess.kill(os_pid, :KILL) end)

    assert await(follower, "main is at ") =~ "#{context.commit}, with 1 YAML files at its root"
    pushed = Repository.commit!(context.origin, %{"another.yaml" => "b: 2"})
    assert await(follower, "main is at ") =~ "#{pushed}, with 2 YAML files at its root"

    # The BEAM is the process that was started: the signal that Docker sends reaches it, and its
    # worker ends with it.
    [worker] = OsProcess.named("alumiini-git")
    :ok = OsProcess.kill(os_pid, :TERM)
    assert {_output, 0} = Consumer.ended(follower)
    assert OsProcess.await_exit(worker) == :ok
  end

  # The rest of the next line that has `text` in it.
  defp await(port, text) do
    receive do
      {^port, {:data, {_end, line}}} ->
        case String.split(line, text, parts: 2) do
          [_before, rest] -> rest
          [_other] -> await(port, text)
        end

      {^port, {:exit_status, status}} ->
        flunk("it ended with status #{status} before it said #{inspect(text)}")
    end
  end
end
