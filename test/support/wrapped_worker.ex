defmodule Alumiini.Git.Test.WrappedWorker do
  @moduledoc "The real worker, started by a script with an environment of its own."

  alias Alumiini.Git.Server.Binary

  @doc """
  Writes the script to `dir`, and returns its path, which is a server's `:binary`. With `:stderr`,
  what the worker says there is added to that file: it is the BEAM's own otherwise.
  """
  @spec write!(Path.t(), %{String.t() => String.t()}, keyword) :: Path.t()
  def write!(dir, environment, options \\ []) do
    {:ok, real} = Binary.locate(nil)
    script = Path.join(dir, "worker-#{System.unique_integer([:positive])}")
    variables = for {name, value} <- environment, do: "#{name}='#{value}' "
    stderr = if options[:stderr], do: " 2>>'#{options[:stderr]}'", else: ""
    File.write!(script, "#!/bin/sh\n#{variables}exec '#{real}' \"$@\"#{stderr}\n")
    File.chmod!(script, 0o755)
    script
  end
end
