defmodule Alumiini.Git.Precompiled.TogetherTest do
  # Two real `mix compile`, as in an umbrella and as in CI with one cache, each held where the other
  # could see what it has not finished.
  use Alumiini.Git.Test.ConsumerCase, async: false

  alias Alumiini.Git.Test.OsProcess

  @moduletag timeout: 300_000

  setup [:consumer, :elsewhere]

  # Another checkout, on the same machine.
  defp elsewhere(consumer) do
    elsewhere = Path.join(consumer.dir, "elsewhere")
    File.mkdir_p!(elsewhere)
    %{elsewhere: elsewhere}
  end

  # All of Elixir is compiled, so that what follows takes no time, with another worker in place.
  # Said here since it is what users do, too.
  defp prepare!(context, projects) do
    older = Path.join(context.dir, "older")
    File.write!(older, Consumer.worker(context.version))
    File.chmod!(older, 0o755)

    for project <- projects do
      assert {_output, 0} =
               Consumer.mix(context, ["compile"], %{"ALUMIINI_GIT_PATH" => older}, in: project)
    end

    File.read!(older)
  end

  test "with one cache: it never holds a part of an archive, also while two fill it", context do
    File.cp_r!(context.package, Path.join(context.elsewhere, "alumiini_git"))
    till = Consumer.project!(context.elsewhere, "till")
    prepare!(context, [context.shop, till])
    # All but what one process has when the connection ends.
    most = File.stat!(context.published).size - 1_000
    ReleaseServer.script(context.server, List.duplicate({:pause, most, self()}, 2))

    shop = Consumer.start_mix(context, ["compile"])
    assert_receive {:paused, first}, 60_000
    till_compiles = Consumer.start_mix(context, ["compile"], %{}, in: till)
    assert_receive {:paused, second}, 60_000
    assert [_one, _other] = Directory.names(context.cache)
    refute context.archive in Directory.names(context.cache)

    send(first, :go)
    assert {output, 0} = Consumer.ended(shop)
    refute output =~ "wrong"
    cached = Path.join(context.cache, context.archive)
    assert File.read!(cached) == File.read!(context.published)
    %{inode: inode} = File.stat!(cached)

    # A third one, while the second is still at it, without a network.
    File.rm_rf!(context.priv)

    assert {output, 0} =
             Consumer.mix(context, ["compile"], %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"})

    refute output =~ "Downloading"
    assert File.stat!(cached).inode == inode

    send(second, :go)
    assert {output, 0} = Consumer.ended(till_compiles)
    refute output =~ "wrong"
    assert File.read!(cached) == File.read!(context.published)
    assert Directory.names(context.cache) == [context.archive]

    for project <- [context.shop, till] do
      worker = Path.join(Consumer.priv(Path.join(project, "_build")), "alumiini-git")
      assert File.read!(worker) == Consumer.worker(context.version)
    end
  end

  test "with one build: the worker there is whole at any time, the older one or the newer",
       context do
    till = Consumer.project!(context.dir, "till")
    # Without the lock that Mix has for this since Elixir 1.18.
    one_build = %{
      "MIX_BUILD_PATH" => Path.join(context.shop, "_build/prod"),
      "MIX_OS_CONCURRENCY_LOCK" => "0"
    }

    context = %{context | env: Map.merge(context.env, one_build)}
    older = prepare!(context, [context.shop, till])
    worker = Path.join(context.priv, "alumiini-git")

    # Each says its version only when its gate is opened. Until then it has been written, and not
    # tried. Of the environment, a worker gets the locale and little else.
    gated = gated!(context)
    context = Consumer.release!(context, context.version, gated)
    [one, other] = for name <- ["one", "other"], do: gate!(context, name)
    shop = Consumer.start_mix(context, ["compile"], %{"LC_GATE" => one})
    till_compiles = Consumer.start_mix(context, ["compile"], %{"LC_GATE" => other}, in: till)

    for gate <- [one, other],
        do: assert(OsProcess.await(fn -> File.exists?(gate <> ".tried") end, 60_000) == :ok)

    assert File.read!(worker) == older
    assert [_one, _other] = Directory.names(context.priv) -- ["alumiini-git", "alumiini-git.origin"]

    open!(one)
    assert {_output, 0} = Consumer.ended(shop)
    assert File.read!(worker) == gated
    assert {"alumiini-git " <> _, 0} = System.cmd(worker, ["--version"])

    open!(other)
    assert {_output, 0} = Consumer.ended(till_compiles)
    assert File.read!(worker) == gated
    assert Directory.names(context.priv) == ["alumiini-git", "alumiini-git.origin"]

    # Whichever of the two it was, its note is that of this very file, and neither compiles it
    # again.
    assert {output, 0} = Consumer.mix(context, ["alumiini_git.doctor"])
    assert output =~ "as when it was installed"
    refute output =~ "Downloading"
  end

  test "in one umbrella, with one _build: whoever looks at the worker sees all of it", context do
    apps = Path.join(context.dir, "apps")
    shared = [build_path: "../../_build", lockfile: "../../mix.lock"]

    projects =
      for name <- ["shop", "till"], do: Consumer.project!(context.dir, "apps/#{name}", shared)

    File.write!(Path.join(context.dir, "mix.exs"), """
    defmodule Umbrella.MixProject do
      use Mix.Project
      def project, do: [apps_path: "apps", version: "1.0.0", deps: []]
    end
    """)

    context = %{context | priv: Consumer.priv(Path.join(context.dir, "_build"))}
    prepare!(context, projects)
    assert length(Directory.names(apps)) == 2
    File.rm_rf!(context.priv)

    compiles =
      for project <- projects, do: Consumer.start_mix(context, ["compile"], %{}, in: project)

    expected = Consumer.worker(context.version)
    watch = Task.async(fn -> watch(Path.join(context.priv, "alumiini-git"), expected, nil, 0) end)
    for compile <- compiles, do: assert({_output, 0} = Consumer.ended(compile))
    send(watch.pid, :enough)
    assert Task.await(watch) > 0
    assert Directory.names(context.priv) == ["alumiini-git", "alumiini-git.origin"]
    assert Directory.names(context.cache) == [context.archive]
  end

  # Looks at each file that appears under that name.
  defp watch(worker, expected, seen, count) do
    {seen, count} =
      case File.stat(worker) do
        {:ok, %{inode: ^seen}} ->
          {seen, count}

        {:ok, %{inode: inode, mode: mode}} ->
          0o100755 = mode
          true = File.read!(worker) == expected
          {inode, count + 1}

        {:error, :enoent} ->
          {seen, count}
      end

    receive do
      :enough -> count
    after
      0 -> watch(worker, expected, seen, count)
    end
  end

  defp gated!(context) do
    real = Path.join(context.dir, "real")
    File.write!(real, Consumer.worker(context.version))
    File.chmod!(real, 0o755)

    """
    #!/bin/sh
    if [ "$1" = --version ] && [ -n "$LC_GATE" ]; then
      : > "$LC_GATE.tried"
      read -r go < "$LC_GATE"
    fi
    exec "#{real}" "$@"
    """
  end

  defp gate!(context, name) do
    gate = Path.join(context.dir, name)
    {_, 0} = System.cmd("mkfifo", [gate])
    gate
  end

  # Waits until the other side has it open.
  defp open!(gate), do: {"", 0} = System.cmd("sh", ["-c", "echo go > \"$0\"", gate])
end
