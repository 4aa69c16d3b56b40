defmodule Alumiini.Git.Log do
  @moduledoc false

  # Lines in the log. All have the domain `[:alumiini_git]`, by which a filter of a handler can take
  # or leave them. By `:logger` itself: `Logger` puts `:elixir` before a domain.

  @domain [:alumiini_git]

  @doc "Whether anybody reads lines of this level from `module`: others need not be made."
  @spec wanted?(Logger.level(), module) :: boolean
  def wanted?(level, module), do: :logger.allow(level, module)

  @doc "Logs a line that the function `mfa` writes."
  @spec line(Logger.level(), mfa, String.t(), map) :: :ok
  def line(level, {module, _function, _arity} = mfa, line, metadata \\ %{}) do
    if wanted?(level, module),
      do: :logger.log(level, line, Map.merge(metadata, %{domain: @domain, mfa: mfa})),
      else: :ok
  end
end
