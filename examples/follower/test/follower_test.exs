defmodule FollowerTest do
  # Not async: the follower calls the server of the default name, and has a name itself.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Alumiini.Git.Test, as: Stubs
  alias Alumiini.Git.Update

  @url "https://git.example.com/shop.git"
  @first String.duplicate("a", 40)
  @second String.duplicate("b", 40)
  @waited 60_000

  setup do
    start_supervised!({Stubs, name: Alumiini.Git})
    test = self()
    id = {__MODULE__, test}
    :ok = :telemetry.attach(id, [:alumiini_git, :follower, :poll], &__MODULE__.polled/4, test)
    on_exit(fn -> :telemetry.detach(id) end)
  end

  def polled(_event, _measurements, %{result: result}, test), do: send(test, {:polled, result})

  defp stub(stubs), do: Stubs.stub(Alumiini.Git, stubs)
  defp at(sha), do: {:ok, %Update{sha: sha, ref: "refs/heads/main"}}

  # As the application starts them, but for the server. It polls at once, and then when it is poked.
  defp follow(result) do
    branch = [name: Follower.Branch, url: @url, ref: {:branch, "main"}, path: "/srv/shop"]
    start_supervised!({Alumiini.Git.Follower, [interval: 3_600_000] ++ branch})
    start_supervised!({Follower, "/srv/shop"})
    polled!(result)
  end

  defp look_again(result) do
    Alumiini.Git.Follower.poke(Follower.Branch)
    polled!(result)
  end

  defp polled!(result) do
    assert_receive {:polled, ^result}, @waited
    settled!()
  end

  # What a poll found has been told, and logged, by the time that these answer.
  defp settled! do
    Alumiini.Git.Follower.status(Follower.Branch)
    :sys.get_state(Follower)
  end

  test "says when there is something new, and then only" do
    stub(update: at(@first), files: {:ok, ["app.yaml", "base.yaml"]}, diff: {:ok, []})

    log =
      capture_log(fn ->
        follow(:ok)
        look_again(:ok)
      end)

    assert [_once] = Regex.scan(~r/main is at #{@first}, with 2 YAML files at its root/, log)
    calls = Stubs.calls(Alumiini.Git)

    assert [{:update, %{url: @url, ref: "main", path: "/srv/shop"} = update}, _again] =
             for({:update, _} = call <- calls, do: call)

    refute is_map_key(update, :auth)
    assert {:files, %{path: "/srv/shop", at: @first}} in calls
  end

  test "goes on after every error, and logs each kind once" do
    stub(update: at(@first), files: {:ok, []})
    capture_log(fn -> follow(:ok) end)
    process = Process.whereis(Follower)
    %{retryable: retryable, final: final} = Alumiini.Git.Error.reasons()

    for reason <- retryable ++ final do
      stub(update: Stubs.error(reason, message: "the one about #{reason}"))

      log =
        capture_log(fn ->
          for _look <- 1..3, do: look_again(reason)
          # It is put right by somebody.
          stub(update: at(@first))
          look_again(:ok)
        end)

      assert [_once] = Regex.scan(~r/\[error\] update: the one about #{reason}/, log)
      refute log =~ "main is at"
    end

    assert Process.whereis(Follower) == process
  end

  test "says which commit's files it could not list" do
    stub(update: at(@second), files: Stubs.error(:path_not_found, message: "it is not there"))
    assert capture_log(fn -> follow(:ok) end) =~ "[error] files: it is not there"
  end
end
