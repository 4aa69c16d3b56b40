defmodule Alumiini.Git.WorkerDeathTest do
  # A worker that dies or talks nonsense: who is answered, and who is to blame.
  use Alumiini.Git.Test.ScriptedServerCase, async: true

  # Of `:logger`.
  def log(%{msg: {:string, line}, meta: meta}, %{config: {test, ref}}),
    do: send(test, {ref, meta, to_string(line)})

  def log(_other, _config), do: :ok

  def stopped(_event, measurements, %{server: server}, test),
    do: send(test, {:stopped, server, measurements})

  describe "a worker that dies" do
    test "is replaced, and what was in flight is run again", context do
      first = hello() ++ [:read, event(), :read, event(), {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [first, hello() ++ [:serve]])
      {one, ref} = async(server, %{"op" => "head"})
      assert_receive {^ref, "taken"}, @soon
      {two, ref} = async(server, %{"op" => "files"})
      assert_receive {^ref, "taken"}, @soon

      assert [{:ok, %{"ok" => "served"}}, {:ok, %{"ok" => "served"}}] = Task.await_many([one, two])
      assert_receive {:worker, :down, ^server, %{reason: {:exit_status, 137}, attempt: 1}}
      assert_receive {:worker, :up, ^server, %{attempt: 2}}
      refute_received {:worker, :up, ^server, %{attempt: 3}}
    end

    test "has the calls tell that their requests were made again, and logs it in a domain",
         context do
      log = make_ref()
      id = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
      :ok = :logger.add_handler(id, __MODULE__, %{config: {self(), log}})
      on_exit(fn -> :logger.remove_handler(id) end)
      :ok = :telemetry.attach(id, [:alumiini_git, :read, :stop], &__MODULE__.stopped/4, self())
      on_exit(fn -> :telemetry.detach(id) end)

      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:serve]])

      ExUnit.CaptureLog.capture_log(fn ->
        assert {:ok, "served"} = Git.read("/x", "a.yaml", server: server)
      end)

      assert_receive {:stopped, ^server, %{retries: 2, requests: 0}}

      name = inspect(server)
      assert_receive {^log, %{domain: [:alumiini_git]}, "Alumiini.Git " <> line}
      assert line =~ name
    end

    test "keeps the deadlines that its requests had", context do
      first = hello() ++ [:read, event(), {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [first, hello() ++ [:hang]])
      {ms, result} = took(fn -> Server.call(server, %{"op" => "head"}, timeout: 500) end)
      assert {:error, %Error{reason: :timeout}} = result
      assert ms in 499..1_500
    end

    test "each time because of one request: that one gets :worker_exited, all others their answers",
         context do
      {server, _binary} = scripted!(context, [hello() ++ [:serve]])
      assert_receive {:worker, :up, ^server, %{attempt: 1}}, @soon
      :sys.suspend(server)
      poison = Task.async(fn -> Server.call(server, %{"op" => "sync", "path" => "poison"}) end)

      others =
        for n <- 1..12,
            do:
              Task.async(fn ->
                Server.call(server, %{"op" => "head", "path" => "silent #{n}"}, timeout: 4_000)
              end)

      healthy = for _ <- 1..12, do: Task.async(fn -> Server.call(server, %{"op" => "head"}) end)
      wait_for_messages(server, 25)
      :sys.resume(server)

      assert {:error, %Error{reason: :worker_exited, op: :sync, retryable?: false}} =
               Task.await(poison)

      for result <- Task.await_many(healthy), do: assert({:ok, %{"ok" => "served"}} = result)
      # These were never answered, wherever they ran; nor were they taken for the culprit.
      for result <- Task.await_many(others, 10_000),
          do: assert({:error, %Error{reason: :timeout}} = result)

      assert_received {:worker, :down, ^server, %{isolated: true, reason: {:exit_status, 137}}}
      assert {:ok, _reply} = Server.call(server, %{"op" => "head"})
    end

    test "when it was alone with a suspect that is sound: the suspect is answered", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert_receive {:worker, :up, ^server, %{isolated: true}}, @soon
      assert_receive {:worker, :down, ^server, %{isolated: true, reason: :done}}, @soon

      assert_receive {:worker, :up, ^server, %{isolated: false, attempt: attempt}} when attempt > 1,
                     @soon

      assert %{workers: 1, pending: 0} = Server.info(server)
    end

    test "while suspects wait: no more than four run at a time", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:hang]])
      assert_receive {:worker, :up, ^server, %{attempt: 1}}, @soon
      :sys.suspend(server)
      for _ <- 1..8, do: spawn_link(fn -> Server.call(server, %{"op" => "head"}) end)
      wait_for_messages(server, 8)
      :sys.resume(server)

      for _ <- 1..4, do: assert_receive({:worker, :up, ^server, %{isolated: true}}, @soon)

      assert_receive {:worker, :up, ^server, %{isolated: false, attempt: attempt}} when attempt > 2,
                     @soon

      assert %{workers: 5, pending: 8, in_flight: 4} = Server.info(server)
      refute_received {:worker, :up, ^server, %{isolated: true}}
    end

    test "and takes the answer to a suspect's deadline with it", context do
      dies = hello() ++ [:read, {:shell, "kill -9 $$"}]
      {server, _binary} = scripted!(context, [dies, dies, hello() ++ [:hang]], grace: 100)

      assert {:error, %Error{reason: :timeout}} =
               Server.call(server, %{"op" => "head"}, timeout: 1_000)

      assert_receive {:worker, :down, ^server, %{isolated: true, reason: :unresponsive}}, @soon
      assert %{pending: 0} = Server.info(server)
    end
  end

  describe "what a worker says" do
    test "that is no frame costs it its life; requests are run again", context do
      first = hello() ++ [:read, {:raw, <<3::32, "abc">>}, :hang]
      {server, _binary} = scripted!(context, [first, hello() ++ [:serve]])
      assert {:ok, %{"ok" => "served"}} = Server.call(server, %{"op" => "head"})
      assert_receive {:worker, :down, ^server, %{reason: :garbage}}, @soon
    end

    test "about nobody's request is dropped", context do
      script =
        hello() ++
          [
            :read,
            {:reply, %{"id" => 99, "ok" => 1}},
            {:reply, %{"ok" => 1}},
            {:reply, %{"id" => 98, "event" => "x"}}
          ] ++
          [{:answer, "mine"}, :serve]

      {server, _binary} = scripted!(context, [script])

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          assert {:ok, %{"ok" => "mine"}} = Server.call(server, %{"op" => "head"})
        end)

      assert log =~ "id 99"
      assert %{attempts: 1} = Server.info(server)
    end

    test "in an error reply becomes an error", context do
      reply = %{
        "id" => :last,
        "err" => "no branch `mian`",
        "kind" => "ref_not_found",
        "retryable" => false,
        "detail" => %{"near" => ["main"], "ref" => "mian"}
      }

      {server, _binary} = scripted!(context, [hello() ++ [:read, {:reply, reply}, :serve]])

      assert Server.call(server, %{"op" => "sync"}) ==
               {:error,
                %Error{
                  reason: :ref_not_found,
                  op: :sync,
                  message: "no branch `mian`",
                  detail: %{near: ["main"], ref: "mian"},
                  retryable?: false
                }}
    end
  end
end
