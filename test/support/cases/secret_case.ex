defmodule Alumiini.Git.Test.SecretCase do
  @moduledoc """
  A `Alumiini.Git.Test.HttpCase` in which a secret is looked for in all that was printed, told or
  stored. Not async: the logger and the events of the whole VM are watched.

      use Alumiini.Git.Test.SecretCase, async: false

      setup [:dir, :origin, :secret, :recorder]

  | step | adds to the context |
  | --- | --- |
  | `:secret` | `secret`, which is like no other |
  | `:recorder` | `recorder`, a `LeakRecorder` |
  | `:work` | `work`, a directory to clone into |
  | `:own_stderr` | `binary`, a worker that leaves what it says in `stderr`, and files in `tmp` |
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Test.{LeakRecorder, WrappedWorker}

  using do
    quote do
      use Alumiini.Git.Test.HttpCase

      alias Alumiini.Git.{Auth, Server}
      alias Alumiini.Git.Test.{LeakRecorder, OsProcess, ScriptedTcp}

      import Alumiini.Git.Test.SecretCase
    end
  end

  def secret(_context) do
    %{secret: "s3cr3t" <> Base.encode16(:crypto.strong_rand_bytes(8), case: :lower)}
  end

  def recorder(_context), do: %{recorder: LeakRecorder.start!()}

  def work(context) do
    work = Path.join(context.dir, "work")
    File.mkdir!(work)
    %{work: work}
  end

  # Files of the worker's own go to `tmp`; else its standard error is that of the BEAM.
  def own_stderr(context) do
    tmp = Path.join(context.dir, "tmp")
    File.mkdir!(tmp)
    stderr = Path.join(context.dir, "stderr")
    environment = %{"TMPDIR" => tmp, "HOME" => tmp}
    binary = WrappedWorker.write!(context.dir, environment, stderr: stderr)
    %{tmp: tmp, stderr: stderr, binary: binary}
  end

  @doc "Takes down what a server and its processes show of themselves."
  def note_server(recorder, git) do
    LeakRecorder.note(recorder, "state", :sys.get_state(git))
    LeakRecorder.note(recorder, "status", :sys.get_status(git))
    LeakRecorder.note_process(recorder, "server", git)

    for {_port, worker} <- :sys.get_state(git).workers do
      LeakRecorder.note_process(recorder, "writer", worker.writer)
    end
  end

  @doc "Takes down what the worker said on its standard error, if anything."
  def note_stderr(recorder, stderr) do
    if File.exists?(stderr), do: LeakRecorder.note(recorder, "stderr", File.read!(stderr))
  end

  @doc "`:ok`, or the reason of an error."
  def reason({:ok, _value}), do: :ok
  def reason({:error, %Alumiini.Git.Error{reason: reason}}), do: reason
end
