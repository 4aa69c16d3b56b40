defmodule Alumiini.Git.BudgetTest do
  # What one host is asked, and how that is shared among repositories.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.{Info, Server}
  alias Alumiini.Git.Test.OsProcess

  @moduletag timeout: 180_000
  @soon 30_000

  setup [:dir, :origin, :commit, :quiet_http]

  # There are many requests: none has a shell of its own.
  defp quiet_http(context) do
    http = start_supervised!({HttpServer, root: context.dir, stderr: :inherit})
    %{http: http, url: HttpServer.url(http, "origin.git")}
  end

  defp git!(options), do: start_supervised!({Git, [name: nil] ++ options})

  # Other names of the origin, which is a repository each to whoever asks.
  defp url!(context, name) do
    File.ln_s!("origin.git", Path.join(context.dir, name <> ".git"))
    HttpServer.url(context.http, name <> ".git")
  end

  # One request, once the repository's server is known. Equal ones would share it.
  defp ask(url, git, prefix, options \\ []) do
    Git.refs(url, [server: git, prefix: "refs/heads/#{prefix}"] ++ options)
  end

  defp ask_in_task(url, git, prefix, options \\ []),
    do: Task.async(fn -> ask(url, git, prefix, options) end)

  # The one host, as the server tells of it.
  defp host(git) do
    case Git.info!(git, hosts: true, timeout: @soon).hosts do
      [%Info.Host{} = host] -> host
      [] -> nil
    end
  end

  defp await_host(git, condition) do
    assert OsProcess.await(fn -> condition.(host(git)) end, @soon) == :ok
  end

  defp log(context, name \\ nil) do
    for %{repository: repository} = request <- HttpServer.log(context.http),
        name == nil or repository =~ name,
        do: request
  end

  describe "repositories that are broken" do
    test "50 that hang leave 500 others what they need", context do
      git = git!([])
      seed = Path.join(context.dir, "seed")
      assert {:ok, _commit} = Git.sync(context.url, "main", seed, server: git)

      good =
        for n <- 1..500 do
          path = Path.join(context.dir, "work#{n}")
          File.cp_r!(seed, path)
          {url!(context, "good#{n}"), path}
        end

      hold = HttpServer.rule(context.http, :hold, path: ~r/broken/)

      # They come first, and have all places of the host.
      broken =
        for n <- 1..50 do
          url = url!(context, "broken#{n}")
          Task.async(fn -> Git.ls_remote(url, "main", server: git, timeout: 150_000) end)
        end

      HttpServer.await(context.http, {:parked, hold, 32}, @soon)

      polls =
        for {url, path} <- good do
          Task.async(fn -> Git.sync(url, "main", path, server: git, timeout: 120_000) end)
        end

      assert polls |> Task.await_many(130_000) |> Enum.frequencies() == %{
               {:ok, context.commit} => 500
             }

      # Those still hang, nobody was told anything.
      for task <- broken, do: assert(Task.yield(task, 0) == nil)
      assert %{failing: failing} = host(git)
      assert failing in 32..50
      assert %{attempts: 1} = Server.info(git)

      # And those that were broken off were made again, once there was room.
      HttpServer.remove(context.http, hold)
      HttpServer.release(context.http, hold)

      assert broken |> Task.await_many(@soon) |> Enum.uniq() == [{:ok, context.commit}]
    end

    test "have a quarter of the places, from their first failure to their first success", context do
      git = git!(max_requests_per_host: 8)
      urls = for n <- 1..20, do: url!(context, "broken#{n}")
      good = url!(context, "good")
      fails = HttpServer.rule(context.http, {:status, 500}, path: ~r/broken/)
      for url <- urls, do: assert({:error, %Error{reason: :network}} = ask(url, git, "x"))
      assert {:ok, []} = ask(good, git, "x")
      HttpServer.remove(context.http, fails)

      hold = HttpServer.rule(context.http, :hold, path: ~r/broken/)
      broken = for url <- urls, do: ask_in_task(url, git, "x")
      HttpServer.await(context.http, {:parked, hold, 2}, @soon)
      await_host(git, &(&1.waiting == 18))
      assert %{running: 2, limit: 8, failing: 20, circuit: :closed} = host(git)
      for n <- 1..50, do: assert({:ok, []} = ask(good, git, n))
      assert HttpServer.stats(context.http).parked == 2

      HttpServer.remove(context.http, hold)
      HttpServer.release(context.http, hold)
      assert Enum.uniq(Task.await_many(broken, @soon)) == [{:ok, []}]

      # Now they are like all others.
      hold = HttpServer.rule(context.http, :hold, path: ~r/broken/)
      broken = for url <- urls, do: ask_in_task(url, git, "y")
      HttpServer.await(context.http, {:parked, hold, 8}, @soon)
      HttpServer.release(context.http, hold)
      assert Enum.uniq(Task.await_many(broken, @soon)) == [{:ok, []}]
    end
  end

  test "repositories take turns, however many requests each has", context do
    git = git!(max_requests_per_host: 1)
    {many, other} = {url!(context, "many"), url!(context, "other")}
    for url <- [many, other], do: assert({:ok, []} = ask(url, git, "x"))
    HttpServer.reset(context.http)
    hold = HttpServer.rule(context.http, :hold, first: 1)

    first = ask_in_task(many, git, 0)
    HttpServer.await(context.http, {:parked, hold, 1}, @soon)
    rest = for n <- 1..300, do: ask_in_task(many, git, n)
    await_host(git, &(&1.waiting == 300))
    last = ask_in_task(other, git, 0)
    await_host(git, &(&1.waiting == 301))

    assert %{running: 1, limit: 1, repositories: waiting} = host(git)
    assert waiting == [%{url: many, waiting: 300}, %{url: other, waiting: 1}]

    HttpServer.release(context.http, hold)
    assert [first, last | rest] |> Task.await_many(@soon) |> Enum.uniq() == [{:ok, []}]
    # Its place in the order of all.
    assert Enum.find_index(log(context), &(&1.repository =~ "other")) in 1..2
  end

  describe "requests in a second" do
    test "are as many as the server's option says", context do
      git = git!(max_requests_per_second_per_host: 10)
      url = url!(context, "app")
      start = System.monotonic_time(:millisecond)
      # Two requests: what the server speaks, and the refs.
      assert {:ok, []} = ask(url, git, "x")
      asked = for n <- 1..28, do: ask_in_task(url, git, n)
      assert Enum.uniq(Task.await_many(asked, @soon)) == [{:ok, []}]

      times = for(%{at: at} <- log(context), do: at - start) |> Enum.sort()
      assert length(times) == 30

      # Ten at once, then one each tenth of a second; they may arrive later, but not sooner.
      for {at, n} <- Enum.with_index(times), n >= 10 do
        assert {n, at >= (n - 9) * 100 - 2} == {n, true}
      end

      assert List.last(times) < @soon
    end

    test "that wait for their turn leave at their deadline and with their caller", context do
      git = git!(max_requests_per_second_per_host: 0.01)
      url = url!(context, "app")
      assert {:error, %Error{reason: :timeout}} = ask(url, git, "x", timeout: 500)
      assert [%{method: "GET"}] = log(context)
      await_host(git, &(&1 == nil))

      task = ask_in_task(url, git, "x")
      await_host(git, &(&1 != nil and &1.waiting == 1))
      assert %{running: 0, per_second: 0.01, tokens: tokens} = host(git)
      assert tokens >= 0 and tokens < 1
      Task.shutdown(task, :brutal_kill)
      await_host(git, &(&1 == nil))
      assert [_one] = log(context)
      assert %{pending: 0, attempts: 1} = Server.info(git)
    end
  end

  describe "a host that says how long to leave it alone" do
    test "is not asked before, and who cannot wait is told at once", context do
      git = git!([])
      {told, other} = {url!(context, "told"), url!(context, "other")}
      for url <- [told, other], do: assert({:ok, []} = ask(url, git, "x"))

      for {status, reason} <- [{429, :rate_limited}, {503, :network}] do
        HttpServer.reset(context.http)
        HttpServer.rule(context.http, {:status, status, [{"retry-after", "3"}], ""}, first: 1)
        assert {:error, %Error{reason: ^reason, detail: detail}} = ask(told, git, "x")
        assert %{status: ^status, retry_after: 3} = detail

        # Another repository's call waits.
        waits = ask_in_task(other, git, "y")
        await_host(git, &(&1 != nil and &1.waiting == 1))
        assert %{held_for: held_for, circuit: :half_open, failing: 0} = host(git)
        assert held_for in 1..3_000

        assert {:error, %Error{reason: :rate_limited} = error} = ask(other, git, "z", timeout: 900)
        assert %{retry_after: seconds, url: ^other} = error.detail
        assert seconds in 1..3
        assert error.message =~ "not asked again"

        # Others are not meant: that is for who was told.
        auth = Alumiini.Git.Auth.basic("ann", "sesame")
        options = [auth: auth, allow_insecure: true, timeout: @soon]
        assert {:ok, []} = ask(other, git, "a", options)

        assert Task.await(waits, @soon) == {:ok, []}
        assert [first, second] = for(%{authorization: nil} = request <- log(context), do: request)
        assert second.repository =~ "other"
        assert second.at - first.at >= 2_998
      end
    end

    test "for longer than a call would wait is asked by nobody", context do
      git = git!([])
      HttpServer.rule(context.http, {:status, 429, [{"retry-after", "3600"}], ""})
      assert {:error, %Error{reason: :rate_limited}} = ask(context.url, git, "x")

      for n <- 1..20 do
        assert {:error, %Error{reason: :rate_limited, detail: %{retry_after: seconds}}} =
                 ask(context.url, git, n)

        assert seconds in 3_500..3_600
      end

      assert [_one] = log(context)
    end
  end
end
