defmodule Alumiini.Git.Follower.Pokes do
  @moduledoc false

  # Pokes, and the commits that they named: which polls they cause. Pure.
  #
  # However many come while a poll is under way, they cause one more, since one that begins later
  # sees whatever they are about. A poke that names a commit wants at least that commit: where the
  # remote does not have it yet, it is looked for again a few times.

  alias Alumiini.Git.Follower.Schedule

  # Beyond that many commits a poke counts as one without.
  @most 16

  # `waiting` pokes wait for a poll to begin: some without a commit (`any?`), others with (`named`,
  # the newest first). `taken` is how many the poll under way answers, `wanted` what commits are
  # looked for, and `attempts` how often they were since.
  defstruct waiting: 0, any?: false, named: [], taken: 0, wanted: [], attempts: 0

  @type t :: %__MODULE__{
          waiting: non_neg_integer,
          any?: boolean,
          named: [String.t()],
          taken: non_neg_integer,
          wanted: [String.t()],
          attempts: non_neg_integer
        }

  @doc """
  A poke, where the branch is known to be at `sha`. `:none` where that is the commit it names:
  whatever was poked before it is older, and no longer looked for.
  """
  @spec add(t, String.t() | nil, String.t() | nil) :: {:poll | :none, t}
  def add(pokes, sha, sha) when is_binary(sha), do: {:none, %{pokes | wanted: []}}

  def add(pokes, commit, _sha) do
    named = if commit, do: Enum.uniq([commit | pokes.named]), else: pokes.named

    {:poll,
     %{
       pokes
       | waiting: pokes.waiting + 1,
         any?: pokes.any? or commit == nil or length(named) > @most,
         named: Enum.take(named, @most)
     }}
  end

  @doc "A poll begins. It answers all that wait."
  @spec take(t) :: t
  def take(%__MODULE__{waiting: 0} = pokes), do: pokes

  def take(pokes) do
    wanted = Enum.take(Enum.uniq(pokes.named ++ pokes.wanted), @most)
    %__MODULE__{taken: pokes.waiting, wanted: wanted}
  end

  @doc """
  A poll found the branch at `sha`; `seen` are the commits that it was at before. What is next: a
  poll at once, one soon, or whatever the interval says.
  """
  @spec found(t, String.t(), [String.t()]) :: {:now | {:soon, pos_integer} | :rest, t}
  def found(pokes, sha, seen) do
    # What was named before it is older.
    wanted = pokes.wanted |> Enum.take_while(&(&1 != sha)) |> Enum.reject(&(&1 in seen))
    named = Enum.take_while(pokes.named, &(&1 != sha))
    pokes = %{pokes | taken: 0, wanted: wanted, named: named}

    cond do
      pokes.waiting > 0 and (pokes.any? or named != []) -> {:now, pokes}
      wanted == [] -> {:rest, %__MODULE__{}}
      pause = Schedule.lag(pokes.attempts) -> {{:soon, pause}, missed(pokes)}
      true -> {:rest, %__MODULE__{}}
    end
  end

  defp missed(pokes), do: %{pokes | waiting: 0, attempts: pokes.attempts + 1}

  @doc "A poll failed. What came meanwhile wants another, all the same."
  @spec failed(t) :: {:now | :rest, t}
  def failed(%__MODULE__{waiting: 0} = pokes), do: {:rest, %{pokes | taken: 0}}
  def failed(pokes), do: {:now, %{pokes | taken: 0}}

  @doc "How many are not answered yet."
  @spec pending(t) :: non_neg_integer
  def pending(%__MODULE__{waiting: waiting, taken: taken})
      when is_integer(waiting) and is_integer(taken),
      do: waiting + taken

  @doc """
  The commit to ask for, if one is looked for: the newest. One that the remote did not have is not
  asked for again until it says so.
  """
  @spec hint(t) :: String.t() | nil
  def hint(%__MODULE__{attempts: 0, wanted: wanted}), do: List.first(wanted)
  def hint(_missed), do: nil
end
