defmodule Alumiini.Git.FollowerMisuseTest do
  # What a follower is not started with, and what is no subscription.
  use Alumiini.Git.Test.FollowerCase, async: true

  @options [url: "https://git.example.com/a.git", ref: "main", path: "/tmp/a"]

  for {what, options, message} <- [
        {"no URL", [url: :absent], ~r/needs the option :url/},
        {"no ref", [ref: :absent], ~r/needs the option :ref/},
        {"no path", [path: :absent], ~r/needs the option :path/},
        {"a URL that is none", [url: 1], ~r/the URL must be a string/},
        {"a ref that is none", [ref: 1], ~r/the ref must be/},
        {"a path that is none", [path: 1], ~r/the path of the repository must be/},
        {"an interval that is none", [interval: 0], ~r/:interval must be a positive integer/},
        {"a pause that is none", [backoff_max: "1"], ~r/:backoff_max must be a positive integer/},
        {"a name that is none", [name: "name"], ~r/:name must be an atom/},
        {"an unknown option", [intervall: 1], ~r/unknown option :intervall of .*start_link/},
        {"a function for progress", [progress: &Function.identity/1], ~r/unknown option :progress/},
        {"a wrong option of a call", [depth: 0], ~r/:depth must be/},
        {"credentials that are none", [auth: "s3cr3t"], ~r/:auth must be made by/},
        {"a server that is none", [server: "x"], ~r/:server must be/}
      ] do
    test "#{what} raises in the caller" do
      options =
        @options
        |> Keyword.merge(unquote(Macro.escape(options)))
        |> Enum.reject(&match?({_key, :absent}, &1))

      error = assert_raise ArgumentError, fn -> Follower.start_link(options) end
      assert error.message =~ unquote(Macro.escape(message))
      refute error.message =~ "s3cr3t"
    end
  end

  test "paths and options of a subscription that are none raise in the caller" do
    for paths <- [nil, [], "/deploy", "a/../b", ["a", :b], 1, "a\0b"] do
      assert_raise ArgumentError, ~r/subscribe to must be/, fn ->
        Follower.subscribe(:nobody, paths)
      end
    end

    for {options, message} <- [
          {[since: 1], ~r/:since must be/},
          {[since: ""], ~r/:since must be/},
          {[errors: 1], ~r/:errors must be/},
          {[timeout: 0], ~r/:timeout must be/},
          {[path: "a"], ~r/unknown option :path/},
          {:since, ~r/must be a keyword list/}
        ] do
      assert_raise ArgumentError, message, fn -> Follower.subscribe(:nobody, :all, options) end
    end

    assert_raise ArgumentError, fn -> Follower.unsubscribe(:nobody, since: nil) end
    assert_raise ArgumentError, fn -> Follower.poke_all(push(), name: :nobody) end

    for push <- [%{push() | after: 1}, %{push() | urls: [1]}, %{push() | ref: nil}, %{}, []],
        do: assert_raise(ArgumentError, fn -> Follower.poke_all(push) end)

    assert Follower.poke(:nobody) == :ok
    assert {:noproc, _call} = catch_exit(Follower.subscribe(:nobody))
    assert {:noproc, _call} = catch_exit(Follower.status(:nobody))
  end

  defp push, do: %{urls: [], ref: "refs/heads/main", after: nil}
end
