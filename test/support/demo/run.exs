# What `make demo` runs: `mix run test/support/demo/run.exs`, with URL, BRANCH and DIR in the
# environment or without.

# The modules of the tests and what they use are no part of the library: Mix leaves them out of
# sight here.
if function_exported?(Mix, :ensure_application!, 1) do
  for application <- [:ex_unit, :public_key, :ssl],
      do: apply(Mix, :ensure_application!, [application])
end

{:ok, _modules, _warnings} =
  Path.expand("../**/*.ex", __DIR__)
  |> Path.wildcard()
  |> Kernel.ParallelCompiler.compile(return_diagnostics: true)

alias Alumiini.Git.Test.{Demo, Demo.Screen, TempDir}

# The URL may hold a secret, which the processes that are started need not inherit.
[url, branch, dir] =
  for name <- ["URL", "BRANCH", "DIR"] do
    value = System.get_env(name)
    System.delete_env(name)
    if value in [nil, ""], do: nil, else: value
  end

Logger.configure(level: :none)

outcome =
  TempDir.with_dir("demo", fn temporary ->
    try do
      if url,
        do: Demo.remote(temporary, url: url, branch: branch, dir: dir),
        else: Demo.sample(temporary)
    catch
      %Alumiini.Git.Error{} = error ->
        Screen.finish_bar()
        Screen.bad(Exception.message(error))
        :error
    end
  end)

if outcome == :error, do: System.halt(1)
