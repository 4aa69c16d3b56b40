defmodule Follower.MixProject do
  use Mix.Project

  def project do
    [
      app: :follower,
      version: "0.1.0",
      elixir: "~> 1.14",
      start_permanent: Mix.env() == :prod,
      # Tests start the follower themselves, with what it is to follow.
      aliases: [test: "test --no-start"],
      # A project of yours has {:alumiini_git, "~> 0.1"}.
      deps: [{:alumiini_git, path: "../.."}]
    ]
  end

  def application do
    [mod: {Follower, []}, extra_applications: [:logger]]
  end
end
