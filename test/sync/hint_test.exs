defmodule Alumiini.Git.HintTest do
  # A commit that somebody says the ref is at, as a webhook does.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Update

  setup [:dir, :origin, :commit, :http, :git]

  defp update(context, options) do
    Git.update(context.url, "main", context.path, [server: context.git] ++ options)
  end

  for options <- [[], [working_tree: false], [paths: ["deploy"]], [depth: :infinity]] do
    test "is fetched while the remote is asked, with #{inspect(options)}", context do
      %{http: http, origin: origin, commit: first} = context
      options = unquote(options)
      assert {:ok, %Update{sha: ^first}} = update(context, options)
      # From here on what is there is remembered.
      assert {:ok, %Update{changed?: false}} = update(context, options)
      second = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})

      # Whichever of the two comes first waits for the other.
      rule = HttpServer.rule(http, :hold, on: :upload_pack)
      before = length(HttpServer.log(http))
      asking = Task.async(fn -> update(context, [hint: second] ++ options) end)
      HttpServer.await(http, {:requests, before + 2})
      HttpServer.release(http, rule)

      assert {:ok, %Update{sha: ^second, previous: ^first} = update} = Task.await(asking, 30_000)
      assert update.bytes > 0 and update.objects > 0

      if options[:working_tree] == false,
        do: Oracle.assert_synced_bare(context.path, origin, second),
        else: Oracle.assert_synced(context.path, origin, second, options[:paths] || [])

      # The question, commits, and with paths the files: none is asked for twice.
      asked = if options[:paths], do: 3, else: 2
      assert length(HttpServer.log(http)) - before == asked
    end
  end

  test "is not believed", %{http: http, origin: origin, commit: first} = context do
    second = Repository.commit!(origin, %{"b.yaml" => "b: 1\n"})
    third = Repository.commit!(origin, %{"c.yaml" => "c: 1\n"}, branch: "other", from: second)
    assert {:ok, %Update{sha: ^second}} = update(context, [])
    assert {:ok, %Update{changed?: false}} = update(context, [])

    for hint <- [first, third, String.duplicate("1", 40), second, nil] do
      assert {:ok, %Update{sha: ^second, changed?: false}} = update(context, hint: hint)
      Oracle.assert_synced(context.path, origin, second)
    end

    # One that is there is not fetched.
    before = length(HttpServer.log(http))
    assert {:ok, %Update{changed?: false}} = update(context, hint: second)
    assert length(HttpServer.log(http)) - before == 1

    fourth = Repository.commit!(origin, %{"d.yaml" => "d: 1\n"})
    assert {:ok, %Update{sha: ^fourth}} = update(context, hint: third)
    Oracle.assert_synced(context.path, origin, fourth)
  end

  test "that is none is refused", context do
    for hint <- ["main", String.duplicate("g", 40), String.duplicate("a", 39), 1] do
      assert_raise ArgumentError, ~r/:hint/, fn -> update(context, hint: hint) end
    end
  end
end
