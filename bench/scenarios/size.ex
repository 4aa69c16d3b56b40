defmodule Alumiini.Git.Bench.Scenarios.Size do
  @moduledoc "How large the worker's binary is."

  alias Alumiini.Git.Bench.{Fixtures, Result, Statistics}

  @target 10 * 1024 * 1024

  @spec run(Fixtures.t()) :: [Result.t()]
  def run(fixtures) do
    size = Statistics.summary([File.stat!(fixtures.binary).size])
    [Result.limit("size", "size of the binary, stripped", size, @target)]
  end
end
