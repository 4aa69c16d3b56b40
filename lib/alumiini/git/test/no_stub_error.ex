defmodule Alumiini.Git.Test.NoStubError do
  @moduledoc """
  Raised by a call of `Alumiini.Git` in a test, where no stub of `Alumiini.Git.Test` answers it, or
  one answers what that function never returns. Its message says what was called, and how to stub
  it.
  """

  alias Alumiini.Git.Test.{Answers, Arguments}

  defexception [:message]

  @type t :: %__MODULE__{message: String.t()}

  # Nobody's stubs count for the process that calls.
  @doc false
  @spec no_owner(atom, map, pid, term) :: t
  def no_owner(op, arguments, caller, server) do
    failed(op, arguments, """
    by #{inspect(caller)}, and neither it nor a process that started it has stubs at \
    #{shown(server)}. Stub the call in the test that it belongs to:

        #{example(op, server)}

    or, where another process calls, say whose stubs count for it:

        Alumiini.Git.Test.allow(#{shown(server)}, self(), pid)
    """)
  end

  @doc false
  @spec no_follower(pid, term) :: t
  def no_follower(follower, server) do
    %__MODULE__{
      message:
        "the follower #{inspect(follower)} uses #{shown(server)}, and neither it nor a process " <>
          "that started it has stubs there: " <>
          "Alumiini.Git.Test.allow(#{shown(server)}, self(), follower)"
    }
  end

  @doc false
  @spec no_answer(atom, map, term) :: t
  def no_answer(op, arguments, server) do
    failed(op, arguments, """
    and none of the test's stubs answers that. Add one:

        #{example(op, server)}
    """)
  end

  @doc false
  @spec wrong(atom, map, term) :: t
  def wrong(op, arguments, result) do
    failed(op, arguments, """
    and its stub answers #{inspect(result, limit: 5, printable_limit: 100)}. What it can answer is \
    #{returned(op)}, or {:error, Alumiini.Git.Test.error(reason)}.
    """)
  end

  defp failed(op, arguments, rest) do
    what = "{#{inspect(op)}, #{Arguments.shown(arguments)}}"
    %__MODULE__{message: "#{function(op)} was called, as\n\n    #{what}\n\n" <> rest}
  end

  defp function(:normalize), do: "Alumiini.Git.Url.normalize"
  defp function(op), do: "Alumiini.Git.#{op}"

  defp example(op, server) do
    [answer | _or_another] = op |> returned() |> String.split(" or ")
    "Alumiini.Git.Test.stub(#{shown(server)}, #{op}: #{answer})"
  end

  # What else the library asks a server, for the doctor, no stub can answer.
  defp returned(op), do: Map.get(Answers.returned(), op, "nothing")

  defp shown(pid) when is_pid(pid), do: "server"
  defp shown(name), do: inspect(name)
end
