defmodule Alumiini.Git.Precompiled.ConsumerTest do
  # A project of a user's, on a machine without Rust and without a network but loopback, from `mix compile` to a release that
  # another user starts.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Binary
  alias Alumiini.Git.Precompiled.Target

  alias Alumiini.Git.Test.{
    Certificates,
    Directory,
    HttpServer,
    ReleaseArchive,
    ReleaseServer,
    Repository,
    TempDir
  }

  @package ~w(lib mix.exs CHANGELOG.md native/alumiini-git/Cargo.toml test/offline)
  @tools ~w(sh env elixir mix erl uname dirname basename readlink sed grep awk cat tr cut od ls rm mkdir date expr id)

  setup do
    dir = TempDir.create!("consumer")
    certificate = Certificates.build(:good)
    version = package!(Path.join(dir, "alumiini_git"))
    project!(Path.join(dir, "shop"))
    tools!(Path.join(dir, "bin"))
    File.write!(Path.join(dir, "ca.pem"), certificate.ca)

    {:ok, target} = Target.resolve(Target.host(), %{})
    archive = Target.archive(version, target)
    File.mkdir_p!(Path.join(dir, "release/v#{version}"))
    published = Path.join([dir, "release/v#{version}", archive])
    bytes = ReleaseArchive.build([{"alumiini-git", worker(version)}])
    File.write!(published, bytes)
    checksums = Path.join(dir, "alumiini_git/checksum-alumiini_git.exs")
    File.write!(checksums, ReleaseArchive.checksums(%{archive => bytes}))

    server = start_supervised!({ReleaseServer, root: Path.join(dir, "release"), tls: certificate.tls})

    %{
      dir: dir,
      version: version,
      archive: archive,
      published: published,
      server: server,
      bin: Path.join(dir, "bin"),
      shop: Path.join(dir, "shop"),
      cache: Path.join(dir, "home/.cache/alumiini_git"),
      priv: Path.join(dir, "alumiini_git/priv"),
      env: %{
        "ALUMIINI_GIT_MIRROR" => ReleaseServer.url(server),
        "ALUMIINI_GIT_CACERT" => Path.join(dir, "ca.pem")
      }
    }
  end

  # What is on Hex, as far as a dependency on it is concerned, with a version that is no -dev: of the same length, so that it
  # can be put into the binary, too.
  defp package!(to) do
    for path <- @package do
      File.mkdir_p!(Path.dirname(Path.join(to, path)))
      File.cp_r!(path, Path.join(to, path))
    end

    version = released()
    mix = File.read!("mix.exs")
    File.write!(Path.join(to, "mix.exs"), String.replace(mix, Mix.Project.config()[:version], version))
    version
  end

  defp released, do: String.replace(Mix.Project.config()[:version], ~r/-dev$/, "-rc1")

  defp worker(version) do
    {:ok, binary} = Binary.locate(nil)
    binary |> File.read!() |> :binary.replace(Mix.Project.config()[:version], version, [:global])
  end

  defp project!(dir) do
    File.mkdir_p!(Path.join(dir, "lib"))

    File.write!(Path.join(dir, "mix.exs"), """
    defmodule Shop.MixProject do
      use Mix.Project
      def project, do: [app: :shop, version: "1.0.0", deps: [{:alumiini_git, path: "../alumiini_git"}]]
      def application, do: []
    end
    """)

    File.write!(Path.join(dir, "lib/shop.ex"), """
    defmodule Shop do
      def run(url, path) do
        {:ok, _} = Application.ensure_all_started(:alumiini_git)
        {:ok, _} = Supervisor.start_link([Alumiini.Git], strategy: :one_for_one)
        {:ok, sha} = Alumiini.Git.sync(url, "main", path)
        {:ok, text} = Alumiini.Git.read(path, "a.yaml")
        IO.puts(["synced ", sha, " read ", text])
      end
    end
    """)
  end

  # A PATH with what it takes to run Elixir, and no cargo.
  defp tools!(dir) do
    File.mkdir_p!(dir)
    for tool <- @tools, found = System.find_executable(tool), do: File.ln_s!(found, Path.join(dir, tool))
  end

  defp mix(context, arguments, env \\ %{}) do
    run(context, Path.join(context.bin, "mix"), arguments, context.shop, env)
  end

  defp run(context, program, arguments, directory, env) do
    ours = for {"ALUMIINI_" <> _ = name, _} <- System.get_env(), into: %{}, do: {name, nil}
    cleared = Map.new(~w(CARGO_TARGET_DIR XDG_CACHE_HOME https_proxy HTTPS_PROXY TARGET_ARCH), &{&1, nil})

    given = %{
      "PATH" => context.bin,
      "HOME" => Path.join(context.dir, "home"),
      "MIX_ENV" => "prod",
      "ALUMIINI_GIT_OFFLINE" => "1"
    }

    env = ours |> Map.merge(cleared) |> Map.merge(given) |> Map.merge(context.env) |> Map.merge(env)
    System.cmd(program, arguments, cd: directory, env: Map.to_list(env), stderr_to_stdout: true)
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

    assert output =~ "put #{context.archive} into #{context.cache}"

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
