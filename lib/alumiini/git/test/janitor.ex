defmodule Alumiini.Git.Test.Janitor do
  @moduledoc false

  # Removes a directory once the process ends that it was made for.

  @doc "A new directory, which is there for as long as the calling process."
  @spec directory!() :: Path.t()
  def directory! do
    random = Base.encode32(:rand.bytes(10), padding: false, case: :lower)
    directory = Path.join(System.tmp_dir!(), "alumiini-git-fixture-#{random}")
    File.mkdir_p!(directory)
    owner = self()
    _pid = spawn(fn -> watch(owner, directory) end)
    directory
  end

  defp watch(owner, directory) do
    monitor = Process.monitor(owner)

    receive do
      {:DOWN, ^monitor, :process, ^owner, _reason} -> File.rm_rf(directory)
    end
  end
end
