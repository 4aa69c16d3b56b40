defmodule Alumiini.Git.Test.Vm do
  @moduledoc "What a test changes of the whole VM, until it ends. For tests that are not async."

  import ExUnit.Callbacks, only: [on_exit: 1]

  @doc "Sets variables of the environment; a nil removes one."
  @spec put_env!(Enumerable.t()) :: :ok
  def put_env!(variables) do
    before = for {name, _value} <- variables, do: {name, System.get_env(name)}
    on_exit(fn -> System.put_env(before) end)
    System.put_env(variables)
  end

  @doc "From now on the test gets what Mix says, as `Mix.Shell.Process` sends it."
  @spec mix_shell!() :: :ok
  def mix_shell! do
    shell = Mix.shell()
    on_exit(fn -> Mix.shell(shell) end)
    Mix.shell(Mix.Shell.Process)
  end
end
