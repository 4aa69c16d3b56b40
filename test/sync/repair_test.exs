defmodule Alumiini.Git.RepairTest do
  # A managed repository that is damaged is built anew by the next sync; nothing else makes a sync
  # do that.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{Manifests, OddFiles}

  setup [:dir, :origin, :history, :http, :git, :follow_healing]

  defp history(context) do
    Repository.history!(context.origin, 3)
    %{commit: Repository.commit!(context.origin, OddFiles.all())}
  end

  # Tests of other modules run at the same time: only our path counts.
  defp follow_healing(%{path: path}) do
    test = self()
    id = make_ref()

    :telemetry.attach(
      id,
      [:alumiini_git, :repo, :repaired],
      fn _event, _measurements, metadata, _config ->
        if metadata.path == path, do: send(test, {:repaired, metadata.reason})
      end,
      nil
    )

    on_exit(fn -> :telemetry.detach(id) end)
  end

  defp git_file(context, name), do: Path.join([context.path, ".git", name])

  defp pack(context, extension) do
    [file | _] = Path.wildcard(git_file(context, "objects/pack/*.#{extension}"))
    File.chmod!(file, 0o644)
    file
  end

  defp overwrite(file, at, bytes) do
    {:ok, io} = :file.open(file, [:read, :write, :raw, :binary])
    :ok = :file.pwrite(io, at, bytes)
    :file.close(io)
  end

  defp size(file), do: File.stat!(file).size

  defp truncate(file, size) do
    {:ok, io} = :file.open(file, [:read, :write, :raw])
    {:ok, _} = :file.position(io, size)
    :ok = :file.truncate(io)
    :file.close(io)
  end

  @damages [
    {"the pack is cut to half", :pack, &__MODULE__.halve/1},
    {"the pack is empty", :pack, &__MODULE__.empty/1},
    {"the pack is gone", :pack, &File.rm!/1},
    {"the pack holds noise", :pack, &__MODULE__.noise/1},
    {"the pack's index is cut to half", :idx, &__MODULE__.halve/1},
    {"the pack's index is empty", :idx, &__MODULE__.empty/1},
    {"the pack's index is gone", :idx, &File.rm!/1},
    {"the pack's index holds noise", :idx, &__MODULE__.noise/1},
    {"the branch's file is empty", "refs/heads/main", &__MODULE__.empty/1},
    {"the branch's file holds noise", "refs/heads/main", &__MODULE__.noise/1},
    {"the branch's file holds a commit that is not there", "refs/heads/main",
     &__MODULE__.missing_commit/1},
    {"the tracking branch's file is empty", "refs/remotes/origin/main", &__MODULE__.empty/1},
    {"HEAD is empty", "HEAD", &__MODULE__.empty/1},
    {"HEAD holds noise", "HEAD", &__MODULE__.noise/1},
    {"HEAD is gone", "HEAD", &File.rm!/1},
    {"the list of shallow commits holds noise", "shallow", &__MODULE__.noise/1},
    {"all objects are gone", "objects", &File.rm_rf!/1},
    {"all refs are gone", "refs", &File.rm_rf!/1}
  ]

  def halve(file), do: truncate(file, div(size(file), 2))
  def empty(file), do: truncate(file, 0)
  def missing_commit(file), do: File.write!(file, String.duplicate("1", 40) <> "\n")

  def noise(file) do
    {noise, _} =
      :rand.bytes_s(
        if(File.exists?(file), do: max(size(file), 64), else: 64),
        :rand.seed_s(:exsss, 7)
      )

    File.write!(file, noise)
  end

  defp damage(context, where, how) do
    how.(if is_atom(where), do: pack(context, where), else: git_file(context, where))
  end

  defp assert_repaired(context, commit, depth \\ 1) do
    assert sync(context, depth: depth) == {:ok, commit}
    assert_received {:repaired, reason}
    assert is_binary(reason) and reason != ""
    refute_received {:repaired, _}
    Oracle.assert_synced(context.path, context.origin, commit)
    assert_nothing_left(context)

    # It is a managed repository as any other: nothing more is to repair, and what comes later
    # comes.
    assert sync(context, depth: depth) == {:ok, commit}
    later = Repository.commit!(context.origin, %{"later.yaml" => "later\n"})
    assert sync(context, depth: depth) == {:ok, later}
    refute_received {:repaired, _}
    Oracle.assert_synced(context.path, context.origin, later)
  end

  defp assert_nothing_left(context) do
    assert for(".git.alumiini" <> _ = name <- Directory.names(context.path), do: name) == []
    assert for("alumiini" <> _ = name <- Directory.names(git_file(context, "")), do: name) == []
  end

  for {name, where, how} <- @damages do
    @where where
    @how how

    test "#{name}, and there is nothing new", context do
      assert sync(context) == {:ok, context.commit}
      damage(context, @where, @how)
      assert_repaired(context, context.commit)
    end

    test "#{name}, and there is something new", context do
      assert sync(context) == {:ok, context.commit}

      commit =
        Repository.commit!(context.origin, %{"new.yaml" => "new\n", "lines/unix.yaml" => "a: 2\n"})

      damage(context, @where, @how)
      assert_repaired(context, commit)
    end
  end

  for {name, where, how} <- Enum.take_every(@damages, 3) do
    @where where
    @how how

    test "#{name}, and the remote cannot be asked: what is there stays", context do
      assert sync(context) == {:ok, context.commit}
      damage(context, @where, @how)
      before = Directory.contents(context.path)
      rule = HttpServer.rule(context.http, {:status, 503})
      assert {:error, %Error{reason: :network, retryable?: true}} = sync(context)
      later = Directory.contents(context.path)

      assert for(
               path <- Directory.touched(before, later),
               not String.starts_with?(path, ".git"),
               do: path
             ) ==
               []

      refute_received {:repaired, _}
      HttpServer.remove(context.http, rule)
      assert_repaired(context, context.commit)
    end
  end

  test "the whole history repairs to the whole history", context do
    assert sync(context, depth: :infinity) == {:ok, context.commit}
    noise(pack(context, "pack"))
    assert_repaired(context, context.commit, :infinity)
    assert GitCommand.run!(["rev-list", "--count", "HEAD"], cd: context.path) == "5\n"
  end

  test "a file that has to be written again and whose object is damaged", context do
    commit = Repository.commit!(context.origin, Manifests.many(60, bytes: 2_000))
    assert sync(context) == {:ok, commit}
    # The commit and the trees come first in a pack, so that they can still be read.
    pack = pack(context, "pack")
    overwrite(pack, size(pack) - 60_000, :binary.copy(<<0xFF>>, 50_000))
    TempDir.remove!(Path.join(context.path, "tenants"))
    assert_repaired(context, commit)
  end

  test "the index is made from the commit again, without building anything anew", context do
    assert sync(context) == {:ok, context.commit}

    for how <- [&halve/1, &empty/1, &noise/1, &File.rm!/1] do
      how.(git_file(context, "index"))
      assert sync(context) == {:ok, context.commit}
      Oracle.assert_synced(context.path, context.origin, context.commit)
      how.(git_file(context, "index"))
      commit = Repository.commit!(context.origin, %{"new.yaml" => inspect(how)})
      assert sync(context) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
      Repository.move_branch!(context.origin, "main", context.commit)
      assert sync(context) == {:ok, context.commit}
    end

    refute_received {:repaired, _}
  end

  test "the local branch's file is gone: it is written again, without building anything anew",
       context do
    assert sync(context) == {:ok, context.commit}
    File.rm!(git_file(context, "refs/heads/main"))
    assert sync(context) == {:ok, context.commit}
    Oracle.assert_synced(context.path, context.origin, context.commit)
    refute_received {:repaired, _}
  end

  test "a network error repairs nothing, wherever it comes", context do
    # The second may still note how old files are.
    for _ <- 1..2, do: assert(sync(context) == {:ok, context.commit})
    Repository.commit!(context.origin, Manifests.many(60, bytes: 4_000, seed: 2))
    before = Directory.contents(context.path)

    for action <- [
          {:cut, :reset},
          {:cut, :close},
          {:stop, {:pack, 5_000}, :close},
          {:status, 500},
          :html
        ] do
      HttpServer.reset(context.http)
      HttpServer.rule(context.http, action)
      assert {:error, %Error{}} = sync(context)
      assert Directory.touched(before, Directory.contents(context.path)) == []
    end

    refute_received {:repaired, _}
  end

  test "while a damaged repository is built anew, its files can be read", context do
    assert sync(context) == {:ok, context.commit}
    noise(pack(context, "pack"))
    gate = HttpServer.rule(context.http, {:stop, {:pack, 1_000}, :hold}, on: :upload_pack)
    task = Task.async(fn -> sync(context) end)
    HttpServer.await(context.http, {:parked, gate, 1})
    assert Git.read(context.path, "lines/unix.yaml", server: context.git) == {:ok, "a: 1\nb: 2\n"}
    HttpServer.release(context.http, gate)
    assert Task.await(task) == {:ok, context.commit}
    assert_received {:repaired, _}
    Oracle.assert_synced(context.path, context.origin, context.commit)
  end
end
