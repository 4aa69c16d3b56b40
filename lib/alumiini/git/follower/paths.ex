defmodule Alumiini.Git.Follower.Paths do
  @moduledoc false

  # Which changes are whose: paths as subscribers name them, and changes found by them. A path is
  # that of a file or of a directory, from the top of the repository, and stands for all that is
  # below it; "" is the top. Pure.
  #
  # Changes are looked up by their paths and by each directory above them, so that what a subscriber
  # is told costs as much as it names, however many subscribers and changes there are.

  alias Alumiini.Git.{Change, Options}

  @top ""

  @type path :: binary
  @type index :: %{path => [Change.t()]}

  @doc "The paths of a subscription, as they are compared. Raises for what is none."
  @spec normalize!(:all | Path.t() | [Path.t()]) :: [path, ...]
  def normalize!(:all), do: [@top]
  def normalize!(path) when is_binary(path), do: [one!(path)]

  def normalize!([_ | _] = paths) do
    paths = paths |> Enum.map(&one!/1) |> Enum.uniq()
    if @top in paths, do: [@top], else: paths
  end

  def normalize!(other), do: wrong!(other)

  defp one!(path) when is_binary(path) do
    names = for name <- :binary.split(path, "/", [:global]), name not in ["", "."], do: name

    if ".." in names or String.starts_with?(path, "/") or String.contains?(path, <<0>>) do
      raise ArgumentError,
            "a path to subscribe to must be relative to the top of the repository, without `..`"
    end

    Enum.join(names, "/")
  end

  defp one!(other), do: wrong!(other)

  @spec wrong!(term) :: no_return
  defp wrong!(other) do
    raise ArgumentError,
          "the paths to subscribe to must be :all, a path, or a list of paths that is not " <>
            "empty, got: #{Options.Check.shown(other)}"
  end

  @doc "Whether these paths are all that there is."
  @spec all?(Enumerable.t()) :: boolean
  def all?(paths), do: @top in paths

  @doc "The changes by all paths that stand for them, each list sorted as the changes are."
  @spec index([Change.t()]) :: index
  def index(changes) do
    changes
    |> Enum.reverse()
    |> Enum.reduce(%{@top => []}, fn change, index ->
      change.path
      |> above()
      |> Enum.reduce(index, fn path, index ->
        Map.update(index, path, [change], &[change | &1])
      end)
    end)
  end

  # "a/b/c" is found by "", "a", "a/b" and itself.
  defp above(path) do
    ends = for {at, 1} <- :binary.matches(path, "/"), do: binary_part(path, 0, at)
    [@top, path | ends]
  end

  @doc "The changes of these paths, each once, in their order."
  @spec pick(index, Enumerable.t()) :: [Change.t()]
  def pick(index, paths) do
    case Enum.flat_map(paths, &List.wrap(index[&1])) do
      [] -> []
      [change] -> [change]
      changes -> changes |> Enum.sort_by(& &1.path) |> Enum.dedup()
    end
  end
end
