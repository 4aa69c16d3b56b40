defmodule Alumiini.Git.Test.FollowerCase do
  @moduledoc """
  A `Alumiini.Git.Test.HttpCase` of followers. No test waits for an interval: it pokes, and waits
  for the events of polls and moves.

      use Alumiini.Git.Test.FollowerCase, async: true

      setup [:dir, :origin, :commit, :http, :named_git, :events]

  | step | adds to the context |
  | --- | --- |
  | `:named_git` | `git`, the name of a server, so that it can be restarted |
  | `:events` | nothing: the test gets `{:poll, metadata}` and `{:move, metadata}` of that server |
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git
  alias Alumiini.Git.Follower
  alias Alumiini.Git.Test.{GitCommand, OsProcess}

  # In place of an interval that is waited for.
  @hour 3_600_000
  @soon 20_000

  using do
    quote do
      use Alumiini.Git.Test.HttpCase

      alias Alumiini.Git.{Change, Follower, Server, Update}
      alias Alumiini.Git.Test.OsProcess

      import Alumiini.Git.Test.FollowerCase
    end
  end

  def named_git(_context) do
    git = :"git-#{System.unique_integer([:positive])}"
    start_supervised!({Git, name: git, backoff_initial: 1})
    %{git: git}
  end

  def events(context) do
    id = {__MODULE__, make_ref()}
    events = for event <- [:poll, :move], do: [:alumiini_git, :follower, event]
    :ok = :telemetry.attach_many(id, events, &__MODULE__.tell/4, {self(), context.git})
    on_exit(fn -> :telemetry.detach(id) end)
  end

  @doc false
  def tell([_, _, event], measurements, %{server: server} = metadata, {test, server}),
    do: send(test, {event, Map.merge(metadata, measurements)})

  def tell(_event, _measurements, _of_another_server, _test), do: :ok

  @doc "Starts a follower of `main` that polls once, and then when it is poked."
  def follow!(context, options \\ []) do
    child = {Follower, options(context, options)}
    start_supervised!(Supervisor.child_spec(child, id: make_ref(), restart: :temporary))
  end

  @doc "The options of a follower of the test's repository, and others."
  def options(context, options \\ []) do
    Keyword.merge(
      [url: context.url, ref: "main", path: context.path, server: context.git, interval: @hour],
      options
    )
  end

  @doc "The next poll, with what it came to."
  def poll!(result \\ :ok) do
    assert_receive {:poll, %{result: ^result} = poll}, @soon
    poll
  end

  @doc "Waits until followers were told that the branch is at this commit."
  def moved!(follower, sha) do
    assert_receive {:move, %{to: ^sha} = move}, @soon
    # It has sent all that there was to send when it answers.
    Follower.status(follower)
    move
  end

  @doc "Pokes, and waits until all were told of this commit."
  def poke!(follower, sha) do
    Follower.poke(follower)
    moved!(follower, sha)
  end

  @doc "A follower that polled once."
  def followed!(context, options \\ []) do
    follower = follow!(context, options)
    poll!()
    Follower.status(follower)
    follower
  end

  @doc "Waits for a condition on the status of a follower, and returns that."
  def await_status!(follower, condition) do
    if OsProcess.await(fn -> condition.(Follower.status(follower)) end, @soon) == :timeout,
      do: flunk("it did not come to that: #{inspect(Follower.status(follower))}")

    Follower.status(follower)
  end

  @doc "The processes that poll, of which followers share one."
  def sources(%{git: git}),
    do: for({_path, %{pid: pid}} <- :sys.get_state(git).shared.entries, do: pid)

  @doc "What `git diff --name-only` says of two commits, below some paths."
  def changed_names(origin, from, to, paths \\ []) do
    ["diff", "--name-only", "--no-renames", "-z", from, to, "--" | paths]
    |> GitCommand.run!(cd: origin)
    |> String.split("\0", trim: true)
    |> Enum.sort()
  end

  @doc "Moves `main` as fast as it can be moved."
  def point!(origin, sha), do: File.write!(Path.join(origin, "refs/heads/main"), sha <> "\n")
end
