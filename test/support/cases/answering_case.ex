defmodule Alumiini.Git.Test.AnsweringCase do
  @moduledoc """
  Tests of what calls send, and of what they make of an answer, without a repository: the worker is
  a `ScriptedWorker`.

      use Alumiini.Git.Test.AnsweringCase

      {server, sent} = answering!(context, [[%{"path" => "a"}]])
      assert {:ok, [_change]} = Git.diff("/x", "a", "b", server: server)
      assert [%{"op" => "diff"}] = sent.()
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git
  alias Alumiini.Git.Test.ScriptedWorker

  using do
    quote do
      alias Alumiini.Git
      alias Alumiini.Git.Error

      import Alumiini.Git.Test.AnsweringCase

      @moduletag :tmp_dir
    end
  end

  @doc """
  A server whose worker answers a request with each of `answers`, and a function that returns what
  it was asked. An answer is a value, `{value, next}` for a page with more behind it, or `:none`.
  """
  @spec answering!(map, [term]) :: {pid, (() -> [map])}
  def answering!(%{tmp_dir: directory}, answers) do
    out = Path.join(directory, "frames-#{System.unique_integer([:positive])}")
    take = [:read, {:shell, ~s(echo $frame >> "#{out}")}]
    script = Enum.flat_map(answers, &(take ++ [answer(&1)]))
    binary = ScriptedWorker.write!(directory, [ScriptedWorker.hello() ++ script ++ [:serve]])
    server = start_supervised!({Git, name: nil, binary: binary}, id: out)

    {server,
     fn ->
       for line <- out |> File.read!() |> String.split("\n", trim: true),
           do: line |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
     end}
  end

  defp answer({ok, next}), do: {:reply, %{"id" => :last, "ok" => ok, "next" => next}}
  defp answer(:none), do: :hang
  defp answer(ok), do: {:answer, ok}

  @doc "Each call of `{call, message}` raises an `ArgumentError` with that message."
  @spec assert_refused([{(() -> term), Regex.t()}]) :: :ok
  def assert_refused(calls) do
    for {call, message} <- calls, do: assert_raise(ArgumentError, message, call)
    :ok
  end
end
