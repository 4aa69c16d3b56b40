defmodule Plug.MixProject do
  use Mix.Project

  def project do
    [app: :plug, version: "1.16.1", elixir: "~> 1.14", deps: []]
  end

  # As the real one, by way of plug_crypto.
  def application, do: [extra_applications: [:logger, :crypto]]
end
