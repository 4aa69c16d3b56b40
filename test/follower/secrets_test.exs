defmodule Alumiini.Git.FollowerSecretsTest do
  # What can be seen of credentials in a follower, its source, its server and all that they tell.
  # Not async: the logger and the events of the whole VM are watched.
  use Alumiini.Git.Test.SecretCase, async: false

  # However busy the machine is.
  @soon 20_000

  import ExUnit.CaptureLog

  alias Alumiini.Git.Follower

  setup [:dir, :origin, :commit, :http, :secret, :recorder]

  test "credentials are in nothing that followers show, whatever happens to them", context do
    %{recorder: recorder, secret: secret, path: path} = context
    HttpServer.rule(context.http, {:require, {:basic, "ann", secret}})
    git = start_supervised!(Supervisor.child_spec({Git, name: nil}, restart: :temporary))
    in_url = HttpServer.url(context.http, "origin.git", {"ann", secret})
    auth = Auth.basic("ann", secret)

    followed = [
      [url: in_url, path: path <> "-1"],
      [url: context.url, auth: auth, path: path <> "-2"],
      [url: context.url, auth: fn -> auth end, path: path <> "-3"],
      [url: context.url, auth: {Auth, :basic, ["ann", secret]}, path: path <> "-4"],
      # Wrong ones, and a proxy that is not there.
      [url: in_url, auth: Auth.token(secret), path: path <> "-5"],
      [url: in_url, proxy: "http://ann:#{secret}@127.0.0.1:1", path: path <> "-6"],
      [url: context.url <> "?token=#{secret}", path: path <> "-7"]
    ]

    log =
      capture_log(fn ->
        children =
          for options <- followed do
            {Follower, [ref: "main", server: git, allow_insecure: true] ++ options}
          end

        LeakRecorder.note(
          recorder,
          "specification",
          Enum.map(children, &Supervisor.child_spec(&1, []))
        )

        {:ok, supervisor} =
          Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 1_000)

        LeakRecorder.note(recorder, "supervisor", :sys.get_state(supervisor))
        LeakRecorder.note(recorder, "children", Supervisor.which_children(supervisor))

        followers =
          for {_id, pid, _type, _modules} <- Supervisor.which_children(supervisor), do: pid

        for follower <- followers do
          {:ok, _current} = Follower.subscribe(follower, :all, since: nil, errors: true)
        end

        for follower <- followers do
          assert_receive {:alumiini_git, ^follower, told}, @soon
          LeakRecorder.note(recorder, "told", told)
          LeakRecorder.note(recorder, "status", Follower.status(follower))
        end

        # A poll under way, that holds the credentials in its hands.
        gate = HttpServer.rule(context.http, :hold)
        for follower <- followers, do: Follower.poke(follower)
        HttpServer.await(context.http, {:parked, gate, 4})
        note_server(recorder, git)
        sources = for {_path, %{pid: pid}} <- :sys.get_state(git).shared.entries, do: pid
        assert length(sources) == length(followed)

        requests =
          for source <- sources,
              {:links, links} = Process.info(source, :links),
              pid <- links,
              do: pid

        assert requests != []

        for pid <- followers ++ sources do
          LeakRecorder.note(recorder, "state", :sys.get_state(pid))
          LeakRecorder.note(recorder, "status", :sys.get_status(pid))
        end

        for pid <- followers ++ sources ++ requests,
            do: LeakRecorder.note_process(recorder, "process", pid)

        # Each crashes, by an error of its own, and says what it was.
        for pid <- sources do
          monitor = Process.monitor(pid)
          :sys.replace_state(pid, &%{&1 | followers: :broken})
          Follower.Source.poke(pid, nil)
          GenServer.cast(pid, {:join, self(), %{paths: []}})
          assert_receive {:DOWN, ^monitor, :process, _pid, reason}, @soon
          LeakRecorder.note(recorder, "crash", reason)
        end

        for follower <- followers do
          monitor = Process.monitor(follower)
          :sys.replace_state(follower, &%{&1 | subscribers: :broken})
          Process.exit(follower, :boom)
          send(follower, {:DOWN, make_ref(), :process, self(), :x})
          assert_receive {:DOWN, ^monitor, :process, _pid, reason}, @soon
          LeakRecorder.note(recorder, "crash", reason)
        end

        HttpServer.remove(context.http, gate)
        HttpServer.release(context.http, gate)
        Process.unlink(supervisor)
        Supervisor.stop(supervisor)
        Logger.flush()
      end)

    assert log =~ "terminating"
    LeakRecorder.note(recorder, "captured log", log)
    assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :follower, :poll]")
    assert LeakRecorder.places(recorder, secret) == []
  end
end
