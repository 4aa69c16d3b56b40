defmodule Alumiini.Git.EnvironmentTest do
  # It changes the environment, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git.{Error, Server}
  alias Alumiini.Git.Test.Vm

  @moduletag :tmp_dir

  defp environment(os_pid) do
    for variable <- "/proc/#{os_pid}/environ" |> File.read!() |> String.split("\0", trim: true),
        into: %{} do
      [name, value] = String.split(variable, "=", parts: 2)
      {name, value}
    end
  end

  test "a worker gets of the BEAM's variables those that it needs, and no other" do
    needed = %{
      "SSH_AUTH_SOCK" => "/run/agent.sock",
      "SSL_CERT_FILE" => "/etc/ssl/cert.pem",
      "SSL_CERT_DIR" => "/etc/ssl/certs",
      "RUST_BACKTRACE" => "1",
      "LC_TIME" => "C",
      "TMPDIR" => System.tmp_dir!()
    }

    Vm.put_env!(Enum.to_list(needed))

    Vm.put_env!([
      {"DATABASE_URL", "ecto://u:s3cr3t@h/db"},
      {"RELEASE_COOKIE", "s3cr3t"},
      {"GIT_TOKEN", "s3cr3t"},
      {"GIT_DIR", "/elsewhere"},
      {"https_proxy", "http://u:s3cr3t@proxy"},
      {"ALL_PROXY", "http://u:s3cr3t@proxy"},
      {"ALUMIINI_GIT_MIRROR", "https://u:s3cr3t@h"},
      {"SSL_CERT_FILE_PASSWORD", "s3cr3t"},
      {"Lc", "s3cr3t"},
      {"größe", "s3cr3t"}
    ])

    server = start_supervised!({Alumiini.Git, name: nil})
    assert {:ok, _reply} = Server.call(server, %{"op" => "hello", "protocol" => 1})
    environment = environment(Server.info(server).os_pid)

    assert Map.take(environment, Map.keys(needed)) == needed

    for name <- ["HOME", "PATH"],
        do: assert({name, environment[name]} == {name, System.get_env(name)})

    others =
      for {name, _value} <- environment,
          not (name in ~w(HOME PATH LANG) or name =~ ~r/^LC_/),
          do: name

    assert others -- Map.keys(needed) == []
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
    assert {:ok, path} = Alumiini.Git.Server.Binary.locate(nil)
    assert path == Application.app_dir(:alumiini_git, ["priv", "alumiini-git-test"])
  end
end
