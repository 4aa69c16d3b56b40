defmodule Alumiini.Git.EventsTest do
  # Each event that is documented happens, with what is documented of it.
  use Alumiini.Git.Test.ScriptedServerCase, async: true

  alias Alumiini.Git.Telemetry
  alias Alumiini.Git.Test.DocumentedEvents

  # Those are in test/follower/telemetry_test.exs.
  @of_followers for event <- [:poll, :move], do: [:alumiini_git, :follower, event]
  # Those are in test/sync/telemetry_test.exs.
  @of_pollers for of <- [:server, :host], do: [:alumiini_git, of, :info]

  describe "the table of events" do
    test "is what happens", context do
      documented = DocumentedEvents.all()
      assert Enum.sort(Map.keys(documented)) == Enum.sort(Telemetry.events())

      test = self()
      id = {__MODULE__, make_ref()}

      :telemetry.attach_many(
        id,
        Telemetry.events(),
        fn event, measurements, metadata, _config ->
          send(test, {:event, event, measurements, metadata})
        end,
        nil
      )

      on_exit(fn -> :telemetry.detach(id) end)

      repaired =
        {:reply,
         %{
           "id" => :last,
           "event" => "repaired",
           "path" => "/x",
           "reason" => "an object is damaged"
         }}

      progress =
        {:reply,
         %{
           "id" => :last,
           "event" => "progress",
           "phase" => "index",
           "done" => 1,
           "total" => 2,
           "bytes" => 3
         }}

      synced = {:answer, ScriptedWorker.synced("abc")}

      {server, _binary} =
        scripted!(context, [
          hello() ++
            [:read, repaired, synced, :read, synced] ++
            List.duplicate(:read, 1) ++ [{:answer, ["a.yaml"]}, :read, {:answer, "content"}, :serve]
        ])

      options = [server: server]
      assert {:ok, "abc"} = Git.sync("https://u:p@h/x?q", "main", "/x", options)

      assert {:ok, %{sha: "abc"}} = Git.update("https://u:p@h/x?q", :default, "/x", options)

      assert {:ok, ["a.yaml"]} = Git.files("/x", nil, options)
      assert {:ok, "content"} = Git.read("/x", "a.yaml", options)
      assert {:error, %Error{reason: :internal}} = Git.head("/x", options)
      assert {:ok, "served"} = Git.checkout("/x", "main", options)
      assert {:ok, "served"} = Git.ls_remote("https://h/x", "main", options)
      assert {:error, %Error{reason: :internal}} = Git.refs("https://h/x", options)
      # Nothing keeps it any more.
      keeper = spawn(fn -> :ok end)
      lease = %Git.Lease{path: "/x", sha: "a", id: "1", server: server, keeper: keeper}

      for call <- [
            fn -> Git.snapshot("/x", options) end,
            fn -> Git.diff("/x", "a", "b", options) end,
            fn -> Git.log("/x", options) end,
            fn -> Git.export("/x", "/dest", options) end,
            fn -> Git.status("/x", options) end,
            fn -> Git.lease("/x", "a", options) end,
            fn -> Git.release(lease) end
          ],
          do: assert({:error, %Error{reason: :internal}} = call.())

      no_server = [server: :nobody_has_this_name]
      assert {:error, _unavailable} = Git.sync("https://h/x", "main", "/x", no_server)
      stop_supervised!(Git)

      # Each operation raises with a function of the caller's that does; those that take none
      # cannot.
      {raising, _binary} =
        scripted!(context, [
          hello() ++ [:read, progress, :read, :read, progress, :read, :read, progress, :hang]
        ])

      raise_it = [server: raising, progress: fn _progress -> raise "x" end]
      assert_raise RuntimeError, fn -> Git.sync("https://h/x", "main", "/x", raise_it) end

      assert_raise RuntimeError, fn ->
        Git.update("https://h/x", "main", "/x", raise_it)
      end

      assert_raise RuntimeError, fn -> Git.checkout("/x", "main", raise_it) end
      raise_it = [server: raising, auth: fn -> raise "x" end]
      assert_raise RuntimeError, fn -> Git.ls_remote("https://h/x", "main", raise_it) end
      assert_raise RuntimeError, fn -> Git.refs("https://h/x", raise_it) end
      stop_supervised!(Git)

      events =
        received_events(server) ++
          received_events(raising) ++ received_events(:nobody_has_this_name)

      seen = events |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

      cannot_raise =
        for op <- Git.Ops.all() -- [:sync, :update, :checkout, :ls_remote, :refs],
            do: [:alumiini_git, op, :exception]

      seen = seen ++ cannot_raise ++ @of_followers ++ @of_pollers
      assert Enum.sort(seen) == Enum.sort(Telemetry.events())

      for {event, measurements, metadata} <- events do
        assert {event, keys(measurements), keys(metadata)} ==
                 {event, documented[event].measurements, documented[event].metadata}

        assert Enum.all?(Map.values(measurements), &is_integer/1)
      end

      only = fn event -> Enum.find(events, &match?({^event, _, %{server: ^server}}, &1)) end

      assert {_, %{bytes: 70, duration: duration},
              %{result: :ok, op: :sync, url: "https://h/x", path: "/x", ref: "main"}} =
               only.([:alumiini_git, :sync, :stop])

      assert duration > 0

      assert {_, %{bytes: 7}, %{result: :ok, url: nil, path: "/x", ref: nil}} =
               only.([:alumiini_git, :read, :stop])

      assert {_, %{bytes: 0}, %{result: :internal}} = only.([:alumiini_git, :head, :stop])

      assert {_, _, %{path: "/x", reason: "an object is damaged"}} =
               only.([:alumiini_git, :repo, :repaired])

      assert Enum.count(events, &match?({[:alumiini_git, :repo, :repaired], _, _}, &1)) == 1
    end
  end

  defp keys(map), do: map |> Map.keys() |> Enum.sort()

  defp received_events(server) do
    receive do
      {:event, event, measurements, %{server: ^server} = metadata} ->
        [{event, measurements, metadata} | received_events(server)]
    after
      0 -> []
    end
  end
end
