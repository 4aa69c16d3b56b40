defmodule Alumiini.Git.Precompiled.ConsumerTest do
  # A project of a user's, on a machine without Rust and without a network but loopback, from `mix compile` to a release that
  # another user starts.
  use ExUnit.Case, async: false

  import Alumiini.Git.Test.Consumer, only: [mix: 2, mix: 3, run: 5]

  alias Alumiini.Git.Test.{Consumer, Directory, HttpServer, ReleaseServer, Repository}

  setup do
    Consumer.create!()
  end

  defp files(dir), do: if(File.dir?(dir), do: Directory.names(dir), else: [])

  @tag timeout: 180_000
  test "a project gets its worker without Rust, syncs with it, and so does its release, for another user",
       context do
    refute File.exists?(Path.join(context.bin, "cargo"))

    # Without a network, either: all that one can do is said, and nothing is left.
    assert {output, 1} = mix(context, ["compile"], %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"})
    assert output =~ "alumiini_git has no worker for this project."

    assert output =~
             "https://localhost:1/v#{context.version}/#{context.archive} cannot be reached: the connection is refused"

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
    assert output =~ "Downloading #{ReleaseServer.url(context.server)}/v#{context.version}/#{context.archive}"
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
    File.cp_r!(Path.join(context.shop, "_build/prod/rel/shop"), release)
    [carried] = Path.wildcard(Path.join(release, "lib/alumiini_git-*/priv/alumiini-git"))
    assert Bitwise.band(File.stat!(carried).mode, 0o111) == 0o111

    # Nothing there can be written to by whom it runs for, and it takes nothing from where it was built.
    {_, 0} = System.cmd("chmod", ["-R", "a-w,a+rX", release])
    File.rm_rf!(context.shop)
    File.rm_rf!(Path.join(context.dir, "alumiini_git"))
    state = Path.join(context.dir, "state")
    File.mkdir_p!(state)
    File.chmod!(state, 0o777)
    {program, arguments} = as_another_user(Path.join(release, "bin/shop"), ["eval", code.("state/clone")])

    env = %{
      "RELEASE_TMP" => state,
      "RELEASE_COOKIE" => "shop",
      "HOME" => state,
      "PATH" => "/usr/bin:/bin:#{context.bin}"
    }

    assert {output, 0} = run(context, program, arguments, "/", env)
    assert output =~ "synced #{sha} read a: 1"
    {_, 0} = System.cmd("chmod", ["-R", "u+w", release])
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
end
