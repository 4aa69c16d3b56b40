defmodule AlumiiniGit.MixProject do
  use Mix.Project

  @version "0.1.0-dev"
  # Of OTP, of use while a project is compiled only: no release is to carry them for our sake.
  @compile_time_only [:crypto, :httpc, :inets, :public_key, :ssl]
  @source_url "https://github.com/yairfalse/alumiini_git"

  def project do
    [
      app: :alumiini_git,
      version: @version,
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      elixirc_paths: elixirc_paths(Mix.env()),
      # Last, because the compiler of the worker is a module of this very project.
      compilers: Mix.compilers() ++ [:alumiini_git],
      # The one is for Elixir before 1.20, the other for what replaces it there.
      xref:
        if(Version.match?(System.version(), "< 1.20.0-0"),
          do: [exclude: @compile_time_only],
          else: []
        ),
      elixirc_options: [no_warn_undefined: @compile_time_only],
      aliases: aliases(),
      deps: deps(),
      name: "Alumiini.Git",
      description:
        "Git for BEAM applications: a supervised Rust worker on a port, no NIF and no git command",
      package: package(),
      docs: docs(),
      source_url: @source_url
    ]
  end

  # No `mod:`. Users start `{Alumiini.Git, opts}` in their own supervision tree.
  def application do
    [extra_applications: extra_applications(Mix.env())]
  end

  # The tests' own Git server speaks TLS, and they read the benchmark's plot. From Elixir 1.15 on,
  # only what is named here is found.
  defp extra_applications(:test), do: [:logger, :crypto, :public_key, :ssl, :xmerl]
  defp extra_applications(_env), do: [:logger]

  # From Elixir 1.15 on; before, `MIX_ENV=docs mix docs`.
  def cli, do: [preferred_envs: [docs: :docs, "hex.build": :docs, "hex.publish": :docs]]

  # What releases are made with is for those who make them: neither in the package nor in a build
  # that somebody depends on.
  defp elixirc_paths(:prod), do: ["lib"]
  defp elixirc_paths(:test), do: ["lib", "release/lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib", "release/lib"]

  defp deps do
    if offline?() do
      [
        {:msgpax, path: "test/offline/msgpax"},
        {:telemetry, path: "test/offline/telemetry"},
        {:jason, path: "test/offline/jason", optional: true},
        {:plug, path: "test/offline/plug", optional: true},
        {:telemetry_metrics, path: "test/offline/telemetry_metrics", optional: true},
        {:libcluster, path: "test/offline/libcluster", only: :test, runtime: false},
        {:syn, path: "test/offline/syn", only: :test, runtime: false}
      ]
    else
      [
        {:msgpax, "~> 2.4"},
        {:telemetry, "~> 1.0"},
        # Of webhooks: JSON where neither OTP nor Elixir has it, and the plug.
        {:jason, "~> 1.4", optional: true},
        {:plug, "~> 1.14", optional: true},
        # Of `Alumiini.Git.Telemetry.Metrics`.
        {:telemetry_metrics, "~> 0.6 or ~> 1.0", optional: true},
        # Of examples/fleet, which the tests run. They start syn on nodes of their own.
        {:libcluster, "~> 3.4", only: :test, runtime: false},
        {:syn, "~> 3.3", only: :test, runtime: false},
        # In an environment of its own: it needs a newer Elixir than the library does.
        {:ex_doc, "~> 0.38", only: :docs, runtime: false}
      ]
    end
  end

  # Stand-ins for a network without Hex. They are not in the package, so the variable means nothing
  # to its users.
  defp offline? do
    System.get_env("ALUMIINI_GIT_OFFLINE") in ["1", "true"] and
      File.dir?(Path.join(__DIR__, "test/offline"))
  end

  # A package whose checksums are missing or stale would be one that nobody can install. It is
  # packed without what only we need.
  defp aliases do
    [
      "hex.build": ["alumiini_git.release_guard", "alumiini_git.package hex.build"],
      "hex.publish": ["alumiini_git.release_guard --publish", "alumiini_git.package hex.publish"]
    ]
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      links: %{"GitHub" => @source_url},
      files: package_files()
    ]
  end

  # What it takes to run and to build. Guides and the like are on HexDocs, tests and what is for the
  # maintainers in the repository. File by file and sorted: of a directory, Hex takes the files as
  # they come, which differs from one machine to the next.
  defp package_files do
    top =
      ~w(mix.exs .formatter.exs README.md CHANGELOG.md usage-rules.md LICENSE NOTICE) ++
        ~w(Cargo.toml Cargo.lock)

    worker = for name <- ~w(Cargo.toml build.rs src/**/*.rs), do: "native/alumiini-git/" <> name

    for pattern <- top ++ ["checksum-alumiini_git.exs", "lib/**/*.ex"] ++ worker,
        file <- Enum.sort(Path.wildcard(Path.join(__DIR__, pattern), match_dot: true)),
        file = Path.relative_to(file, __DIR__),
        not (file =~ ~r{/tests/|tests\.rs$|/fuzz\.rs$}),
        do: file
  end

  defp docs do
    [
      main: "readme",
      extras: extras(),
      groups_for_extras: [
        "First steps": ~r{guides/(getting-started|installation|authentication|cheatsheet|tour)\.},
        "How to": ~r{guides/(gitops|reading|following|webhooks|testing|metrics)\.},
        Operating:
          ~r{guides/(supervision|troubleshooting|security|many-nodes|upgrading|migrating)\.},
        "How it is made": ~r{^(ARCHITECTURE|CHANGELOG|SECURITY|usage-rules|protocol/README)\.}
      ],
      # What README.md shows, and nothing else that lies below bench/.
      assets: %{"bench/results" => "bench/results"},
      before_closing_body_tag: &diagrams/1,
      # It is for those who change the library, and names what its users need not know.
      skip_undefined_reference_warnings_on: ["ARCHITECTURE.md"],
      source_ref: "v#{@version}",
      groups_for_modules: [
        "What calls return": [
          Alumiini.Git.Change,
          Alumiini.Git.Commit,
          Alumiini.Git.Doctor.Report,
          Alumiini.Git.Error,
          Alumiini.Git.Export,
          Alumiini.Git.Follower.Status,
          Alumiini.Git.Info,
          Alumiini.Git.Info.Host,
          Alumiini.Git.Lease,
          Alumiini.Git.Ref,
          Alumiini.Git.Snapshot,
          Alumiini.Git.Snapshot.File,
          Alumiini.Git.Status,
          Alumiini.Git.Update,
          Alumiini.Git.Webhook.Push
        ],
        "Telemetry and metrics": [Alumiini.Git.Telemetry, Alumiini.Git.Telemetry.Metrics],
        Webhooks: [
          Alumiini.Git.Webhook,
          Alumiini.Git.Webhook.Deliveries,
          Alumiini.Git.Webhook.Plug
        ],
        "For tests": [
          Alumiini.Git.Behaviour,
          Alumiini.Git.Test,
          Alumiini.Git.Test.Fixture,
          Alumiini.Git.Test.NoStubError
        ],
        "Mix tasks": [~r/Mix\.Tasks\./]
      ]
    ]
  end

  # ExDoc shows the text of a diagram, and leaves the drawing to its users.
  defp diagrams(:html), do: File.read!(Path.join(__DIR__, "guides/diagrams.html"))
  defp diagrams(_format), do: ""

  # In the order in which a reader meets them.
  defp extras do
    first_steps =
      ~w(getting-started.md installation.md authentication.md cheatsheet.cheatmd tour.livemd)

    how_to = ~w(gitops.md reading.md following.md webhooks.md metrics.md testing.md)
    operating = ~w(supervision troubleshooting security many-nodes migrating upgrading)
    guides = first_steps ++ how_to ++ Enum.map(operating, &(&1 <> ".md"))
    pages = ~w(ARCHITECTURE.md CHANGELOG.md SECURITY.md usage-rules.md protocol/README.md)

    (["README.md"] ++ Enum.map(guides, &("guides/" <> &1)) ++ pages)
    |> Enum.filter(&File.exists?(Path.join(__DIR__, &1)))
    |> Enum.map(&extra/1)
  end

  # Two pages are called README, and two security.
  defp extra("protocol/README.md"), do: {:"protocol/README.md", filename: "protocol"}

  defp extra("SECURITY.md"),
    do: {:"SECURITY.md", filename: "security-policy", title: "Security policy"}

  defp extra(page), do: page
end
