defmodule Alumiini.Git.Test.Consumer do
  @moduledoc """
  Projects of users on a machine without Rust and without a network but loopback: the library as it
  comes from Hex (as far as a dependency on it is concerned), a server with its release, and `mix`
  as a process of its own.

      consumer = Consumer.create!()
      {output, 0} = Consumer.mix(consumer, ["compile"])
  """

  import ExUnit.Callbacks

  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Server.Binary
  alias Alumiini.Git.Test.{Certificates, ReleaseArchive, ReleaseServer, TempDir}

  @package ~w(lib mix.exs CHANGELOG.md native/alumiini-git/Cargo.toml test/offline)
  @tools ~w(sh env elixir mix erl uname dirname basename readlink sed grep awk cat tr cut od ls rm
            mkdir date expr id)

  @doc """
  A project `shop`, and what it needs. The release is of `version(1)`, with the worker of these
  tests.
  """
  @spec create!() :: map
  def create! do
    dir = TempDir.create!("consumer")
    certificate = Certificates.build(:good)
    File.write!(Path.join(dir, "ca.pem"), certificate.ca)
    package!(Path.join(dir, "alumiini_git"))
    tools!(Path.join(dir, "bin"))
    File.mkdir_p!(Path.join(dir, "release"))

    server =
      start_supervised!({ReleaseServer, root: Path.join(dir, "release"), tls: certificate.tls})

    {:ok, target} = Target.resolve(Target.host(), %{})

    consumer = %{
      dir: dir,
      target: target,
      server: server,
      package: Path.join(dir, "alumiini_git"),
      priv: priv(Path.join(dir, "shop/_build")),
      bin: Path.join(dir, "bin"),
      home: Path.join(dir, "home"),
      cache: Path.join(dir, "home/.cache/alumiini_git"),
      shop: project!(dir, "shop"),
      env: %{
        "ALUMIINI_GIT_MIRROR" => ReleaseServer.url(server),
        "ALUMIINI_GIT_CACERT" => Path.join(dir, "ca.pem")
      }
    }

    release!(consumer, version(1), worker(version(1)))
  end

  @doc "Where a build has its worker."
  @spec priv(Path.t(), String.t()) :: Path.t()
  def priv(build, environment \\ "prod"),
    do: Path.join(build, "#{environment}/lib/alumiini_git/priv")

  # All of the same length as that of this project, so that they can be put into a worker, and none
  # a -dev, which has no release.
  @spec version(1..9) :: String.t()
  def version(n), do: String.replace(Mix.Project.config()[:version], ~r/-dev$/, "-rc#{n}")

  @doc "The worker of these tests, which then says that it is of that version."
  @spec worker(String.t()) :: binary
  def worker(version) do
    {:ok, binary} = Binary.locate(nil)

    binary
    |> File.read!()
    |> :binary.replace(Mix.Project.config()[:version], version, [:global])
    |> signed()
  end

  # macOS runs nothing on Apple's processors that has changed since it was signed, and takes any
  # signature.
  defp signed(worker) do
    if :os.type() == {:unix, :darwin} do
      TempDir.with_dir("sign", fn dir ->
        path = Path.join(dir, "alumiini-git")
        File.write!(path, worker)

        {_output, 0} =
          System.cmd("codesign", ["--force", "--sign", "-", path], stderr_to_stdout: true)

        File.read!(path)
      end)
    else
      worker
    end
  end

  @doc "Publishes a version with that worker, and makes it the one that the projects depend on."
  @spec release!(map, String.t(), binary) :: map
  def release!(consumer, version, worker) do
    archive = Target.archive(version, consumer.target)
    published = Path.join([consumer.dir, "release/v#{version}", archive])
    bytes = ReleaseArchive.build([{"alumiini-git", worker}])
    File.mkdir_p!(Path.dirname(published))
    File.write!(published, bytes)

    File.write!(
      Path.join(consumer.package, "checksum-alumiini_git.exs"),
      ReleaseArchive.checksums(%{archive => bytes})
    )

    mix = String.replace(File.read!("mix.exs"), Mix.Project.config()[:version], version)
    File.write!(Path.join(consumer.package, "mix.exs"), mix)
    Map.merge(consumer, %{version: version, archive: archive, published: published})
  end

  defp package!(to) do
    for path <- @package do
      File.mkdir_p!(Path.dirname(Path.join(to, path)))
      File.cp_r!(path, Path.join(to, path))
    end
  end

  @doc "Another project, by `mix new`, that depends on the same copy of the library; its directory."
  @spec project!(Path.t(), String.t(), keyword) :: Path.t()
  def project!(dir, name, options \\ []) do
    project = Path.join(dir, name)
    name = Path.basename(name)
    {_output, 0} = System.cmd("mix", ["new", project], stderr_to_stdout: true)
    mix = File.read!(Path.join(project, "mix.exs"))
    dependency = "{:alumiini_git, path: #{inspect(Path.join(dir, "alumiini_git"))}}"
    more = for {key, value} <- options, do: ", #{key}: #{inspect(value)}"

    changed =
      mix
      |> String.replace("defp deps do\n    [", "defp deps do\n    [\n      #{dependency}")
      |> String.replace("deps: deps()", "deps: deps()#{more}")

    if changed == mix, do: raise("mix new makes another mix.exs than it did: #{mix}")
    File.write!(Path.join(project, "mix.exs"), changed)

    File.write!(Path.join(project, "lib/#{name}.ex"), """
    defmodule #{Macro.camelize(name)} do
      def run(url, path) do
        start()
        {:ok, sha} = Alumiini.Git.sync(url, "main", path)
        {:ok, text} = Alumiini.Git.read(path, "a.yaml")
        IO.puts(["synced ", sha, " read ", text])
      end

      def start do
        {:ok, _} = Application.ensure_all_started(:alumiini_git)
        {:ok, _} = Supervisor.start_link([Alumiini.Git], strategy: :one_for_one)
      end
    end
    """)

    project
  end

  # A PATH with what it takes to run Elixir, and no cargo.
  defp tools!(dir) do
    File.mkdir_p!(dir)

    for tool <- @tools,
        found = System.find_executable(tool),
        do: File.ln_s!(found, Path.join(dir, tool))
  end

  @doc "Runs `mix` in a project, `shop` unless another is named with `:in`."
  @spec mix(map, [String.t()], map, keyword) :: {String.t(), non_neg_integer}
  def mix(consumer, arguments, env \\ %{}, options \\ []) do
    run(consumer, Path.join(consumer.bin, "mix"), arguments, options[:in] || consumer.shop, env)
  end

  @spec run(map, Path.t(), [String.t()], Path.t(), map) :: {String.t(), non_neg_integer}
  def run(consumer, program, arguments, directory, env) do
    env = Map.to_list(environment(consumer, env))
    System.cmd(program, arguments, cd: directory, env: env, stderr_to_stdout: true)
  end

  @doc "Starts `mix` and does not wait: see `ended/2` and `line!/2`."
  @spec start_mix(map, [String.t()], map, keyword) :: port
  def start_mix(consumer, arguments, env \\ %{}, options \\ []) do
    start(consumer, Path.join(consumer.bin, "mix"), arguments, options[:in] || consumer.shop, env)
  end

  @doc "Starts a program and does not wait, likewise."
  @spec start(map, Path.t(), [String.t()], Path.t(), map) :: port
  def start(consumer, program, arguments, directory, env) do
    env =
      for {name, value} <- environment(consumer, env),
          do: {String.to_charlist(name), if(value, do: String.to_charlist(value), else: false)}

    Port.open({:spawn_executable, program}, [
      :binary,
      :exit_status,
      :stderr_to_stdout,
      line: 4096,
      args: arguments,
      cd: directory,
      env: env
    ])
  end

  @doc "Waits for the end of a program that was started: what it wrote, and its exit status."
  @spec ended(port, timeout) :: {String.t(), non_neg_integer}
  def ended(port, timeout \\ 60_000), do: ended(port, timeout, "")

  defp ended(port, timeout, output) do
    receive do
      {^port, {:data, {:eol, line}}} -> ended(port, timeout, output <> line <> "\n")
      {^port, {:data, {:noeol, part}}} -> ended(port, timeout, output <> part)
      {^port, {:exit_status, status}} -> {output, status}
    after
      timeout -> raise "the program is not at its end after #{timeout} ms, and wrote: #{output}"
    end
  end

  @doc "Waits for the next line that begins so, and returns the rest of it."
  @spec line!(port, String.t()) :: String.t()
  def line!(port, start) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        if String.starts_with?(line, start),
          do: String.replace_prefix(line, start, ""),
          else: line!(port, start)

      {^port, {:exit_status, status}} ->
        raise "the program ended with status #{status}, and wrote no line that begins with #{start}"
    after
      60_000 -> raise "the program wrote no line that begins with #{start}"
    end
  end

  # Nothing of this machine's own settings.
  defp environment(consumer, env) do
    ours = for {"ALUMIINI_" <> _ = name, _} <- System.get_env(), into: %{}, do: {name, nil}

    cleared =
      Map.new(
        ~w(CARGO_TARGET_DIR XDG_CACHE_HOME https_proxy HTTPS_PROXY) ++
          ~w(TARGET_ARCH TARGET_ABI TARGET_OS),
        &{&1, nil}
      )

    given = %{
      "PATH" => consumer.bin,
      "HOME" => consumer.home,
      "MIX_ENV" => "prod",
      "ALUMIINI_GIT_OFFLINE" => "1"
    }

    ours |> Map.merge(cleared) |> Map.merge(given) |> Map.merge(consumer.env) |> Map.merge(env)
  end
end
