defmodule Alumiini.Git.Test.TempDir do
  @moduledoc "Directories that are gone when their test is."

  @doc "A fresh directory for the running test. In `setup_all`, for all tests of its module."
  @spec create!(String.t()) :: Path.t()
  def create!(label \\ "test") do
    dir = fresh!(label)
    ExUnit.Callbacks.on_exit(fn -> remove!(dir) end)
    dir
  end

  @doc "The same outside of tests, for as long as `fun` runs."
  @spec with_dir(String.t(), (Path.t() -> result)) :: result when result: term
  def with_dir(label, fun) do
    dir = fresh!(label)

    try do
      fun.(dir)
    after
      remove!(dir)
    end
  end

  @doc """
  Removes a directory whatever is in it: names that are no UTF-8, directories without write
  permission.
  """
  @spec remove!(Path.t()) :: :ok
  def remove!(dir) do
    case System.cmd("rm", ["-rf", "--", dir], stderr_to_stdout: true) do
      {_, 0} ->
        :ok

      _ ->
        System.cmd("chmod", ["-R", "u+rwX", "--", dir], stderr_to_stdout: true)
        {_, 0} = System.cmd("rm", ["-rf", "--", dir], stderr_to_stdout: true)
        :ok
    end
  end

  defp fresh!(label) do
    number = System.unique_integer([:positive])
    dir = Path.join(System.tmp_dir!(), "alumiini-git-#{System.pid()}-#{number}-#{label}")
    File.mkdir_p!(dir)
    dir
  end
end
