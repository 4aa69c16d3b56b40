defmodule Alumiini.Git.Precompiled.ConsumerTest do
  # A project of a user's, on a machine without Rust and without a network but loopback, from
  # `mix compile` to a release that another user starts.
  use Alumiini.Git.Test.ConsumerCase, async: false

  import Alumiini.Git.Test.Consumer, only: [mix: 2, mix: 3, run: 5]

  alias Alumiini.Git.Test.{HttpServer, Repository}

  setup :consumer

  defp files(dir), do: if(File.dir?(dir), do: Directory.names(dir), else: [])

  @tag timeout: 180_000
  test "a project gets its worker without Rust, syncs with it, and so does its release, for " <>
         "another user",
       context do
    refute File.exists?(Path.join(context.bin, "cargo"))

    # Without a network, either: all that one can do is said, and nothing is left.
    assert {output, 1} =
             mix(context, ["compile"], %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"})

    assert output =~ "alumiini_git has no worker for this project."

    assert output =~
             "https://localhost:1/v#{context.version}/#{context.archive} cannot be reached: " <>
               "the connection is refused"

    assert output =~ "put #{context.archive} into #{context.cache}, or set ALUMIINI_GIT_CACHE to"

    for way <- ~w(ALUMIINI_GIT_CACHE ALUMIINI_GIT_BUILD=1 ALUMIINI_GIT_PATH ALUMIINI_GIT_MIRROR),
        do: assert(output =~ way)

    assert files(context.priv) == []
    assert files(context.cache) == []

    # Something else than what the package was made for.
    ReleaseServer.script(context.server, [{:body, [], "something else"}])
    assert {output, 1} = mix(context, ["compile"])
    assert output =~ "the checksum of #{context.archive} is wrong"
    assert files(context.priv) == []
    assert files(context.cache) == []

    # Built from source where that is wished for, which takes what is not here.
    assert {output, 1} = mix(context, ["compile"], %{"ALUMIINI_GIT_BUILD" => "1"})
    assert output =~ "there is no `cargo` in PATH"

    # As it should be.
    assert {output, 0} = mix(context, ["compile"])

    assert output =~
             "Downloading " <>
               "#{ReleaseServer.url(context.server)}/v#{context.version}/#{context.archive}"

    refute output =~ "warning"
    assert files(context.cache) == [context.archive]
    assert files(context.priv) == ["alumiini-git", "alumiini-git.origin"]
    downloads = length(ReleaseServer.log(context.server))

    repositories = Path.join(context.dir, "repositories")
    origin = Repository.create!(repositories)
    sha = Repository.commit!(origin, %{"a.yaml" => "a: 1"})
    git = start_supervised!({HttpServer, root: repositories})
    url = HttpServer.url(git, "origin.git")
    code = &"Shop.run(#{inspect(url)}, #{inspect(Path.join(context.dir, &1))})"

    assert {output, 0} = mix(context, ["run", "-e", code.("clone")])
    assert output =~ "synced #{sha} read a: 1"

    assert {output, 0} = mix(context, ["alumiini_git.doctor"])
    assert output =~ ~r/  origin    #{ReleaseServer.url(context.server)}/
    assert output =~ "as when it was installed"
    assert output =~ ~r/  version   #{context.version}\n/

    # Another machine with the same cache, without a network.
    File.rm_rf!(context.priv)

    assert {_output, 0} =
             mix(context, ["release", "--quiet"], %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"})

    assert length(ReleaseServer.log(context.server)) == downloads

    release = Path.join(context.dir, "released")
    File.mkdir!(release)
    read_only? = read_only!(release, Path.join(context.shop, "_build/prod/rel/shop"))
    [carried] = Path.wildcard(Path.join(release, "lib/alumiini_git-*/priv/alumiini-git"))
    assert Bitwise.band(File.stat!(carried).mode, 0o111) == 0o111
    if read_only?, do: assert(File.write(Path.join(release, "new"), "") == {:error, :erofs})

    # It takes nothing from where it was built, and writes to nowhere but where it is told.
    File.rm_rf!(context.shop)
    File.rm_rf!(context.package)
    state = Path.join(context.dir, "state")
    File.mkdir_p!(state)
    File.chmod!(state, 0o777)

    {program, arguments} =
      as_another_user(Path.join(release, "bin/shop"), ["eval", code.("state/clone")])

    env = %{
      "RELEASE_TMP" => state,
      "RELEASE_COOKIE" => "shop",
      "HOME" => state,
      "PATH" => "/usr/bin:/bin:#{context.bin}"
    }

    assert {output, 0} = run(context, program, arguments, "/", env)
    assert output =~ "synced #{sha} read a: 1"

    # The doctor, without Mix and without what only compiling takes.
    doctor =
      "Alumiini.Git.Doctor.run(#{inspect(url)}, ref: :default) " <>
        "|> Alumiini.Git.Doctor.to_text() |> IO.puts()"

    {program, arguments} = as_another_user(Path.join(release, "bin/shop"), ["eval", doctor])
    assert {output, 0} = run(context, program, arguments, "/", env)
    assert output =~ "  binary    #{carried}\n"
    assert output =~ ~r/^  checksum  sha256:[0-9a-f]{64} when it was installed; add :crypto/m
    assert output =~ ~r/ref +\d+\.\d ms  :default is #{sha}\n/
    assert output =~ "The worker runs, and the remote can be read."
  end

  # A file system of its own where that may be mounted, which takes root on Linux; else what nobody
  # may write to.
  defp read_only!(directory, from) do
    mount = fn arguments ->
      match?({_, 0}, System.cmd("mount", arguments, stderr_to_stdout: true))
    end

    mounted? = match?({:unix, :linux}, :os.type()) and mount.(["-t", "tmpfs", "tmpfs", directory])
    if mounted?, do: on_exit(fn -> {_, 0} = System.cmd("umount", ["-l", directory]) end)
    File.cp_r!(from, directory)
    {_, 0} = System.cmd("chmod", ["-R", "a-w,a+rX", directory])

    if mounted?,
      do: mount.(["-o", "remount,ro", directory]),
      else: on_exit(fn -> System.cmd("chmod", ["-R", "u+w", directory]) end)

    mounted?
  end

  # Whoever is not root may not become another, but cannot write there either.
  defp as_another_user(program, arguments) do
    with {"0\n", 0} <- System.cmd("id", ["-u"]),
         setpriv when setpriv != nil <- System.find_executable("setpriv") do
      {setpriv, ["--reuid=65534", "--regid=65534", "--clear-groups", program | arguments]}
    else
      _no_root -> {program, arguments}
    end
  end

  @terminal match?({:unix, :linux}, :os.type()) && System.find_executable("script")

  @tag timeout: 180_000
  @tag skip: !@terminal && "a terminal is made with Linux's script command"
  test "shows how far a download is, to those who watch it on a terminal", context do
    command = "/usr/bin/stty cols 120; exec mix compile"

    assert {output, 0} =
             run(context, @terminal, ["-qec", command, "/dev/null"], context.shop, %{
               "TERM" => "xterm"
             })

    size = :erlang.float_to_binary(File.stat!(context.published).size / 1024 / 1024, decimals: 1)
    assert output =~ ~r/Downloading .*\r  █*░+ +\d+ %  #{size} MiB.*\r  █{30} 100 %  #{size} MiB/su

    File.rm_rf!(context.priv)
    File.rm_rf!(context.cache)
    assert {output, 0} = mix(context, ["compile"])
    assert output =~ "Downloading"
    refute output =~ ~r{\d %}
  end
end
