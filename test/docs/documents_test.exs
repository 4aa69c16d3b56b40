defmodule Alumiini.Git.DocumentsTest do
  # Each block of README.md and of the guides is run, as far as it can be run here, or stands in the
  # one list of those that are not. Not async: they call the server of the default name, and read
  # the environment.
  use ExUnit.Case, async: false

  alias Alumiini.Git
  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Server.Binary

  alias Alumiini.Git.Test.{
    Certificates,
    Consumer,
    Dockerfile,
    Document,
    HttpServer,
    ReleaseServer,
    Repository,
    Vm
  }

  @moduletag :tmp_dir
  @moduletag timeout: 180_000

  # What cannot be run here, and why. What of it can be held true nevertheless, is tested below.
  @not_run %{
    "README.md: How it is made" =>
      "these tests are the first of its commands, and the others take from minutes to hours",
    "guides/installation.md: Air-gapped CI" => "it downloads a release from GitHub",
    "guides/installation.md: Nix" => "it needs Nix",
    "guides/upgrading.md: How to" => "it asks Hex for a newer version"
  }

  # Where the others are run, if not below. The tests there find their blocks by name.
  @run_in %{
    "README.md: See it at work" => "demo_test.exs",
    "README.md: See it at work (2)" => "demo_test.exs",
    "README.md: See it at work (3)" => "demo_test.exs",
    "README.md: See it at work (4)" => "demo_test.exs",
    "README.md: Use" => "examples_test.exs",
    "guides/testing.md: Stubs (2)" => "testing_guide_test.exs"
  }

  # Each example of these is run by the test that is named.
  @guides %{
    "guides/authentication.md" => "guide_test.exs",
    "guides/cheatsheet.cheatmd" => "cheatsheet_test.exs",
    "guides/following.md" => "following_guide_test.exs",
    "guides/getting-started.md" => "getting_started_guide_test.exs",
    "guides/gitops.md" => "gitops_guide_test.exs",
    "guides/many-nodes.md" => "many_nodes_guide_test.exs",
    "guides/metrics.md" => "metrics_guide_test.exs",
    "guides/migrating.md" => "migrating_guide_test.exs",
    "guides/reading.md" => "reading_guide_test.exs",
    "guides/security.md" => "security_guide_test.exs",
    "guides/supervision.md" => "supervision_guide_test.exs",
    "guides/testing.md" => "testing_guide_test.exs",
    "guides/tour.livemd" => "tour_test.exs",
    "guides/troubleshooting.md" => "troubleshooting_guide_test.exs",
    "guides/webhooks.md" => "webhooks_guide_test.exs",
    "usage-rules.md" => "usage_rules_test.exs"
  }

  @blocks for document <- Document.all(),
              block <- Document.blocks(document),
              not (is_map_key(@guides, document) and block.language == "elixir"),
              do: block

  test "each block is of a kind that is known, and each name in a list is that of a block" do
    for block <- @blocks,
        do:
          assert(
            {block.name, block.language in ~w(elixir sh text dockerfile nix)} == {block.name, true}
          )

    names = for block <- @blocks, do: block.name
    assert Enum.reject(Map.keys(@not_run) ++ Map.keys(@run_in), &(&1 in names)) == []
    for {name, file} <- @run_in, do: assert(File.read!(Path.join(__DIR__, file)) =~ inspect(name))

    for {guide, file} <- @guides do
      assert guide in Document.all()
      assert File.read!(Path.join(__DIR__, file)) =~ inspect(guide)
    end
  end

  for block <- @blocks, not is_map_key(@not_run, block.name), not is_map_key(@run_in, block.name) do
    test "the block under #{block.name}, is true", context do
      block = Document.block!(unquote(block.name))
      run(block.name, block.code, context)
    end
  end

  ## README.md

  defp run("README.md", code, context) do
    %{url: url, sha: sha} = serve(context, %{"deploy/app.yaml" => "kind: Deployment\n"})
    path = Path.join(context.tmp_dir, "clone")

    code =
      code
      |> String.replace("https://git.example.com/shop.git", url)
      |> String.replace("/var/lib/shop", path)

    {:__block__, _meta, [children | calls]} = Code.string_to_quoted!(code)
    {children, _bindings} = Code.eval_quoted(children)

    start_supervised!(%{
      id: :readme,
      start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]}
    })

    {_value, bindings} = Code.eval_quoted({:__block__, [], calls})
    assert Enum.sort(bindings) == [names: ["app.yaml"], sha: sha, yaml: "kind: Deployment\n"]
  end

  # Both say the same, of the version that this will be.
  defp run(name, code, _context) when name in ["README.md: Install", "guides/installation.md"] do
    module = Module.concat(__MODULE__, "Installed#{System.unique_integer([:positive])}")
    Code.eval_string("defmodule #{inspect(module)} do\n#{code}\nend")
    assert [{:alumiini_git, requirement}] = module.deps()

    assert Mix.Project.config()[:version]
           |> String.replace(~r/-.*/, "")
           |> Version.match?(requirement)
  end

  defp run("README.md: Use: Credentials, certificates and proxies", code, context) do
    %{server: server, url: url, ca: ca, sha: sha} = serve(context, %{"a" => "a"}, :tls)
    HttpServer.rule(server, {:require, {:basic, "git", "s3cr3t"}})

    Vm.put_env!(%{
      "GIT_TOKEN" => "s3cr3t",
      "https_proxy" => nil,
      "HTTPS_PROXY" => nil,
      "all_proxy" => nil,
      "ALL_PROXY" => nil
    })

    start_supervised!(Git)
    path = Path.join(context.tmp_dir, "clone")
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nkey\n-----END OPENSSH PRIVATE KEY-----\n"
    data = %{"username" => "flux", "password" => "s3cr3t"}
    Code.eval_string(code, key: key, known_hosts: "hosts", data: data, url: url, path: path, ca: ca)
    assert {:ok, %{sha: ^sha}} = Git.head(path)
  end

  defp run("README.md: Use: Follow", code, context) do
    %{url: url, sha: sha} = serve(context, %{"deploy/app.yaml" => "kind: Deployment\n"})
    path = Path.join(context.tmp_dir, "clone")
    code = String.replace(code, "/var/lib/shop", path)

    # The supervisor ends with the process that started it.
    task =
      Task.async(fn ->
        {value, _bindings} = Code.eval_string(code, url: url)
        {value, Process.whereis(Git)}
      end)

    assert {{^sha, :all}, server} = Task.await(task, 60_000)
    monitor = Process.monitor(server)
    assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 10_000
  end

  # A session of a shell: the command, and what it prints.
  defp run("README.md: Use: Credentials, certificates and proxies (2)", session, context) do
    %{url: url} = serve(context, %{"a" => "a"}, :tls)
    {:ok, binary} = Binary.locate(nil)

    ["$ " <> command, shown] =
      session
      |> String.replace("https://git.example.com/shop.git", url)
      |> String.replace("git.example.com", "localhost")
      |> String.replace("/app/_build/dev/lib/alumiini_git/priv/alumiini-git", binary)
      |> String.split("\n", parts: 2)

    {output, status} = shell(command, %{"GIT_TOKEN" => "s3cr3t"})
    assert {status, Document.missing_line(shown, output), output} == {1, nil, output}
  end

  defp run("README.md: Use: Credentials, certificates and proxies (3)", code, context) do
    %{url: url} = serve(context, %{"a" => "a"})
    start_supervised!(Git)

    {expected, _bindings} =
      code |> String.replace("https://git.example.com/shop.git", url) |> Code.eval_string()

    assert Git.sync(url, "mian", Path.join(context.tmp_dir, "clone")) == expected
  end

  ## The guides

  defp run("guides/authentication.md (2)", command, context) do
    %{server: server, url: url, ca_file: ca_file} = serve(context, %{"a" => "a"}, :tls)
    HttpServer.rule(server, {:require, {:basic, "git", "s3cr3t"}})
    command = String.replace(command, "https://git.example.com/team/app.git", url)
    {output, status} = shell(command, %{"GIT_TOKEN" => "s3cr3t", "SSL_CERT_FILE" => ca_file})
    assert {status, output} == {0, output}
    assert output =~ "the remote can be read"
  end

  defp run("guides/installation.md: Mirrors", exports, _context) do
    consumer = Consumer.create!()
    unset = Map.new(consumer.env, fn {name, _value} -> {name, nil} end)

    exports =
      exports
      |> String.replace(
        "https://artifacts.example.com/alumiini_git",
        ReleaseServer.url(consumer.server)
      )
      |> String.replace("/etc/ssl/example-ca.pem", Path.join(consumer.dir, "ca.pem"))

    {output, 0} =
      Consumer.run(consumer, "/bin/sh", ["-c", exports <> "mix compile"], consumer.shop, unset)

    assert output =~ "Downloading #{ReleaseServer.url(consumer.server)}/v"
  end

  # All but what Debian and Hex give; and its image is that of the Dockerfile.
  defp run("guides/installation.md: Docker", text, _context) do
    consumer = Consumer.create!()
    image = "elixir:1.18-otp-27-slim AS application"

    assert [_application] =
             for({"FROM", ^image} <- Dockerfile.stage!(File.read!("Dockerfile"), image), do: image)

    stage = Dockerfile.stage!(text, image)

    {elsewhere, stage} =
      Enum.split_with(stage, &(&1 |> elem(1) |> String.starts_with?(["apt-get", "mix local."])))

    assert length(elsewhere) == 2

    lock = Path.join(consumer.shop, "mix.lock")
    if not File.exists?(lock), do: File.write!(lock, "%{}\n")
    root = Path.join(consumer.dir, "image")
    run = &Consumer.run(consumer, "/bin/sh", ["-c", &1], &2, &3)
    Dockerfile.run!(stage, root, fn nil, name -> Path.join(consumer.shop, name) end, run)
    assert [_worker] = Path.wildcard(Path.join(root, "app/lib/alumiini_git-*/priv/alumiini-git"))
  end

  # With a cargo that has built the worker of these tests.
  defp run("guides/installation.md: Other machines, and cross builds", command, _context) do
    consumer = Consumer.create!()
    {:ok, worker} = Binary.locate(nil)
    cargo = Path.join(consumer.bin, "cargo")

    File.write!(
      cargo,
      ~s(#!/bin/sh\necho '{"reason":"compiler-artifact","executable":"#{worker}"}'\n)
    )

    File.chmod!(cargo, 0o755)
    {output, 0} = Consumer.run(consumer, "/bin/sh", ["-c", command], consumer.shop, %{})
    assert output =~ "Compiling the worker alumiini-git (cargo build)"
    refute output =~ "Downloading"
  end

  defp run(name, _code, _context),
    do:
      flunk(
        "no test runs the block under #{name}: run it here, or list it in @not_run with the " <>
          "reason why it cannot be"
      )

  ## What of the documents is no block, or is not run

  test "the archive that the guide downloads has the name that the library looks for" do
    code = Document.block!("guides/installation.md: Air-gapped CI").code

    [_all, url, version, archive] =
      Regex.run(~r{(https://\S+)/releases/download/v([\d.]+)/(\S+)\n}, code)

    assert url == Mix.Project.config()[:source_url]
    assert archive == Target.archive(version, "x86_64-unknown-linux-gnu")
    nix = Document.block!("guides/installation.md: Nix").code
    assert nix =~ Target.archive(version, "x86_64-unknown-linux-musl")
  end

  test "each target of make and each task of ours that a document names is there" do
    targets = for [_, target] <- Regex.scan(~r/^([a-z-]+):/m, File.read!("Makefile")), do: target

    of_maintainers = ~w(ARCHITECTURE.md SECURITY.md RELEASE.md protocol/README.md)

    for document <- Document.all() ++ of_maintainers do
      text = Document.read!(document)
      named = for [_, target] <- Regex.scan(~r/(?:`|^|&& )make ([a-z-]+)/m, text), do: target
      assert {document, Enum.reject(named, &(&1 in targets))} == {document, []}
      tasks = for [_, task] <- Regex.scan(~r/\bmix (alumiini_git\.[a-z_.]*[a-z])/, text), do: task
      assert {document, Enum.filter(tasks, &(Mix.Task.get(&1) == nil))} == {document, []}
    end
  end

  test "the functions in README.md are those of Alumiini.Git" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Git)
    signatures = for {{:function, _name, _arity}, _, [signature], _, _} <- docs, do: signature

    rows =
      for [_, row] <- Regex.scan(~r/^\| `(\w+\(.*?\))` \|/m, Document.read!("README.md")), do: row

    assert length(rows) >= 7
    assert rows -- signatures == []
  end

  ## A server, and a shell

  defp serve(context, files, tls \\ nil) do
    root = Path.join(context.tmp_dir, "root")
    File.mkdir_p!(root)
    origin = Repository.create!(root, "shop.git")
    sha = Repository.commit!(origin, files)
    certificate = if tls, do: Certificates.build(:good), else: %{tls: nil, ca: ""}
    ca_file = Path.join(context.tmp_dir, "ca.pem")
    File.write!(ca_file, certificate.ca)
    server = start_supervised!({HttpServer, root: root, tls: certificate.tls})

    %{
      server: server,
      url: HttpServer.url(server, "shop.git"),
      sha: sha,
      ca: certificate.ca,
      ca_file: ca_file
    }
  end

  # What a reader has a module of their own for.
  defmodule Elixir.Tokens do
    def current, do: "s3cr3t"
  end

  # In the environment of these tests, whose worker is built already.
  defp shell(command, env) do
    env = Map.put(env, "MIX_ENV", to_string(Mix.env()))
    System.cmd("sh", ["-c", command], env: env, stderr_to_stdout: true)
  end
end
