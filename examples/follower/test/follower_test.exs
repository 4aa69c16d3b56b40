defmodule FollowerTest do
  # Not async: the follower calls the server of the default name, and has a name itself.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Test, as: Stubs

  @url "https://git.example.com/shop.git"
  @interval 30_000
  @longest :timer.minutes(10)
  @first String.duplicate("a", 40)
  @second String.duplicate("b", 40)

  setup do
    token = System.get_env("GIT_TOKEN")
    System.delete_env("GIT_TOKEN")

    on_exit(fn ->
      if token, do: System.put_env("GIT_TOKEN", token), else: System.delete_env("GIT_TOKEN")
    end)

    start_supervised!({Stubs, name: Alumiini.Git})
    :ok
  end

  defp stub(stubs), do: Stubs.stub(Alumiini.Git, stubs)

  # What it has at the end of its first look.
  defp follow do
    options = [url: @url, branch: "main", directory: "/srv/shop", interval: @interval]
    start_supervised!({Follower, options})
    :sys.get_state(Follower)
  end

  # The same of the next one, which comes now rather than after its pause.
  defp look_again do
    send(Follower, :sync)
    :sys.get_state(Follower)
  end

  test "says when there is something new, and then only" do
    stub(sync: {:ok, @first}, files: {:ok, ["app.yaml", "base.yaml"]})

    log = capture_log(fn -> assert %{sha: @first, pause: @interval} = follow() end)
    assert log =~ "main is at #{@first}, with 2 YAML files at its root"
    assert [{:sync, sync}, {:files, %{path: "/srv/shop"}}] = Stubs.calls(Alumiini.Git)
    assert %{url: @url, ref: "main", path: "/srv/shop", depth: 1} = sync
    refute is_map_key(sync, :auth)

    refute capture_log(fn -> look_again() end) =~ "main is at"
    assert [{:sync, ^sync}] = Stubs.calls(Alumiini.Git) |> Enum.drop(2)

    stub(sync: {:ok, @second})
    log = capture_log(fn -> assert %{sha: @second} = look_again() end)
    assert log =~ "main is at #{@second}"
  end

  test "goes on after every error, logs each kind once, and waits longer and longer" do
    stub(sync: {:ok, @first}, files: {:ok, []})
    capture_log(fn -> follow() end)
    process = Process.whereis(Follower)

    %{retryable: retryable, final: final} = Alumiini.Git.Error.reasons()

    for reason <- retryable ++ final do
      stub(sync: Stubs.error(reason, message: "the one about #{reason}"))

      log =
        capture_log(fn ->
          assert %{sha: @first, error: ^reason, pause: pause} = look_again()
          assert pause == 2 * @interval
          for _look <- 1..6, do: look_again()
          assert %{pause: @longest} = look_again()
        end)

      assert [_once] = Regex.scan(~r/\[error\] sync: the one about #{reason}/, log)

      # It is put right by somebody.
      stub(sync: {:ok, @first})
      assert %{error: nil, pause: @interval} = look_again()
    end

    assert Process.whereis(Follower) == process
  end

  test "tries a commit again whose files it could not list" do
    stub(sync: {:ok, @first}, files: Stubs.error(:incomplete))
    log = capture_log(fn -> assert %{sha: nil, error: :incomplete} = follow() end)
    assert log =~ "[error] files: "

    stub(files: {:ok, ["app.yaml"]})
    log = capture_log(fn -> assert %{sha: @first, error: nil} = look_again() end)
    assert log =~ "main is at #{@first}, with 1 YAML files at its root"
  end

  test "takes the token of the environment, whatever it is at the time" do
    stub(sync: {:ok, @first}, files: {:ok, []})
    System.put_env("GIT_TOKEN", "one")
    log = capture_log(fn -> follow() end)
    System.put_env("GIT_TOKEN", "another")
    log = log <> capture_log(fn -> look_again() end)

    passwords = for {:sync, %{auth: auth}} <- Stubs.calls(Alumiini.Git), do: auth["password"]
    assert passwords == ["one", "another"]
    refute log =~ "another"
  end
end
