defmodule Alumiini.Git.Test.ScriptedServerCase do
  @moduledoc """
  Tests of a server whose workers follow scripts (`Alumiini.Git.Test.ScriptedWorker`).

      use Alumiini.Git.Test.ScriptedServerCase, async: true

      test "answers", context do
        {server, _binary} = scripted!(context, [hello() ++ [:serve]])
        assert_receive {:worker, :up, ^server, %{attempt: 1}}, @soon

  The test gets the messages of `WorkersSeen` from each worker of such a server.
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Server
  alias Alumiini.Git.Test.{ScriptedWorker, WorkersSeen}

  # Fails where a message takes longer; nothing waits for this long otherwise.
  @soon 5_000

  using do
    quote do
      alias Alumiini.Git
      alias Alumiini.Git.{Error, Server}
      alias Alumiini.Git.Test.{ScriptedWorker, WorkersSeen}

      import Alumiini.Git.Test.ScriptedServerCase
      import ScriptedWorker, only: [hello: 0]

      @moduletag :tmp_dir
      @moduletag timeout: 30_000
      @soon unquote(@soon)
    end
  end

  @doc "A server with these options, and its binary."
  def start!(options) do
    WorkersSeen.attach!()
    options = Keyword.merge([name: nil, backoff_initial: 1, backoff_max: 20], options)
    {start_supervised!({Alumiini.Git, options}), options[:binary]}
  end

  def scripted!(%{tmp_dir: directory}, scripts, options \\ []) do
    start!([binary: ScriptedWorker.write!(directory, scripts)] ++ options)
  end

  @doc """
  Makes a request in a task. The test gets `{ref, "taken"}` when the worker has it, if its script
  answers with `event/1`.
  """
  def async(server, request, options \\ []) do
    test = self()
    ref = make_ref()
    options = Keyword.put(options, :on_event, fn name, _event -> send(test, {ref, name}) end)
    {Task.async(fn -> Server.call(server, Map.put(request, "progress", true), options) end), ref}
  end

  def event(name \\ "taken"), do: {:reply, %{"id" => :last, "event" => name}}

  @doc "How many milliseconds a function takes, and its result."
  def took(function) do
    {time, result} = :timer.tc(function)
    {div(time, 1000), result}
  end

  @doc "A port that ends when that process does."
  def watch(os_pid) do
    wait = "while kill -0 #{os_pid} 2>/dev/null; do sleep 0.01; done"
    Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: ["-c", wait]])
  end

  @doc "What is in the test's mailbox besides the news of workers."
  def mailbox do
    {:messages, messages} = Process.info(self(), :messages)
    Enum.reject(messages, &match?({:worker, _event, _server, _metadata}, &1))
  end

  ## The following ask again and again, without pausing, for what happens in another process and is
  ## not told.

  def wait_until_stuck(server) do
    state = :sys.get_state(server)
    wait_for(fn -> WorkersSeen.stuck?(state.workers[state.main]) end, & &1)
  end

  def wait_for_messages(server, count) do
    wait_for(
      fn -> Process.info(server, :message_queue_len) end,
      &(&1 == {:message_queue_len, count})
    )
  end

  def wait_for(ask, enough?, deadline \\ System.monotonic_time(:millisecond) + @soon) do
    answer = ask.()

    cond do
      enough?.(answer) ->
        answer

      System.monotonic_time(:millisecond) > deadline ->
        flunk("waited in vain; the last answer: #{inspect(answer)}")

      true ->
        wait_for(ask, enough?, deadline)
    end
  end
end
