defmodule Alumiini.Git.Behaviour do
  @moduledoc """
  The functions of `Alumiini.Git` as callbacks, for those who give their code another module in
  tests, by [Mox](https://hexdocs.pm/mox) for one.

      # test/test_helper.exs
      Mox.defmock(MyApp.GitMock, for: Alumiini.Git.Behaviour)
      Application.put_env(:my_app, :git, MyApp.GitMock)

      # lib/my_app/deployer.ex
      def sync(url, path), do: git().sync(url, "main", path, depth: 1)
      defp git, do: Application.get_env(:my_app, :git, Alumiini.Git)

      # test/my_app/deployer_test.exs
      Mox.expect(MyApp.GitMock, :sync, fn _url, "main", _path, depth: 1 -> {:ok, "7fd1a60b"} end)

  A mock has nothing of the library: no option is checked, and no event is executed. That is what
  `Alumiini.Git.Test` is for, which needs no second module either.

  There is a callback for each function that makes a call, with all of its arguments, and one for
  each of the variants with `!`. They are made of the specs of `Alumiini.Git`. Functions with
  default arguments are to be called with as many arguments as a callback has.
  """

  # Read as text: the compiled module would have to be there first, and it has this behaviour.
  @source Path.join(__DIR__, "../git.ex")
  @external_resource @source

  alias Alumiini.Git
  # Those that the specs name.
  alias Alumiini.Git.{Change, Commit, Error, Export, Info, Lease, Options, Ref}
  alias Alumiini.Git.{Snapshot, Status, Update}

  # No calls: they are about the server.
  @not_calls [:child_spec, :start_link]

  specs =
    @source
    |> File.read!()
    |> Code.string_to_quoted!()
    |> Macro.prewalk([], fn
      {:@, _, [{:spec, _, [{:"::", _, [{name, _, _}, _]} = spec]}]} = node, specs ->
        {node, if(name in @not_calls, do: specs, else: [spec | specs])}

      node, specs ->
        {node, specs}
    end)
    |> elem(1)
    |> Enum.reverse()

  for spec <- specs do
    callback =
      Macro.prewalk(spec, fn
        # Types of that module, which are local there.
        {type, _, arguments} when type in [:ref, :sha] and arguments in [nil, []] ->
          quote(do: Git.unquote(type)())

        node ->
          node
      end)

    @callback unquote(callback)
  end
end
