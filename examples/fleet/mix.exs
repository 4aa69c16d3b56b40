defmodule Fleet.MixProject do
  use Mix.Project

  def project do
    [
      app: :fleet,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      # Tests start what they need themselves.
      aliases: [test: "test --no-start"],
      deps: [
        # A project of yours has {:alumiini_git, "~> 0.1"}.
        {:alumiini_git, path: "../.."},
        # Which nodes there are, and what runs where.
        {:libcluster, "~> 3.4"},
        {:syn, "~> 3.3"},
        {:telemetry, "~> 1.0"}
      ]
    ]
  end

  def application do
    [mod: {Fleet.Application, []}, extra_applications: [:logger]]
  end
end
