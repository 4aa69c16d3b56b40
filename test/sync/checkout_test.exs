defmodule Alumiini.Git.CheckoutTest do
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.OddFiles

  setup [:dir, :origin, :commits, :http, :git, :synced]

  defp commits(%{origin: origin}) do
    first = Repository.commit!(origin, OddFiles.all())
    second = Repository.commit!(origin, %{"lines" => "now a file\n", "new/deep.yaml" => "d\n"})
    third = Repository.commit!(origin, %{"lines" => :delete, "app.yaml" => "a\n"})
    %{commits: [first, second, third]}
  end

  defp synced(context) do
    assert sync_all(context) == {:ok, List.last(context.commits)}
    :ok
  end

  defp sync_all(context), do: sync(context, depth: :infinity)

  defp checkout(context, rev), do: Git.checkout(context.path, rev, server: context.git)

  test "detaches HEAD at the commit and moves no branch; the next sync puts HEAD back on its " <>
         "branch",
       context do
    newest = List.last(context.commits)

    for commit <- context.commits do
      assert checkout(context, commit) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
      assert {_, 1} = GitCommand.run(["symbolic-ref", "-q", "HEAD"], cd: context.path)
      assert {:ok, %{sha: ^commit, branch: nil}} = Git.head(context.path, server: context.git)

      for branch <- ["refs/heads/main", "refs/remotes/origin/main"] do
        assert Repository.rev_parse(context.path, branch) == newest
      end

      assert sync_all(context) == {:ok, newest}
      assert GitCommand.run!(["symbolic-ref", "HEAD"], cd: context.path) == "refs/heads/main\n"
      Oracle.assert_synced(context.path, context.origin, newest)
    end
  end

  test "takes the beginning of an id, the name of a branch, and what git calls a revision",
       context do
    [first, second, third] = context.commits

    for {rev, commit} <- [
          {binary_part(first, 0, 10), first},
          {"main", third},
          {"main~1", second},
          {"HEAD", second}
        ] do
      assert checkout(context, rev) == {:ok, commit}
      Oracle.assert_synced(context.path, context.origin, commit)
    end
  end

  test "puts a tampered working tree right", context do
    [first | _] = context.commits
    File.write!(Path.join(context.path, "app.yaml"), "edited\n")
    File.write!(Path.join(context.path, "more.yaml"), "untracked\n")
    assert checkout(context, first) == {:ok, first}
    Oracle.assert_synced(context.path, context.origin, first)
  end

  test "refuses what is not there, says why, and touches nothing", context do
    before = Directory.contents(context.path)
    missing = String.duplicate("1", 40)

    for rev <- [missing, "no-such-branch", "main~20"] do
      assert {:error, %Error{reason: :ref_not_found, retryable?: false} = error} =
               checkout(context, rev)

      assert error.message =~ rev
      assert Directory.touched(before, Directory.contents(context.path)) == []
    end

    assert sync(context) == {:ok, List.last(context.commits)}
    # git still has the objects of older syncs; a fresh clone has not.
    path = Path.join(context.dir, "shallow")
    context = %{context | path: path}
    assert {:ok, _} = sync(context)
    before = Directory.contents(path)
    assert {:error, %Error{reason: :ref_not_found} = error} = checkout(context, hd(context.commits))
    assert error.message =~ "shallow" and error.message =~ "depth"
    assert Directory.touched(before, Directory.contents(path)) == []
  end

  test "refuses what is no repository", context do
    plain = Path.join(context.dir, "plain")
    File.mkdir!(plain)
    File.write!(Path.join(plain, "file"), "x")

    for {path, reason} <- [
          {plain, :not_a_repository},
          {Path.join(context.dir, "absent"), :path_not_found}
        ] do
      before = Directory.contents(path)

      assert {:error, %Error{reason: ^reason, retryable?: false} = error} =
               checkout(%{context | path: path}, "main")

      assert error.message =~ path and error.message =~ "sync"
      assert Directory.touched(before, Directory.contents(path)) == []
    end
  end
end
