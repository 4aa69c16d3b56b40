defmodule Syn.MixProject do
  use Mix.Project

  def project do
    [app: :syn, version: "3.4.1", elixir: "~> 1.14", deps: []]
  end

  def application do
    [extra_applications: [:logger], mod: {:syn_app, []}]
  end
end
