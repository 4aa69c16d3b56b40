defmodule Alumiini.Git.HttpMannersTest do
  # What HTTP servers do that is within their rights, and how little we ask of them.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.Relay

  setup [:dir, :origin, :commit, :http, :git]

  defp new_commit!(context) do
    Repository.commit!(context.origin, %{"new.yaml" => "#{System.unique_integer()}\n"})
  end

  describe "an answer" do
    test "in tiny chunks, and in tiny writes, is the same answer", context do
      for {rules, version} <- [
            {[{:chunks, 1}], :v2},
            {[{:chunks, 3}, :no_v2], :v0},
            {[{:trickle, :head, 1, 0}], :v2},
            {[{:trickle, :body, 1, 0}], :v2},
            {[{:framing, :content_length}, {:trickle, :pack, 1, 0}], :v2}
          ] do
        for rule <- rules, do: HttpServer.rule(context.http, rule)
        git = start_supervised!({Git, name: nil}, id: make_ref())

        for commit <- [Repository.rev_parse!(context.origin, "main"), new_commit!(context)] do
          # The first is what was there before; what is new is fetched after it.
          assert {:ok, head} = sync(%{context | git: git})
          assert head == Repository.rev_parse!(context.origin, "main")
          assert commit in [head, Repository.rev_parse!(context.origin, "main~1")]
          Oracle.assert_synced(context.path, context.origin, head)
        end

        assert {rules, version} == {rules, spoken(context)}
        HttpServer.reset(context.http)
        TempDir.remove!(context.path)
      end
    end

    # Where nothing but the advertisement is asked for before the fetch, the server told all refs
    # there.
    defp spoken(context) do
      posts = for %{method: "POST", body: body} <- HttpServer.log(context.http), do: body
      if Enum.any?(posts, &(&1 =~ "command=")), do: :v2, else: :v0
    end
  end

  describe "a connection that the server ends" do
    # The next request on the connection of this poll is read, and dropped without a word.
    defp poll_and_drop_next(context, how) do
      rule = HttpServer.rule(context.http, {:drop_next, how}, first: 1)
      before = HttpServer.stats(context.http)
      assert {:ok, _commit} = sync(context)
      HttpServer.remove(context.http, rule)
      after_it = HttpServer.stats(context.http)
      assert after_it.requests == before.requests + 1
      {after_it, after_it.bytes_in - before.bytes_in}
    end

    test "when it has read a request, and said nothing: the request is made once more", context do
      for how <- [:close, :reset], new? <- [false, true] do
        assert {:ok, _commit} = sync(context)
        {before, size} = poll_and_drop_next(context, how)
        if new?, do: new_commit!(context)
        assert sync(context) == {:ok, Repository.rev_parse!(context.origin, "main")}
        # Only what is answered counts as a request there.
        assert %{requests: requests, bytes_in: bytes} = HttpServer.stats(context.http)
        assert requests - before.requests == if(new?, do: 2, else: 1)
        assert bytes - before.bytes_in >= 2 * size
      end
    end

    test "again, when it was made once more, and when it was asked anew at the URL: an error",
         context do
      for how <- [:close, :reset] do
        assert {:ok, _commit} = sync(context)
        {before, size} = poll_and_drop_next(context, how)
        rule = HttpServer.rule(context.http, {:cut, how})
        assert {:error, %Error{reason: :network, retryable?: true}} = sync(context)
        HttpServer.remove(context.http, rule)
        assert %{requests: requests, bytes_in: bytes} = HttpServer.stats(context.http)
        # The second and the GET of its refs; nothing comes after it.
        assert requests == before.requests + 2
        assert (bytes - before.bytes_in) in (2 * size)..(3 * size)
      end
    end

    # As a load balancer does that is restarted.
    test "all of them, each when it has read a request: no error", context do
      # Of different repositories: the same question is asked once for all who have it.

      calls =
        for n <- 1..5 do
          File.ln_s!("origin.git", Path.join(context.dir, "app#{n}.git"))
          url = HttpServer.url(context.http, "app#{n}.git")
          fn -> Git.ls_remote(url, "main", server: context.git) end
        end

      for call <- calls, do: assert(call.() == {:ok, context.commit})

      # One request each from here on, all at once: as many connections, and each of them ends at
      # its next request.
      HttpServer.rule(context.http, {:drop_next, :close}, first: 5)
      gate = HttpServer.rule(context.http, :hold)
      tasks = Enum.map(calls, &Task.async/1)
      HttpServer.await(context.http, {:parked, gate, 5})
      HttpServer.release(context.http, gate)
      for task <- tasks, do: assert(Task.await(task) == {:ok, context.commit})
      HttpServer.remove(context.http, gate)
      for call <- calls, do: assert(call.() == {:ok, context.commit})
    end

    test "in the middle of its refs: they are asked for once more, beginning at the URL", context do
      for how <- [:close, :reset], at <- [1, 20], new? <- [true, false] do
        assert {:ok, _commit} = sync(context)
        if new?, do: new_commit!(context)
        HttpServer.reset(context.http)
        rule = HttpServer.rule(context.http, {:stop, {:body, at}, how}, on: :upload_pack, first: 1)
        assert sync(context) == {:ok, Repository.rev_parse!(context.origin, "main")}

        assert [%{method: "POST"}, %{method: "GET"}, %{method: "POST"} | fetch] =
                 HttpServer.log(context.http)

        assert length(fetch) == if(new?, do: 1, else: 0)
        HttpServer.remove(context.http, rule)
      end
    end

    test "between two polls, without a word: no error", context do
      HttpServer.rule(context.http, :close_after)
      assert {:ok, _commit} = sync(context)

      for n <- 1..3 do
        HttpServer.await(context.http, {:open, 0})
        before = HttpServer.stats(context.http)
        assert {:ok, _commit} = sync(context)
        assert %{requests: requests, connections: connections} = HttpServer.stats(context.http)
        assert {n, requests, connections} == {n, before.requests + 1, before.connections + 1}
      end
    end
  end

  test "a server that only speaks v0 is remembered as such", context do
    HttpServer.rule(context.http, :no_v2)
    for _ <- 1..3, do: assert(sync(context) == {:ok, context.commit})

    assert [first | polls] =
             HttpServer.log(context.http) |> Enum.map(& &1.method) |> Enum.chunk_by(&(&1 == "POST"))

    assert first == ["GET"]
    # The pack, and then the advertisement for each poll.
    assert [["POST"], ["GET", "GET"]] = polls
    Oracle.assert_synced(context.path, context.origin, context.commit)
  end

  describe "429" do
    test "with Retry-After in seconds or as a date: rate_limited, with the seconds", context do
      assert {:ok, _commit} = sync(context)

      # Each value has a server of its own: what one was told holds for a while.
      for {value, expected} <- [
            {"120", 120..120},
            {"0", 0..0},
            {http_date(90), 80..90},
            # Over already: now.
            {http_date(-90), 0..0}
          ] do
        context = %{context | git: start_supervised!({Git, name: nil}, id: value)}
        rule = HttpServer.rule(context.http, {:status, 429, [{"retry-after", value}], "slow down"})

        for call <- [
              fn -> sync(context) end,
              fn -> Git.ls_remote(context.url, "main", server: context.git) end
            ] do
          assert {:error, %Error{reason: :rate_limited, retryable?: true} = error} = call.()
          assert %{status: 429, retry_after: seconds} = error.detail
          assert {value, seconds in expected} == {value, true}
        end

        HttpServer.remove(context.http, rule)
      end
    end

    test "with none, or with nonsense: rate_limited, without", context do
      nonsense = for value <- ["soon", "-3", ""], do: [{"retry-after", value}]

      for headers <- [[] | nonsense] do
        rule = HttpServer.rule(context.http, {:status, 429, headers, ""})
        assert {:error, %Error{reason: :rate_limited} = error} = sync(context)
        assert error.detail[:retry_after] == nil
        HttpServer.remove(context.http, rule)
      end
    end

    test "is not asked again by itself", context do
      assert {:ok, _commit} = sync(context)
      HttpServer.reset(context.http)
      HttpServer.rule(context.http, {:status, 429, [{"retry-after", "0"}], ""})
      assert {:error, %Error{reason: :rate_limited}} = sync(context)
      assert [_one] = HttpServer.log(context.http)
    end

    defp http_date(seconds_from_now) do
      DateTime.utc_now()
      |> DateTime.add(seconds_from_now)
      |> Calendar.strftime("%a, %d %b %Y %H:%M:%S GMT")
    end
  end

  describe "a poll" do
    test "with nothing new is one request, of at most 1 KiB each way, however many refs there are",
         context do
      for refs <- [10, 5_000] do
        lines = for n <- 1..refs, do: "create refs/pull/#{n}/head #{context.commit}\n"

        GitCommand.converse!(
          ["update-ref", "--stdin"],
          ["start\n", lines, "commit\n"],
          &(&1 =~ "commit: ok"),
          cd: context.origin
        )

        relay = start_supervised!({Relay, to: HttpServer.port(context.http)})
        url = "http://127.0.0.1:#{Relay.port(relay)}/origin.git"
        assert sync(context, url: url) == {:ok, context.commit}

        for _ <- 1..3 do
          HttpServer.reset(context.http)
          Relay.reset(relay)
          assert sync(context, url: url) == {:ok, context.commit}

          assert [%{method: "POST", path: "/origin.git/git-upload-pack"}] =
                   HttpServer.log(context.http)

          assert %{connections: 0, up: up, down: down} = Relay.stats(relay)
          assert {refs, up, down} == {refs, min(up, 1024), min(down, 1024)}
          assert up > 0 and down > 0
        end

        GitCommand.run!(["for-each-ref", "--count=1", "refs/pull"], cd: context.origin)

        GitCommand.converse!(
          ["update-ref", "--stdin"],
          [
            "start\n",
            String.replace(IO.iodata_to_binary(lines), ~r/create (\S+) \S+/, "delete \\1"),
            "commit\n"
          ],
          &(&1 =~ "commit: ok"),
          cd: context.origin
        )
      end
    end

    test "with 50 ms between us and the server takes one round trip", context do
      relay = start_supervised!({Relay, to: HttpServer.port(context.http), delay: 50})
      url = "http://127.0.0.1:#{Relay.port(relay)}/origin.git"
      assert sync(context, url: url) == {:ok, context.commit}
      Relay.reset(relay)

      {us, result} = :timer.tc(fn -> sync(context, url: url) end)
      assert result == {:ok, context.commit}

      # The server spoke once, after we did: that is a round trip, of which the clock can only show
      # the least.
      assert Relay.turns(relay) == [0]
      assert us >= 100_000
    end
  end
end
