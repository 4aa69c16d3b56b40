defmodule Alumiini.Git.Test.FleetExample do
  @moduledoc "The modules of `examples/fleet`, for tests."

  @root Path.expand("../..", __DIR__)

  @doc """
  Compiles them, once, into files, since nodes of their own load them, too; and starts what the
  example depends on.
  """
  @spec load!() :: :ok
  def load! do
    # Names that this project does not have by itself.
    if not Code.ensure_loaded?(Fleet), do: compile!()
    {:ok, _started} = Application.ensure_all_started(:syn)
    :ok
  end

  defp compile! do
    files = Path.wildcard(Path.join(@root, "examples/fleet/lib/**/*.ex"))
    ebin = Path.join([Mix.Project.build_path(), "examples", "fleet"])
    File.rm_rf!(ebin)
    File.mkdir_p!(ebin)
    {:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile_to_path(files, ebin)
    Code.prepend_path(ebin)
  end
end
