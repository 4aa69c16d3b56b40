defmodule Alumiini.Git.FollowerRandomTest do
  # Pushes, pokes, kills and restarts in any order. Each subscriber keeps a picture of its paths by
  # what it is told alone. A change that was lost, told twice or told to the wrong one does not fit
  # into its picture; and in the end each picture is what `git ls-tree` says.
  use Alumiini.Git.Test.FollowerCase, async: true

  # However busy the machine is.
  @soon 30_000
  @dirs ["a", "a/b", "c", "d"]
  @steps 40

  @moduletag files: %{"a/1" => "1", "a/b/1" => "1", "c/1" => "1", "d/1" => "1"}
  @moduletag timeout: 300_000

  setup [:dir, :origin, :commit, :http, :named_git]

  for seed <- [1, 2, 3] do
    test "whatever happens, seed #{seed}", context do
      :rand.seed(:exsss, unquote(seed))
      follower = follow!(context, keep: 1_000)
      subscribers = for paths <- [:all | @dirs], do: start!(context, follower, paths)
      for pid <- subscribers, do: picture!(pid, context.commit)

      subscribers =
        Enum.reduce(1..@steps, subscribers, fn _step, subscribers ->
          step(context, follower, Enum.random(0..9), subscribers)
        end)

      last = Repository.commit!(context.origin, Map.new(@dirs, &{&1 <> "/last", "#{&1}"}))
      Follower.poke(follower, last)

      for pid <- subscribers do
        {paths, picture} = picture!(pid, last)
        assert {paths, picture} == {paths, tree(context.origin, last, paths)}
      end
    end
  end

  defp step(context, follower, n, subscribers) when n <= 4 do
    names = for _ <- 1..Enum.random(1..3), do: "#{Enum.random(@dirs)}/#{Enum.random(1..4)}"
    there = tree(context.origin, "main", :all)

    files =
      Map.new(names, fn name ->
        gone? = is_map_key(there, name) and Enum.random(1..3) == 1
        {name, if(gone?, do: :delete, else: "#{Enum.random(1..1_000_000)}")}
      end)

    Repository.commit!(context.origin, files)
    if n == 0, do: Follower.poke(follower)
    subscribers
  end

  defp step(_context, follower, 5, subscribers) do
    Follower.poke(follower)
    subscribers
  end

  # Back to an older commit, of which all that follows is another history.
  defp step(context, follower, 6, subscribers) do
    if Repository.rev_parse(context.origin, "main~2"),
      do: Repository.move_branch!(context.origin, "main", "main~2")

    Follower.poke(follower)
    subscribers
  end

  defp step(context, _follower, 7, subscribers) do
    for source <- sources(context), do: Process.exit(source, :kill)
    subscribers
  end

  # A subscriber that goes on where another one ended.
  defp step(context, follower, 8, [pid | others]) do
    ref = make_ref()
    send(pid, {:end, self(), ref})
    assert_receive {^ref, paths, sha, picture}, @soon
    others ++ [start!(context, follower, paths, since: sha, picture: picture)]
  end

  defp step(context, _follower, 9, subscribers) do
    case Enum.random(1..3) do
      1 ->
        stop_supervised!(context.git)
        start_supervised!({Git, name: context.git, backoff_initial: 1})

      _other ->
        %{os_pid: os_pid} = Server.info(context.git)
        if os_pid, do: OsProcess.kill(os_pid, :KILL)
    end

    subscribers
  end

  ## Subscribers

  defp start!(context, follower, paths, options \\ []) do
    state = %{
      origin: context.origin,
      paths: paths,
      sha: options[:since],
      picture: options[:picture],
      waiting: nil
    }

    spawn_link(fn ->
      {:ok, _current} = Follower.subscribe(follower, paths, since: options[:since])
      keep(state)
    end)
  end

  defp keep(state) do
    receive do
      {:alumiini_git, _follower, update} ->
        state |> told(update) |> answer() |> keep()

      {:picture, test, ref, sha} ->
        %{state | waiting: {test, ref, sha}} |> answer() |> keep()

      {:end, test, ref} ->
        send(test, {ref, state.paths, state.sha, state.picture})
    end
  end

  defp answer(%{waiting: {test, ref, sha}, sha: sha} = state) do
    send(test, {ref, state.paths, state.picture})
    %{state | waiting: nil}
  end

  defp answer(state), do: state

  defp told(state, %Update{changes: :all, sha: sha}),
    do: %{state | sha: sha, picture: tree(state.origin, sha, state.paths)}

  defp told(state, %Update{changes: changes, sha: sha}) do
    picture =
      Enum.reduce(changes, state.picture, fn change, picture ->
        assert {change.path, change.old_oid} == {change.path, picture[change.path]}

        if change.oid,
          do: Map.put(picture, change.path, change.oid),
          else: Map.delete(picture, change.path)
      end)

    assert picture != state.picture or state.paths == :all
    %{state | sha: sha, picture: picture}
  end

  # What a subscriber knows once it was told of this commit.
  defp picture!(pid, sha) do
    ref = make_ref()
    send(pid, {:picture, self(), ref, sha})
    assert_receive {^ref, paths, picture}, @soon
    {paths, picture}
  end

  defp tree(origin, sha, paths) do
    below = if paths == :all, do: [], else: [paths <> "/"]
    listed = GitCommand.run!(["ls-tree", "-r", "-z", sha, "--" | below], cd: origin)

    for line <- String.split(listed, "\0", trim: true), into: %{} do
      [_mode_type, rest] = String.split(line, " blob ", parts: 2)
      [oid, path] = String.split(rest, "\t", parts: 2)
      {path, oid}
    end
  end
end
