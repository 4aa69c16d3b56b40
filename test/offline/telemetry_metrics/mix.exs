defmodule TelemetryMetrics.MixProject do
  use Mix.Project

  def project do
    [app: :telemetry_metrics, version: "1.0.0", elixir: "~> 1.14", deps: []]
  end

  def application, do: [extra_applications: [:logger]]
end
