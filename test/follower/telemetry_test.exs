defmodule Alumiini.Git.FollowerTelemetryTest do
  # The events of followers, held against the table in the documentation of Alumiini.Git.Telemetry.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 20_000

  alias Alumiini.Git.Test.DocumentedEvents

  setup [:dir, :origin, :commit, :http, :named_git, :measured]

  defp measured(context) do
    id = {__MODULE__, make_ref()}
    names = for event <- [:poll, :move], do: [:alumiini_git, :follower, event]
    :ok = :telemetry.attach_many(id, names, &__MODULE__.take/4, {self(), context.git})
    on_exit(fn -> :telemetry.detach(id) end)
  end

  def take(event, measurements, %{server: server} = metadata, {test, server}),
    do: send(test, {:event, event, measurements, metadata})

  def take(_event, _measurements, _of_another_server, _test), do: :ok

  defp event!(name) do
    event = [:alumiini_git, :follower, name]
    assert_receive {:event, ^event, measurements, metadata}, @soon
    documented = Map.fetch!(DocumentedEvents.all(), event)
    assert Enum.sort(Map.keys(measurements)) == documented.measurements
    assert Enum.sort(Map.keys(metadata)) == documented.metadata
    assert Enum.all?(Map.values(measurements), &is_integer/1)
    Map.merge(measurements, metadata)
  end

  test "tell of each poll, and of each move", context do
    %{git: git, path: path, commit: commit} = context
    url = String.replace(context.url, "://", "://ann:s3cr3t@")
    follower = follow!(context, url: url, allow_insecure: true)
    shown = context.url

    assert %{
             server: ^git,
             url: ^shown,
             path: ^path,
             ref: "main",
             result: :ok,
             moved: true,
             poked: false,
             followers: 1,
             duration: duration
           } = event!(:poll)

    assert duration > 0
    {:ok, _current} = Follower.subscribe(follower, "deploy")
    files = %{"deploy/x" => "1", "deploy/y" => "1", "charts/z" => "1"}
    second = Repository.commit!(context.origin, files)
    Follower.poke(follower)
    assert %{moved: true, poked: true, result: :ok} = event!(:poll)

    assert %{from: ^commit, to: ^second, changes: 2, compared: true, url: ^shown, path: ^path} =
             event!(:move)

    File.rm_rf!(path)
    third = Repository.commit!(context.origin, %{"deploy/x" => "2"})
    Follower.poke(follower)
    assert %{from: ^second, to: ^third, changes: 0, compared: false} = event!(:move)
    assert %{moved: true} = event!(:poll)
    Repository.delete_branch!(context.origin, "main")
    Follower.poke(follower)
    assert %{moved: false, result: :ref_not_found} = event!(:poll)
  end
end
