defmodule Alumiini.Git.Server.Backoff do
  @moduledoc false

  # How long to wait before the next worker is started, and when to stop letting callers wait for
  # it. Pure.
  #
  # The first worker that dies after having been up is replaced at once: that is an accident. From
  # then on each death doubles the pause, until a worker proves itself (it answered something, or
  # stayed up for a while). A start that fails counts from the first time on.

  # One that fails to start may do so by accident (the machine is out of processes); three in a row
  # will not.
  @starts 3

  @enforce_keys [:initial, :max]
  defstruct [:initial, :max, failures: 0, failed_starts: 0]

  @type t :: %__MODULE__{
          initial: pos_integer,
          max: pos_integer,
          failures: non_neg_integer,
          failed_starts: non_neg_integer
        }

  @spec new(pos_integer, pos_integer) :: t
  def new(initial, max), do: %__MODULE__{initial: initial, max: max}

  @doc "A worker that had been up died. The pause in ms before the next start."
  @spec died(t, float) :: {non_neg_integer, t}
  def died(%__MODULE__{failures: failures} = backoff, random \\ :rand.uniform()) do
    {pause(backoff, failures - 1, random), %{backoff | failures: failures + 1}}
  end

  @doc "A worker did not come up. The pause in ms before the next start."
  @spec start_failed(t, float) :: {non_neg_integer, t}
  def start_failed(%__MODULE__{failures: failures} = backoff, random \\ :rand.uniform()) do
    {pause(backoff, failures, random),
     %{backoff | failures: failures + 1, failed_starts: backoff.failed_starts + 1}}
  end

  @doc "A worker came up."
  @spec up(t) :: t
  def up(backoff), do: %{backoff | failed_starts: 0}

  @doc "A worker proved to be of use."
  @spec proven(t) :: t
  def proven(backoff), do: %{backoff | failures: 0}

  @doc "Whether so many starts failed in a row that callers should not wait for the next one."
  @spec hopeless?(t) :: boolean
  def hopeless?(%__MODULE__{failed_starts: failed}), do: failed >= @starts

  defp pause(_backoff, exponent, _random) when exponent < 0, do: 0

  # Between half and all of it, so that many servers whose binary broke at once do not come back at
  # once.
  defp pause(%{initial: initial, max: max}, exponent, random) do
    full = min(max, initial * Integer.pow(2, min(exponent, 30)))
    round(full * (0.5 + random / 2))
  end
end
