defmodule Alumiini.Git.SwappedDirectoryTest do
  # Who can rename a directory that is synced puts another one in its place, in the middle of the
  # work. The directory that was locked is the one that is worked in: nothing of the other one is
  # read, written or removed.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Test.{OsProcess, RawWorker}

  @moduletag timeout: 240_000
  # The phases of a clone, of an update, of one of its owner's.
  @clone ~w(connect pack installed rename renamed marker refs checkout index-written unmark)
  @update ~w(connect pack shallow installed marker refs checkout index-written unmark)
  @owner ~w(connect pack installed marker checkout refs unmark)

  @moduletag files: %{"app.yaml" => "a: 1\n", "deploy/x.yaml" => "x: 1\n"}

  setup [:dir, :origin, :commit, :git, :stranger]

  # A clone of ours, too, of something else: what a sync takes for its own. And more, which a sync
  # would remove.
  defp stranger(%{dir: dir} = context) do
    other = Repository.create!(dir, "other.git")
    Repository.commit!(other, %{"secret.yaml" => "s: 1", "deploy/x.yaml" => "secret"})
    stranger = Path.join(dir, "stranger")
    {:ok, secret} = sync(context, url: "file://" <> other, path: stranger)
    File.write!(Path.join(stranger, "notes.yaml"), "theirs\n")
    File.write!(Path.join(stranger, ".git/index.lock"), "theirs\n")
    File.mkdir!(Path.join(stranger, ".git.alumiini-theirs"))
    %{stranger: stranger, secret: secret, before: look(stranger)}
  end

  # Of all that is there which it is, when its content changed and what it is; of `path` itself that
  # it changed is the swap's.
  defp look(path) do
    stats =
      for name <- Map.keys(Directory.contents(path)), name != "", into: %{} do
        stat = File.lstat!(Path.join(path, name), time: :posix)
        {name, {stat.inode, stat.mtime, stat.ctime, stat.size, stat.mode}}
      end

    {stats, File.stat!(path, time: :posix).mtime, Directory.contents(path)}
  end

  defp assert_untouched(context, stranger \\ nil) do
    {stats, mtime, contents} = look(stranger || context.stranger)
    {stats_before, mtime_before, contents_before} = context.before
    assert Directory.touched(contents_before, contents) == []
    assert {stats, mtime} == {stats_before, mtime_before}
  end

  defp path!(context, :clone, n), do: Path.join(context.dir, "clone-#{n}")

  defp path!(context, :ours, n) do
    path = Path.join(context.dir, "ours-#{n}")
    assert {:ok, _sha} = Git.sync(context.url, "main", path, server: context.git, depth: :infinity)
    path
  end

  defp path!(context, :owner, n) do
    path = Path.join(context.dir, "own-#{n}")
    GitCommand.run!(["clone", "-q", context.origin, path])
    path
  end

  defp sync_request(context, path),
    do: %{"op" => "sync", "url" => context.url, "branch" => "main", "path" => path}

  # Stops the worker when the request comes to the phase, runs `fun`, and lets it go on.
  defp stopped(request, phase, fun) do
    RawWorker.with_worker(fn worker ->
      fault = %{"at" => phase, "do" => "stop", "after" => 1}
      id = RawWorker.ask(worker, Map.put(request, "fault", fault))
      assert {phase, OsProcess.await_state(worker.os_pid, ["T"])} == {phase, :ok}
      fun.()
      OsProcess.kill(worker.os_pid, :CONT)
      RawWorker.await(worker, id)
    end)
  end

  defp swap(path, aside, what) do
    File.rename!(path, aside)
    what.(path)
  end

  for {kind, phases} <- [clone: @clone, ours: @update, owner: @owner] do
    test "a link takes its place in the middle of a sync (#{kind})", context do
      for {phase, n} <- Enum.with_index(unquote(phases)) do
        path = path!(context, unquote(kind), n)
        aside = path <> "-aside"
        sha = Repository.commit!(context.origin, %{"new.yaml" => "n: #{phase}\n"})

        result =
          stopped(sync_request(context, path), phase, fn ->
            swap(path, aside, &File.ln_s!(context.stranger, &1))
          end)

        assert_untouched(context)
        assert {phase, result} == {phase, {:ok, sha}}
        Oracle.fsck!(aside)
        assert {phase, File.read!(Path.join(aside, "new.yaml"))} == {phase, "n: #{phase}\n"}
        assert GitCommand.run!(["status", "--porcelain"], cd: aside) == ""
      end
    end

    test "another directory takes its place in the middle of a sync (#{kind})", context do
      for {phase, n} <- Enum.with_index(unquote(phases)) do
        path = path!(context, unquote(kind), n)
        aside = path <> "-aside"
        sha = Repository.commit!(context.origin, %{"new.yaml" => "n: #{phase}\n"})

        result =
          stopped(sync_request(context, path), phase, fn ->
            swap(path, aside, &File.rename!(context.stranger, &1))
          end)

        assert_untouched(context, path)
        File.rename!(path, context.stranger)
        assert {phase, result} == {phase, {:ok, sha}}
        assert File.read!(Path.join(aside, "new.yaml")) == "n: #{phase}\n"
      end
    end
  end

  test "a link takes its place in the middle of a checkout", context do
    for kind <- [:ours, :owner], phase <- ~w(marker checkout refs unmark) do
      path = path!(context, kind, phase)
      Repository.commit!(context.origin, %{"app.yaml" => "a: #{kind} #{phase}\n"})

      assert {:ok, _sha} =
               Git.sync(context.url, "main", path, server: context.git, depth: :infinity)

      request = %{"op" => "checkout", "path" => path, "rev" => context.commit}

      result =
        stopped(request, phase, fn ->
          swap(path, path <> "-aside", &File.ln_s!(context.stranger, &1))
        end)

      assert_untouched(context)
      assert {phase, result} == {phase, {:ok, context.commit}}
      assert Repository.rev_parse(path <> "-aside") == context.commit
      assert File.read!(Path.join(path <> "-aside", "app.yaml")) == "a: 1\n"
    end
  end

  test "a sync whose directory is renamed ends where that is now, and its errors name what " <>
         "was asked for",
       context do
    path = path!(context, :ours, 0)
    sha = Repository.commit!(context.origin, %{"new.yaml" => "n: 1\n"})
    moved = path <> "-moved"

    assert {:ok, ^sha} =
             stopped(sync_request(context, path), "connect", fn -> File.rename!(path, moved) end)

    assert GitCommand.run!(["status", "--porcelain"], cd: moved) == ""
    Oracle.fsck!(moved)
    refute File.exists?(path)

    File.rename!(moved, path)
    Repository.commit!(context.origin, %{"new.yaml" => "n: 2\n"})
    # A directory where a file of the new commit's `.git` is to be.
    File.mkdir_p!(Path.join(path, ".git/alumiini-checkout.lock/x"))
    assert {:error, %Error{} = error} = sync(context, path: path)
    refute inspect(error) =~ "/proc/"
    assert error.message =~ path
  end

  # A link that is there when the call comes leads where it leads, unless that is out of the root.
  test "with a root, a link that comes and goes leads neither a call nor a read out of it",
       context do
    server =
      start_supervised!({Git, name: nil, root: Path.join(context.dir, "volume")}, id: :rooted)

    context = %{context | dir: Path.join(context.dir, "volume")}
    File.mkdir!(context.dir)
    swapped_all_the_time(context, context.stranger, server: server, timeout: 60_000)
    assert_untouched(context)
  end

  test "a link to a directory that is no repository comes and goes, and nothing is written there",
       context do
    stranger = Path.join(context.dir, "plain")
    File.mkdir_p!(Path.join(stranger, "deploy"))

    for name <- ["notes.yaml", "deploy/x.yaml"],
        do: File.write!(Path.join(stranger, name), "theirs\n")

    before = look(stranger)
    swapped_all_the_time(context, stranger, server: context.git, timeout: 60_000)
    assert look(stranger) == before
  end

  defp swapped_all_the_time(context, stranger, options) do
    paths = for kind <- [:ours, :owner, :clone], do: {kind, path!(context, kind, 0)}
    File.mkdir!(paths[:clone])
    swappers = for {_kind, path} <- paths, do: swapper!(path, stranger)

    works =
      for {kind, path} <- paths, n <- 1..2 do
        Task.async(fn ->
          for round <- 1..15 do
            if kind == :ours and n == 1,
              do: Repository.commit!(context.origin, %{"new.yaml" => "n: #{round}\n"})

            Git.sync(context.url, "main", path, options)
            Git.checkout(path, context.commit, options)
            if stranger == context.stranger, do: read_all(path, context, options)
          end
        end)
      end

    Task.await_many(works, 200_000)
    for swapper <- swappers, do: stop_swapper!(swapper)
    sha = Repository.rev_parse(context.origin, "main")

    for {_kind, path} <- paths do
      assert {:ok, ^sha} = Git.sync(context.url, "main", path, options)
      assert GitCommand.run!(["status", "--porcelain"], cd: path) == ""
      Oracle.fsck!(path)
    end
  end

  defp read_all(path, context, options) do
    for file <- ["secret.yaml", "deploy/x.yaml"],
        do: refute_secret(Git.read(path, file, options), context)

    refute_secret(Git.files(path, nil, options), context)
    refute_secret(Git.head(path, options), context)
  end

  defp refute_secret({:error, %Error{}}, _context), do: :ok
  defp refute_secret({:ok, %{sha: sha}}, context), do: assert(sha != context.secret)

  defp refute_secret({:ok, names_or_content}, _context) do
    for secret <- ["secret", "s: 1", "secret.yaml", "notes.yaml"],
        do: refute(secret in List.wrap(names_or_content))
  end

  # A program of its own: this one's renames wait for its other work.
  defp swapper!(path, stranger) do
    link = path <> "-link"
    File.ln_s!(stranger, link)

    program = """
    $| = 1;
    my ($path, $link) = @ARGV;
    my $aside = "$path-aside";
    my $go = 1;
    $SIG{TERM} = sub { $go = 0 };
    while ($go) {
      rename($path, $aside) or die;
      # A sync that found nothing here has made a directory, which is empty still.
      rename($link, $path) or rmdir($path) && rename($link, $path) or die;
      rename($path, $link) or die; rename($aside, $path) or die;
      select(undef, undef, undef, rand(0.004));
    }
    """

    perl = System.find_executable("perl") || flunk("perl is needed")
    Port.open({:spawn_executable, perl}, [:exit_status, args: ["-e", program, path, link]])
  end

  defp stop_swapper!(port) do
    {:os_pid, pid} = Port.info(port, :os_pid)
    OsProcess.kill(pid, :TERM)
    assert_receive {^port, {:exit_status, 0}}, 10_000
  end
end
