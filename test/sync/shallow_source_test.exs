defmodule Alumiini.Git.ShallowSourceTest do
  # A remote that is shallow itself: Git clones it, and its boundary becomes the clone's.
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :mirror, :http, :git]

  defp mirror(%{dir: dir, origin: origin}) do
    for n <- 1..4, do: Repository.commit!(origin, %{"a.yaml" => "a: #{n}\n"})
    mirror = Path.join(dir, "mirror.git")
    GitCommand.run!(["clone", "-q", "--bare", "--depth", "2", "file://" <> origin, mirror])
    %{mirror: mirror}
  end

  defp sync(context, name, work, depth) do
    Git.sync(HttpServer.url(context.http, name), "main", work, depth: depth, server: context.git)
  end

  defp pull!(context, arguments \\ []) do
    GitCommand.run!(
      ["-C", context.mirror, "fetch", "-q"] ++
        arguments ++ ["file://" <> context.origin, "main:main"]
    )
  end

  defp history(path), do: ["log", "--format=%H"] |> GitCommand.run!(cd: path) |> String.split()
  defp rev(repository, revision), do: Repository.rev_parse!(repository, revision)

  for version <- [:v2, :v0] do
    test "all of its history, in #{version}, then more, then all that is behind it", context do
      %{origin: origin, dir: dir} = context
      if unquote(version) == :v0, do: HttpServer.rule(context.http, :no_v2)
      work = Path.join(dir, "work")
      tip = rev(origin, "main")

      for depth <- [10, 1, 2, :infinity] do
        work = Path.join(dir, "work-#{depth}")
        assert sync(context, "mirror.git", work, depth) == {:ok, tip}
        assert length(history(work)) == if(depth == 1, do: 1, else: 2)
        Oracle.assert_synced(work, origin, tip)
      end

      assert sync(context, "mirror.git", work, :infinity) == {:ok, tip}
      assert File.read!(Path.join(work, ".git/shallow")) == rev(origin, "main~1") <> "\n"

      new = Repository.commit!(origin, %{"a.yaml" => "a: 5\n"})
      pull!(context)
      assert sync(context, "mirror.git", work, :infinity) == {:ok, new}
      assert history(work) == Enum.map(0..2, &rev(origin, "main~#{&1}"))
      Oracle.assert_synced(work, origin, new)

      newer = Repository.commit!(origin, %{"a.yaml" => "a: 6\n"})
      pull!(context, ["--unshallow"])
      assert sync(context, "mirror.git", work, :infinity) == {:ok, newer}
      assert length(history(work)) == 6
      refute File.exists?(Path.join(work, ".git/shallow"))
      Oracle.assert_synced(work, origin, newer)
    end

    test "takes nothing of the history away that is there, in #{version}", context do
      %{origin: origin, dir: dir} = context
      if unquote(version) == :v0, do: HttpServer.rule(context.http, :no_v2)
      work = Path.join(dir, "work")
      assert {:ok, _} = sync(context, "origin.git", work, :infinity)
      new = Repository.commit!(origin, %{"a.yaml" => "a: 5\n"})
      pull!(context)
      assert sync(context, "mirror.git", work, :infinity) == {:ok, new}
      assert length(history(work)) == 5
      Oracle.assert_synced(work, origin, new)
    end
  end
end
