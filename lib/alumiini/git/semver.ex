defmodule Alumiini.Git.Semver do
  @moduledoc false

  # Tags as versions: which of them a requirement takes, and which of a remote's tags need be asked
  # for at all. Pure.

  alias Alumiini.Git.Ref

  @enforce_keys [:text, :requirement]
  defstruct [:text, :requirement, prefix: "", filter: nil, pre?: false]

  @type t :: %__MODULE__{
          text: String.t(),
          requirement: Version.Requirement.t(),
          prefix: String.t(),
          filter: Regex.t() | nil,
          pre?: boolean
        }

  # More than so many beginnings cost more than the tags that they spare.
  @most_prefixes 32
  # Of a requirement, and of a version.
  @longest 256

  @doc "From `{:semver, requirement, options}`; `:error` where the requirement is none."
  @spec new(String.t(), keyword) :: {:ok, t} | :error
  def new(text, options) do
    with true <- byte_size(text) <= @longest,
         {:ok, requirement} <- Version.parse_requirement(text) do
      {:ok,
       %__MODULE__{
         text: text,
         requirement: requirement,
         prefix: Keyword.get(options, :prefix, ""),
         filter: options[:filter],
         pre?: Keyword.get(options, :pre, false)
       }}
    else
      _none -> :error
    end
  end

  @doc """
  How the full names of all tags begin that it can take: at least those of the versions that its
  bounds leave, with and without a leading `v`.
  """
  @spec ref_prefixes(t) :: [String.t()]
  def ref_prefixes(%__MODULE__{} = semver) do
    stem = "refs/tags/" <> semver.prefix
    beginnings = beginnings(semver.text)

    if beginnings == :any or beginnings == [] or length(beginnings) > @most_prefixes,
      do: [stem],
      else: for(beginning <- beginnings, v <- ["", "v"], do: stem <> v <> beginning)
  end

  @doc """
  The tag of the newest version that it takes, if there is one. Of versions that are equal but for
  their build, or for a leading `v`, the one whose name comes last.
  """
  @spec pick(t, [Ref.t()]) :: {:ok, Ref.t()} | :error
  def pick(%__MODULE__{} = semver, refs) do
    matching =
      for ref <- refs,
          {:ok, version} <- [version(semver, ref.name)],
          Version.match?(version, semver.requirement, allow_pre: semver.pre?),
          do: {version, ref}

    case matching do
      [] -> :error
      matching -> {:ok, matching |> Enum.reduce(&newer/2) |> elem(1)}
    end
  end

  defp newer({version, ref}, {best, best_ref}) do
    case Version.compare(version, best) do
      :gt -> {version, ref}
      :lt -> {best, best_ref}
      :eq -> if ref.name > best_ref.name, do: {version, ref}, else: {best, best_ref}
    end
  end

  defp version(semver, "refs/tags/" <> tag) do
    with true <- semver.filter == nil or (String.valid?(tag) and Regex.match?(semver.filter, tag)),
         true <- String.starts_with?(tag, semver.prefix),
         rest =
           binary_part(tag, byte_size(semver.prefix), byte_size(tag) - byte_size(semver.prefix)),
         # Numbers of thousands of digits take time.
         true <- byte_size(rest) <= @longest and String.valid?(rest) do
      rest |> without_v() |> Version.parse()
    else
      false -> :error
    end
  end

  defp version(_semver, _other), do: :error

  defp without_v("v" <> rest), do: rest
  defp without_v(rest), do: rest

  # How the versions begin that a requirement can take, from its bounds; `:any` where these leave
  # too much open. It may be more than those that it takes.
  defp beginnings(text) do
    alternatives = String.split(text, ~r/\s+or\s+/)

    Enum.reduce_while(alternatives, [], fn alternative, found ->
      case alternative |> bounds() |> between() do
        :any -> {:halt, :any}
        more -> {:cont, Enum.uniq(found ++ more)}
      end
    end)
  end

  # The lowest and the highest version of `clause and clause …`, as far as they say.
  defp bounds(alternative) do
    alternative
    |> String.split(~r/\s+and\s+/)
    |> Enum.map(&clause/1)
    |> Enum.reduce({nil, nil}, fn {low, high}, {lowest, highest} ->
      {bound(:gt, low, lowest), bound(:lt, high, highest)}
    end)
  end

  defp bound(_which, nil, other), do: other
  defp bound(_which, one, nil), do: one
  defp bound(:gt, one, other), do: max(one, other)
  defp bound(:lt, one, other), do: min(one, other)

  defp clause(clause) do
    [_all, operator, rest] = Regex.run(~r/^\s*(~>|>=|<=|==|!=|>|<)?\s*(.*)$/s, clause)
    numbers = numbers(rest)

    case {operator, numbers} do
      {"~>", [major, _minor]} -> {numbers, [major]}
      {"~>", [major, minor | _patch]} -> {numbers, [major, minor]}
      {operator, _numbers} when operator in [">", ">="] -> {numbers, nil}
      {operator, _numbers} when operator in ["<", "<="] -> {nil, numbers}
      {"!=", _numbers} -> {nil, nil}
      {_equal, _numbers} -> {numbers, numbers}
    end
  end

  defp numbers(text) do
    text
    |> String.split(~r/[-+]/, parts: 2)
    |> hd()
    |> String.split(".")
    |> Enum.map(&String.to_integer/1)
  end

  # Each is a list of numbers, the most significant first; the upper one counts whole.
  defp between({_low, nil}), do: :any
  defp between({nil, high}), do: between({[0], high})

  defp between({low, high}) do
    case {low, high} do
      {[major, minor | _], [major, minor | rest]} ->
        if rest != [] and low == high,
          do: [Enum.join(high, ".")],
          else: ["#{major}.#{minor}."]

      {[major | rest], [major, minor | _]} ->
        each(List.first(rest, 0), minor, &"#{major}.#{&1}.")

      {[low | _], [high | _]} ->
        each(low, high, &"#{&1}.")
    end
  end

  # Whoever writes a requirement may write any number.
  defp each(low, high, _beginning) when high - low >= @most_prefixes, do: :any
  defp each(low, high, beginning), do: Enum.map(low..high//1, beginning)
end
