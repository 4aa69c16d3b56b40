defmodule Alumiini.Git.MigratingGuideTest do
  # Runs the examples of guides/migrating.md. Not async: it starts the server of the default name.
  use Alumiini.Git.Test.GuideCase, async: false

  alias Alumiini.Git.Follower

  @guide "guides/migrating.md"
  @soon 20_000

  test "each call is what the command does, and the old calls are what they were", context do
    start_supervised!(Git)
    [commands, flux, old] = blocks!(@guide, context)
    # After the first, the working tree is at the commit before.
    {_values, bindings} = run([commands])
    assert bindings[:sha] == context.sha
    {:ok, _sha} = Git.sync(context.url, "main", context.path)

    {_values, bindings} = run([flux])
    follower = bindings[:follower]
    {:ok, _current} = Follower.subscribe(follower, :all, since: nil)
    assert_receive {:alumiini_git, ^follower, %{sha: sha}}, @soon
    assert sha == context.first
    GenServer.stop(follower)

    run([old])
  end

  test "each call of the old module has its row" do
    rows =
      for [_all, call] <- Regex.scan(~r/^\| `(\w+)\([^)]*\)` \|/m, Document.read!(@guide)), do: call

    assert rows == ~w(sync files read head checkout ls_remote)
  end
end
