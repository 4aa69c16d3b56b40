defmodule Alumiini.Git.Test.ErrorAssertions do
  @moduledoc """
  What every refusal owes to whoever meets it: its reason, whether to try again, a sentence, and
  nothing touched.
  """

  import ExUnit.Assertions

  alias Alumiini.Git.Error
  alias Alumiini.Git.Test.Directory

  # Written down once more, so that the library's own list is held against something.
  @retryable [
    :network,
    :rate_limited,
    :timeout,
    :overloaded,
    :incomplete,
    :locked,
    :worker_unavailable
  ]

  @doc """
  Asserts that `call` is refused for `reason`, in a sentence with all of `words`, and that nothing
  at or below `paths` was touched by it. Returns the error.
  """
  @spec assert_refused([Path.t()], atom, [String.t() | Regex.t()], (() -> term)) :: Error.t()
  def assert_refused(paths, reason, words, call) do
    before = Map.new(paths, &{&1, Directory.contents(&1)})
    assert {:error, %Error{} = error} = call.()
    assert {error.reason, error.message} == {reason, error.message}
    assert error.retryable? == reason in @retryable
    assert_sentence(error.message)
    for word <- words, do: assert(error.message =~ word)

    for {path, contents} <- before do
      assert {path, Directory.touched(contents, Directory.contents(path))} == {path, []}
    end

    error
  end

  # For people: one line of printable text, without a term of either language in it.
  defp assert_sentence(message) do
    assert String.printable?(message)
    refute message =~ "\n"
    assert String.length(message) in 20..600
    refute message =~ ~r/%\{|#PID|Some\(|None|Err\(|Error \{|\{:/

    refute message =~
             ~r/Os \{|Error\(|Kind::|InvalidCertificate|\b(hyper|rustls|reqwest|russh|webpki|h2)\b/
  end
end
