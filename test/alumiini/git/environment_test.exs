defmodule Alumiini.Git.EnvironmentTest do
  # It changes the environment, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git.{Error, ScriptedWorker, Server}

  @moduletag :tmp_dir

  defp put_env(variables) do
    before = for {name, _value} <- variables, do: {name, System.get_env(name)}
    System.put_env(variables)
    on_exit(fn -> System.put_env(before) end)
  end

  test "a worker gets none of the variables that would make it behave differently", %{tmp_dir: directory} do
    put_env([
      {"GIT_DIR", "/elsewhere"},
      {"https_proxy", "http://u:p@proxy"},
      {"ALL_PROXY", "http://u:p@proxy"},
      {"ALUMIINI_GIT_UNRELATED", "stays"}
    ])

    out = Path.join(directory, "env")
    script = [{:shell, ~s(env > "#{out}")}] ++ ScriptedWorker.hello() ++ [:serve]
    server = start_supervised!({Alumiini.Git, name: nil, binary: ScriptedWorker.write!(directory, [script])})
    assert {:ok, _reply} = Server.call(server, %{"op" => "head"})

    env = File.read!(out)
    assert env =~ "ALUMIINI_GIT_UNRELATED=stays"
    refute env =~ ~r/^(GIT_|https?_proxy|all_proxy|no_proxy)/im
  end

  test "the binary is the :binary option, else that of the configuration, else the one in priv/", %{
    tmp_dir: directory
  } do
    before = Application.get_env(:alumiini_git, :binary)

    on_exit(fn ->
      if before,
        do: Application.put_env(:alumiini_git, :binary, before),
        else: Application.delete_env(:alumiini_git, :binary)
    end)

    told = fn options ->
      start_supervised!({Alumiini.Git, [name: nil] ++ options}, id: make_ref())
      |> Server.call(%{"op" => "head"})
    end

    [configured, given] = for name <- ["configured", "given"], do: Path.join(directory, name)
    Application.put_env(:alumiini_git, :binary, configured)
    assert {:error, %Error{reason: :worker_unavailable} = error} = told.([])
    assert error.message =~ configured
    assert {:error, %Error{reason: :worker_unavailable} = error} = told.(binary: given)
    assert error.message =~ given

    Application.put_env(:alumiini_git, :binary, "alumiini-git")
    assert {:error, %Error{reason: :worker_unavailable} = error} = told.([])
    assert error.message =~ "absolute path"

    Application.delete_env(:alumiini_git, :binary)
    assert {:ok, path} = Alumiini.Git.Binary.locate(nil)
    assert path == Application.app_dir(:alumiini_git, ["priv", "alumiini-git-test"])
  end
end
