defmodule Msgpax.MixProject do
  use Mix.Project

  def project do
    [app: :msgpax, version: "2.4.0", elixir: "~> 1.14", deps: []]
  end

  def application, do: []
end
