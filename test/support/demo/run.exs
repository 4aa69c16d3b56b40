# What `make demo` runs: `mix run test/support/demo/run.exs`, with URL, BRANCH and DIR in the
# environment or without; and `make demo-follow`, with the argument `follow`.

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

alias Alumiini.Git.Test.{Demo, Demo.Follow, Demo.Screen, TempDir}

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
      cond do
        System.argv() == ["follow"] -> Follow.run(temporary)
        url -> Demo.remote(temporary, url: url, branch: branch, dir: dir)
        true -> Demo.sample(temporary)
      end
    catch
      %Alumiini.Git.Error{} = error ->
        Screen.finish_bar()
        Screen.bad(Exception.message(error))
        :error
    end
  end)

if outcome == :error, do: System.halt(1)
