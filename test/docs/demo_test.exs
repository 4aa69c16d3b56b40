defmodule Alumiini.Git.DemoTest do
  # The first command of README.md as one types it, with the worker that it builds. Not async: it
  # wants the cores for itself.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Test.{Document, HttpServer, Manifests, OsProcess, Repository, TempDir}

  # A worker for the environment of `make demo` may have to be built.
  @moduletag timeout: 1_800_000

  # As in a shell of a user's, whatever runs these tests.
  @env Map.new(~w(MIX_ENV MAKEFLAGS MFLAGS MAKELEVEL URL BRANCH DIR), &{&1, nil})

  defp run(command), do: System.cmd("sh", ["-c", command], env: @env, stderr_to_stdout: true)

  test "make demo shows what README.md says, to its end" do
    {output, status} = run(Document.block!("README.md: See it at work").code)
    assert {status, output} == {0, output}
    refute output =~ "✗"
    shown = Document.block!("README.md: See it at work (2)").code
    assert {Document.missing_line(shown, output), output} == {nil, output}

    steps = for [step] <- Regex.scan(~r/^\d\. .*$/m, output), do: step
    assert Enum.map(steps, &String.first/1) == ~w(1 2 3 4 5 6 7)
    # The push: one file changed, one new, one gone.
    for line <- [
          "+   replicas: 3",
          "deploy/cart/autoscaler.yaml  (new)",
          "deploy/catalog/configmap.yaml  (gone)"
        ],
        do: assert(output =~ line)

    for clone <- ["tenants.git" | for(n <- 1..7, do: "shop.git, #{n}")],
        do: assert(output =~ ~r/✓ clone #{clone}: [0-9a-f]{12}$/m)
  end

  test "make demo-follow wakes one team for each push, by the interval and by a webhook" do
    {output, status} = run(Document.block!("README.md: See it at work (4)").code)
    assert {status, output} == {0, output}
    refute output =~ "✗"
    assert for([step] <- Regex.scan(~r/^\d\. /m, output), do: step) == for(n <- 1..5, do: "#{n}. ")
    assert output =~ "30 processes know the first commit"
    assert output =~ ~r/the server saw 3 requests in .* for all 30 teams/

    for team <- ["team-07", "team-23"] do
      woke = "✓ #{team} woke [\\d.]+ (ms|s) after the push"
      modified = "modified #{team}/deploy/app/deployment.yaml"
      assert output =~ ~r/#{woke}\n +#{modified}\n +✓ the 29 others heard nothing/
    end

    assert output =~ "30 subscribers, 1 follower, one directory"
  end

  test "make demo works on any repository, and kills the worker in the middle of its clone" do
    dir = TempDir.create!("demo-remote")
    origin = Repository.create!(dir, "shop.git", branch: "production")
    manifests = Enum.with_index(Manifests.many(60, bytes: 20_000))
    files = for {{_name, content}, n} <- manifests, do: {"deploy/#{n}.yaml", content}
    sha = Repository.commit!(origin, files, branch: "production")
    server = start_supervised!({HttpServer, root: dir})

    command =
      Document.block!("README.md: See it at work (3)").code
      |> String.replace("https://git.example.com/shop.git", HttpServer.url(server, "shop.git"))
      |> String.replace("BRANCH=main", "BRANCH=production")

    demo = start(command)
    assert await_line(demo, "2. First sync") =~ "1. A worker"
    listed = await_line(demo, "4. Nothing new")
    assert listed =~ sha and listed =~ "60 YAML files" and listed =~ "binaryData"

    # Polls bring no pack, so this meets the second clone.
    gate = HttpServer.rule(server, {:stop, {:pack, 200_000}, :hold}, path: "shop.git")

    assert await_line(demo, "   ✓ the worker is gone (exit status 137)") =~
             "the clone is in its phase receive"

    HttpServer.remove(server, gate)
    HttpServer.release(server, gate)

    {output, 0} = ended(demo)
    short = binary_part(sha, 0, 12)

    for answer <- [
          "clone into another directory: #{short}",
          "the remote's production: #{short}",
          "HEAD of the first clone: #{short}",
          "list deploy: 60 YAML files"
        ],
        do: assert(output =~ "✓ #{answer}\n")
  end

  test "make demo fails where a step does, and says why" do
    dir = TempDir.create!("demo-nothing")
    server = start_supervised!({HttpServer, root: dir})
    {output, status} = run("make demo URL=#{HttpServer.url(server, "nothing.git")}")
    assert status != 0
    assert output =~ ~r/✗ sync: failed to fetch: .*nothing\.git/
    refute output =~ "That was it"
  end

  ## A command that is followed line by line

  defp start(command) do
    env = for {name, nil} <- @env, do: {String.to_charlist(name), false}

    options = [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      line: 4096,
      args: ["-c", command],
      env: env
    ]

    port = Port.open({:spawn_executable, System.find_executable("sh")}, options)
    {:os_pid, os_pid} = Port.info(port, :os_pid)

    on_exit(fn ->
      for pid <- [os_pid | OsProcess.descendants(os_pid)], do: OsProcess.kill(pid, :KILL)
    end)

    port
  end

  # What it prints up to and including the line that begins so.
  defp await_line(port, beginning, output \\ "") do
    receive do
      {^port, {:data, {_end, line}}} ->
        output = output <> line <> "\n"

        if String.starts_with?(line, beginning),
          do: output,
          else: await_line(port, beginning, output)

      {^port, {:exit_status, status}} ->
        flunk("ended with status #{status} before #{inspect(beginning)}: #{output}")
    end
  end

  defp ended(port, output \\ "") do
    receive do
      {^port, {:data, {_end, line}}} -> ended(port, output <> line <> "\n")
      {^port, {:exit_status, status}} -> {output, status}
    end
  end
end
