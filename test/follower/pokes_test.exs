defmodule Alumiini.Git.FollowerPokesTest do
  # Which requests a poke causes. What counts is what the remote's server is asked.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 20_000

  setup [:dir, :origin, :commit, :http, :named_git, :events]

  defp requests(context), do: HttpServer.stats(context.http).requests

  # All polls that there are to be, and how many requests they were.
  defp rested!(context, follower) do
    await_status!(follower, &(&1.pokes == 0 and not &1.polling?))
    requests(context)
  end

  setup context do
    follower = followed!(context)
    HttpServer.reset(context.http)
    %{follower: follower}
  end

  test "a poke polls at once", %{follower: follower} = context do
    assert :ok = Follower.poke(follower)
    assert %{poked: true, moved: false} = poll!()
    assert rested!(context, follower) == 1
  end

  test "pokes that come while a poll is under way cause exactly one more", context do
    %{follower: follower} = context
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower)
    HttpServer.await(context.http, {:parked, gate, 1})
    for _ <- 1..100, do: Follower.poke(follower)
    assert %{pokes: 101, polling?: true, next_poll_at: nil} = Follower.status(follower)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    assert rested!(context, follower) == 2
    assert %{poked: true} = poll!()
    assert %{poked: true} = poll!()
    refute_received {:poll, _third}
  end

  test "a poke with the commit that is there already causes none", context do
    %{follower: follower} = context
    for _ <- 1..10, do: Follower.poke(follower, context.commit)
    assert rested!(context, follower) == 0
  end

  test "a poke that the poll under way satisfies causes no further one", context do
    %{follower: follower} = context
    second = Repository.commit!(context.origin, %{"a.yaml" => "2"})
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower, second)
    HttpServer.await(context.http, {:parked, gate, 1})
    for _ <- 1..10, do: Follower.poke(follower, second)
    HttpServer.remove(context.http, gate)
    HttpServer.release(context.http, gate)
    moved!(follower, second)
    # A question and a fetch.
    assert rested!(context, follower) == 2
    assert %{moved: true} = poll!()
    refute_received {:poll, _second}
  end

  test "the commit of a poke is fetched while the remote is asked whether it is there", context do
    %{follower: follower} = context
    second = Repository.commit!(context.origin, %{"a.yaml" => "2"})
    # Whichever of the two comes first waits for the other.
    gate = HttpServer.rule(context.http, :hold)
    Follower.poke(follower, second)
    HttpServer.await(context.http, {:requests, 2})
    HttpServer.release(context.http, gate)
    moved!(follower, second)
    assert rested!(context, follower) == 2
  end

  test "a commit that the remote does not have yet is looked for again, until it has it", context do
    %{follower: follower} = context

    [second] =
      Repository.commits!(context.origin, [
        %{branch: "later", from: context.commit, files: %{"a.yaml" => "2"}}
      ])

    # A replica that is behind: it gives the commit, and does not list it.
    Follower.poke(follower, second)
    HttpServer.await(context.http, {:requests, 3})
    point!(context.origin, second)
    moved!(follower, second)
    rested!(context, follower)
    seen = requests(context)
    assert %{sha: ^second, next_poll_at: next} = Follower.status(follower)
    # The interval, and nothing sooner.
    assert DateTime.diff(next, DateTime.utc_now()) > 1_000
    assert requests(context) == seen
  end

  test "a commit that the remote never has is not looked for without end", context do
    %{follower: follower} = context
    Follower.poke(follower, String.duplicate("0123", 10))
    # It is asked for once, and whether the branch is at it six times.
    HttpServer.await(context.http, {:requests, 7}, 20_000)
    soon = &(&1.next_poll_at != nil and DateTime.diff(&1.next_poll_at, DateTime.utc_now()) > 1_000)
    await_status!(follower, soon)
    assert requests(context) == 7
  end

  test "a push pokes those that follow its repository and ref, however they are written", context do
    %{git: git, url: url} = context
    %URI{port: port} = URI.parse(url)

    refs = [:default, {:tag, "v1"}, {:semver, "~> 1.0"}, "other", {:ref, "refs/x"}]

    others =
      for {ref, n} <- Enum.with_index(refs),
          do: follow!(context, ref: ref, path: context.path <> "-#{n}")

    for _ <- others, do: assert_receive({:poll, _first}, @soon)
    second = Repository.commit!(context.origin, %{"a.yaml" => "2"})

    push = %{
      urls: ["ssh://git@127.0.0.1:#{port}/origin"],
      ref: "refs/heads/main",
      before: context.commit,
      after: second
    }

    # That of the set-up, and that of the default branch.
    assert Follower.poke_all(push, server: git) == 2
    assert %{moved: true} = poll!()
    assert %{moved: true} = poll!()
    assert Follower.poke_all(%{push | ref: "refs/tags/v1.1.0"}, server: git) == 1
    assert Follower.poke_all(%{push | ref: "refs/tags/v1"}, server: git) == 2
    assert Follower.poke_all(%{push | ref: "refs/heads/gone", after: nil}, server: git) == 1
    assert Follower.poke_all(%{push | urls: ["https://127.0.0.1/another.git"]}, server: git) == 0
    assert Follower.poke_all(%{push | urls: push.urls ++ [url, url]}, server: git) == 2
    assert Follower.poke_all(push, server: :nobody) == 0
  end

  test "a server that names a time is not asked before, whoever pokes", context do
    %{follower: follower} = context
    later = {:status, 429, [{"retry-after", "3600"}], "slow down"}
    refused = HttpServer.rule(context.http, later)
    Follower.poke(follower)
    poll!(:rate_limited)
    HttpServer.remove(context.http, refused)
    HttpServer.reset(context.http)
    for _ <- 1..10, do: Follower.poke(follower)
    assert %{pokes: 10, error: %Error{reason: :rate_limited}} = status = Follower.status(follower)
    assert DateTime.diff(status.next_poll_at, DateTime.utc_now()) in 3_500..4_000
    assert requests(context) == 0
  end

  test "what is no commit is refused", %{follower: follower} do
    for wrong <- [:main, 1, "", {"a"}] do
      assert_raise ArgumentError, ~r/commit of a poke/, fn -> Follower.poke(follower, wrong) end
    end
  end
end
