defmodule Alumiini.Git.Test.TangledHistory do
  @moduledoc """
  A repository of many commits, made in one go and the same for the same seed: branches that are
  merged again, renames, links (also broken and leading out), executables, submodules, pointers of
  Git LFS, names that are not UTF-8, and commits that change nothing. All of it is reachable from
  `main`.
  """

  alias Alumiini.Git.Test.{GitCommand, Repository}

  @tips 4

  @directories ["", "", "deploy", "deploy/base", "deploy/overlays/prod", "charts/app/templates"]
  @names ~w(app.yaml config.yml values.json run.sh .hidden.yaml README.md a+b.yaml) ++
           ["with space.yaml", "grüße.yaml", "latin1-\xfc.yaml", "new\nline.yaml", "-dash.yaml"]

  @doc "Makes `count` commits, and tags; returns the ids of the commits that `main` has."
  @spec create!(Path.t(), pos_integer, integer) :: [String.t()]
  def create!(repository, count, seed) do
    random = :rand.seed_s(:exsss, seed)
    first = {1, files(%{}, [{"app.yaml", "app: 0\n"}])}
    state = %{random: random, tips: [first], next: 2, commits: [commit(first, [], 1)]}
    state = Enum.reduce(2..(count - @tips), state, fn _n, state -> step(state) end)
    %{commits: commits} = merge_all(state)
    ids = Repository.commits!(repository, Enum.reverse(commits))

    for {id, n} <- Enum.with_index(ids), rem(n, 50) == 0 do
      options = if rem(n, 100) == 0, do: [message: "Version #{n}"], else: []
      Repository.tag!(repository, "v1.#{n}.0", id, options)
    end

    ["rev-list", "main"] |> GitCommand.run!(cd: repository) |> String.split("\n", trim: true)
  end

  # A tip is the number of a commit, which is its mark, and the files in it.
  defp step(state) do
    {kind, state} = pick(state, [:commit, :commit, :commit, :commit, :fork, :merge, :empty])
    {tip, state} = pick(state, state.tips)
    others = List.delete(state.tips, tip)

    case kind do
      :fork when length(others) < @tips - 1 ->
        change(state, tip, state.tips)

      :merge when others != [] ->
        {other, state} = pick(state, others)
        merge(state, tip, other)

      :empty ->
        put(state, elem(tip, 1), [tip], others)

      _commit ->
        change(state, tip, others)
    end
  end

  defp change(state, {_n, files} = tip, others) do
    {size, state} = pick(state, [1, 1, 2, 3, 5])

    {files, state} =
      Enum.reduce(1..size, {files, state}, fn _, {files, state} -> edit(state, files) end)

    put(state, files, [tip], others)
  end

  defp merge(state, {_n, ours} = tip, {_m, theirs} = other) do
    put(state, files(theirs, Enum.sort(ours)), [tip, other], state.tips -- [tip, other])
  end

  defp merge_all(%{tips: [_one]} = state), do: state
  defp merge_all(%{tips: [tip, other | _]} = state), do: state |> merge(tip, other) |> merge_all()

  defp put(state, files, parents, others) do
    made = {state.next, files}

    %{
      state
      | tips: [made | others],
        next: state.next + 1,
        commits: [commit(made, Enum.map(parents, &elem(&1, 0)), state.next) | state.commits]
    }
  end

  defp commit({n, files}, parents, number) do
    parents =
      case Enum.map(parents, &":#{&1}") do
        [] -> %{}
        [from] -> %{from: from}
        [from, merge] -> %{from: from, merge: merge}
      end

    Map.merge(parents, %{
      branch: "main",
      files: Enum.sort(files),
      only: true,
      message: "Step #{number}\n",
      # Some are of the same second, as those of one rebase are.
      time: 1_700_000_000 + 60 * div(n, 3)
    })
  end

  defp edit(state, files) do
    {kind, state} = pick(state, [:add, :add, :add, :change, :change, :rename, :delete])
    paths = files |> Map.keys() |> Enum.sort()

    case kind do
      :delete when length(paths) > 5 ->
        {path, state} = pick(state, paths)
        {Map.delete(files, path), state}

      :rename ->
        {path, state} = pick(state, paths)
        {to, state} = path(state)
        {content, files} = Map.pop!(files, path)
        {files(files, [{to, content}]), state}

      :change ->
        {path, state} = pick(state, paths)
        {content, state} = content(state)
        {files(files, [{path, content}]), state}

      _add ->
        {path, state} = path(state)
        {content, state} = content(state)
        {files(files, [{path, content}]), state}
    end
  end

  defp path(state) do
    {directory, state} = pick(state, @directories)
    {name, state} = pick(state, @names)
    {number, state} = pick(state, Enum.to_list(1..9))
    name = if rem(number, 3) == 0, do: "#{number}/" <> name, else: name
    {if(directory == "", do: name, else: directory <> "/" <> name), state}
  end

  defp content(state) do
    {kind, state} =
      pick(state, [:text, :text, :text, :text, :binary, :empty, :executable, :link, :lfs, :module])

    {number, state} = pick(state, Enum.to_list(1..10_000))
    {links, state} = pick(state, ["app.yaml", "../..", "/etc/passwd", "nowhere", "latin1-\xfc"])

    {case kind do
       :text -> Enum.map_join(1..(rem(number, 60) + 1), &"line #{&1}: #{number}\n")
       :binary -> for(i <- 0..rem(number, 3_000), into: <<>>, do: <<rem(i * number, 256)>>)
       :empty -> ""
       :executable -> {:executable, "#!/bin/sh\nexit #{number}\n"}
       :link -> {:symlink, links}
       :lfs -> lfs_pointer("file #{number}", number)
       :module -> {:submodule, "file #{number}" |> sha1()}
     end, state}
  end

  @doc "What Git has of a file that Git LFS keeps."
  @spec lfs_pointer(binary, non_neg_integer) :: String.t()
  def lfs_pointer(content, size) do
    "version https://git-lfs.github.com/spec/v1\noid sha256:#{lfs_oid(content)}\nsize #{size}\n"
  end

  @spec lfs_oid(binary) :: String.t()
  def lfs_oid(content), do: Base.encode16(:crypto.hash(:sha256, content), case: :lower)

  defp sha1(text), do: Base.encode16(:crypto.hash(:sha, text), case: :lower)

  # A file where a directory was, or the other way round, takes its place.
  defp files(files, added) do
    Enum.reduce(added, files, fn {path, content}, files ->
      files
      |> Map.reject(fn {other, _content} -> below?(path, other) or below?(other, path) end)
      |> Map.put(path, content)
    end)
  end

  defp below?(path, directory), do: String.starts_with?(path, directory <> "/")

  defp pick(state, list) do
    {n, random} = :rand.uniform_s(length(list), state.random)
    {Enum.at(list, n - 1), %{state | random: random}}
  end
end
