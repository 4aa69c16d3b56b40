defmodule Alumiini.Git.ReadersTest do
  # Readers while syncs come: each sees one commit whole, and the one that it asked for.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.{Lease, Server}

  @moduletag timeout: 280_000

  @syncs 200
  @files 30

  setup [:dir, :origin, :git]

  setup context do
    %{server: [server: context.git]}
  end

  # Each commit has its number in each file.
  defp versions!(origin, count) do
    commits =
      for n <- 1..count do
        files = for f <- 1..@files, do: {"app/#{f}.yaml", "version: #{n}\n"}
        %{files: [{"only-#{n}.yaml", "version: #{n}\n"} | files], only: true}
      end

    Repository.commits!(origin, commits)
  end

  defp publish!(%{origin: origin, path: path, server: server}, commit, options) do
    Repository.move_branch!(origin, "main", commit)
    assert Git.sync(origin, "main", path, options ++ server) == {:ok, commit}
  end

  for working_tree <- [true, false] do
    test "#{@syncs} syncs under readers, working_tree: #{working_tree}", context do
      commits = versions!(context.origin, @syncs)
      numbers = commits |> Enum.with_index(1) |> Map.new()
      options = [working_tree: unquote(working_tree)]
      publish!(context, hd(commits), options)
      table = :ets.new(:newest, [:public, read_concurrency: true])
      :ets.insert(table, {:newest, hd(commits), nil})

      readers =
        for read <- [&of_head/3, &of_asked/3, &of_two/3, &of_names/3],
            do: Task.async(fn -> read_on(read, context, table, numbers, 0) end)

      for [before, commit] <- Enum.chunk_every(commits, 2, 1, :discard) do
        publish!(context, commit, options)
        :ets.insert(table, {:newest, commit, before})
      end

      :ets.insert(table, {:newest, nil, nil})
      counts = Task.await_many(readers, 60_000)
      assert Enum.all?(counts, &(&1 > 5))
    end
  end

  defp read_on(read, context, table, numbers, count) do
    case :ets.lookup(table, :newest) do
      [{:newest, nil, nil}] ->
        count

      [{:newest, commit, before}] ->
        # What has gone meanwhile is no read.
        done = if read.(context, {commit, before}, numbers) == :gone, do: 0, else: 1
        read_on(read, context, table, numbers, count + done)
    end
  end

  # What HEAD is at.
  defp of_head(%{path: path, server: server}, _newest, numbers) do
    assert {:ok, snapshot} = Git.snapshot(path, server)
    assert_whole(snapshot, Map.fetch!(numbers, snapshot.commit))
  end

  # A commit that stays for at least one more sync. While a reader asks, more may come.
  defp of_asked(%{path: path, server: server}, {commit, _before}, numbers) do
    case Git.snapshot(path, [at: commit] ++ server) do
      {:ok, snapshot} ->
        assert snapshot.commit == commit
        assert_whole(snapshot, Map.fetch!(numbers, commit))

      {:error, error} ->
        assert error.reason == :ref_not_found
        :gone
    end
  end

  defp of_two(%{path: path, server: server}, {commit, before}, numbers) when before != nil do
    case Git.diff(path, before, commit, server) do
      {:ok, changes} ->
        number = Map.fetch!(numbers, commit)
        # The file of each commit alone.
        statuses =
          for change <- changes, not (change.path =~ "app/"), do: {change.path, change.status}

        assert {"only-#{number}.yaml", :added} in statuses
        assert {"only-#{number - 1}.yaml", :deleted} in statuses
        assert Enum.count(changes, &(&1.status == :modified)) == @files

      {:error, error} ->
        assert error.reason == :ref_not_found
        :gone
    end
  end

  defp of_two(_context, _only_one, _numbers), do: :gone

  defp of_names(%{path: path, server: server}, {commit, _before}, numbers) do
    with {:ok, [name]} <- Git.files(path, [at: commit] ++ server),
         {:ok, text} <- Git.read(path, name, [at: commit] ++ server) do
      number = Map.fetch!(numbers, commit)
      assert {name, text} == {"only-#{number}.yaml", "version: #{number}\n"}
    else
      {:error, error} ->
        assert error.reason == :ref_not_found
        :gone
    end
  end

  defp assert_whole(snapshot, number) do
    assert length(snapshot.files) == @files + 1
    contents = snapshot.files |> Enum.map(& &1.content) |> Enum.uniq()
    assert contents == ["version: #{number}\n"]
    assert Enum.any?(snapshot.files, &(&1.path == "only-#{number}.yaml"))
  end

  # More syncs than packs are let lie: it is repacked on the way.
  test "a commit with a lease stays through repacking, and goes when its process does", context do
    %{origin: origin, path: path, server: server, git: git} = context
    [leased, released, other | later] = versions!(origin, 130)
    options = [working_tree: false, keep: 1]
    publish!(context, leased, options)
    {owner, lease} = owner!(path, leased, server)
    publish!(context, released, options)
    {:ok, %Lease{} = mine} = Git.lease(path, released, server)
    publish!(context, other, options)
    {now, later} = Enum.split(later, 60)
    for commit <- now, do: publish!(context, commit, options)

    for {commit, number} <- [{leased, 1}, {released, 2}] do
      assert {:ok, snapshot} = Git.snapshot(path, [at: commit] ++ server)
      assert_whole(snapshot, number)
    end

    assert {:error, %{reason: :ref_not_found}} = Git.snapshot(path, [at: other] ++ server)
    assert GitCommand.run!(["fsck", "--no-dangling"], cd: path) == ""
    # Of what has gone there is none to take.
    assert {:error, %{reason: :ref_not_found}} = Git.lease(path, other, server)

    keeper = Process.monitor(lease.keeper)
    send(owner, :end)
    assert_receive {:DOWN, ^keeper, :process, _pid, :normal}, 5_000
    assert Git.release(mine) == :ok
    assert refs(path, "alumiini/lease") == []
    for commit <- later, do: publish!(context, commit, options)

    for commit <- [leased, released] do
      assert {:error, %{reason: :ref_not_found}} = Git.snapshot(path, [at: commit] ++ server)
    end

    assert %{pending: 0} = Server.info(git)
  end

  test "a lease ends, also where a worker was killed when it ended one", context do
    %{origin: origin, path: path, server: server} = context
    [commit] = versions!(origin, 1)
    publish!(context, commit, working_tree: false)
    {:ok, %Lease{} = lease} = Git.lease(path, commit, server)
    [file] = Path.wildcard(Path.join(path, ".git/refs/alumiini/leases/*"), match_dot: true)
    File.write!(file <> ".lock", "")
    assert Git.release(lease) == :ok
    assert refs(path, "alumiini/lease") == []
    refute File.exists?(file <> ".lock")
  end

  test "a lease outlives its worker, and its server", context do
    %{origin: origin, path: path} = context
    [commit, next] = versions!(origin, 2)
    name = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
    options = [server: name, working_tree: false]
    start_supervised!({Git, name: name}, id: name)
    Repository.move_branch!(origin, "main", commit)
    assert {:ok, ^commit} = Git.sync(origin, "main", path, options)
    {owner, lease} = owner!(path, commit, server: name)
    before = refs(path, "")
    stop_supervised!(name)
    start_supervised!({Git, name: name}, id: name)
    Repository.move_branch!(origin, "main", next)
    assert {:ok, ^next} = Git.sync(origin, "main", path, options)
    assert {:ok, %{commit: ^commit}} = Git.snapshot(path, at: commit, server: name)
    # It is there, and its keeper still knows whom to ask.
    assert Enum.any?(before, &(&1 in refs(path, "") and &1 =~ lease.id))
    keeper = Process.monitor(lease.keeper)
    send(owner, :end)
    assert_receive {:DOWN, ^keeper, :process, _pid, :normal}, 5_000
    refute Enum.any?(refs(path, ""), &(&1 =~ lease.id))
  end

  # A process that takes a lease, and lives until it is told otherwise.
  defp owner!(path, sha, server) do
    test = self()

    {:ok, owner} =
      Task.start(fn ->
        send(test, {:leased, Git.lease(path, sha, server)})
        receive do: (:end -> :ok)
      end)

    assert_receive {:leased, {:ok, %Lease{sha: ^sha} = lease}}, 5_000
    {owner, lease}
  end

  defp refs(path, name) do
    ["for-each-ref", "--format=%(refname)"]
    |> GitCommand.run!(cd: path)
    |> String.split("\n", trim: true)
    |> Enum.filter(&(&1 =~ name))
  end
end
