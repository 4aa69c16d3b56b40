defmodule Alumiini.Git.PartialDamageTest do
  # A partial repository that lacks more than it may, and servers that do not give what they list.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.Leftovers
  alias Alumiini.Git.Update

  @moduletag files: %{
               "deploy/app.yaml" => "app: 1\n",
               "deploy/other.yaml" => "other: 1\n",
               "src/main.c" => "int main;\n"
             }

  @paths ["deploy"]

  setup [:dir, :origin, :commit, :http, :git]

  defp update(context, options \\ []) do
    options = Keyword.merge([server: context.git, paths: @paths], options)
    Git.update(context.url, "main", context.path, options)
  end

  # The pack with the files, and the one with all else.
  defp packs(context) do
    packs = Path.wildcard(file(context, ".git/objects/pack/*.pack"), match_dot: true)

    {[files], [rest]} =
      Enum.split_with(packs, fn pack ->
        pack = String.replace_suffix(pack, ".pack", ".idx")
        not (run_git(context, ["verify-pack", "-v", pack]) =~ "commit")
      end)

    %{files: files, rest: rest}
  end

  defp overwrite(pack) do
    File.chmod!(pack, 0o644)
    File.write!(pack, "no pack")
  end

  defp remove(pack) do
    for extension <- [".pack", ".idx", ".promisor"],
        do: File.rm!(String.replace_suffix(pack, ".pack", extension))
  end

  for working_tree <- [true, false] do
    describe "working_tree: #{working_tree}," do
      for {name, which, how} <- [
            {"files that are gone", :files, :remove},
            {"files that cannot be read", :files, :overwrite},
            {"commits and directories that are gone", :rest, :remove},
            {"commits and directories that cannot be read", :rest, :overwrite}
          ] do
        test "#{name} come back", %{path: path, origin: origin} = context do
          options = [working_tree: unquote(working_tree)]
          assert {:ok, %Update{cloned?: true}} = update(context, options)
          pack = packs(context)[unquote(which)]
          if unquote(how) == :remove, do: remove(pack), else: overwrite(pack)
          # Who reads it may be who finds it.
          _ = Git.read(path, "deploy/app.yaml", server: context.git)

          second = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})
          assert {:ok, %Update{sha: ^second}} = update(context, options)
          assert {:ok, "app: 2\n"} = Git.read(path, "deploy/app.yaml", server: context.git)
          assert {:ok, "other: 1\n"} = read_head(context, "deploy/other.yaml")

          if unquote(working_tree),
            do: Oracle.assert_tree_equals(path, origin, second, @paths)

          # Of what was damaged something may be left that nothing needs.
          if unquote(how) == :remove, do: Oracle.fsck!(path)
        end

        test "#{name} come back with nothing new", %{path: path} = context do
          options = [working_tree: unquote(working_tree)]
          assert {:ok, %Update{cloned?: true}} = update(context, options)
          pack = packs(context)[unquote(which)]
          if unquote(how) == :remove, do: remove(pack), else: overwrite(pack)
          _ = Git.read(path, "deploy/app.yaml", server: context.git)

          if unquote(working_tree) and unquote(how) == :overwrite do
            # What can still be read is believed until it is needed.
            assert {:ok, %Update{changed?: false}} = update(context, options)
          else
            assert {:ok, %Update{changed?: false}} = update(context, options)
            assert {:ok, "app: 1\n"} = read_head(context, "deploy/app.yaml")
            Oracle.fsck!(path)
          end
        end
      end
    end
  end

  defp read_head(context, name),
    do: Git.read(context.path, name, at: "HEAD", server: context.git)

  test "a scope that cannot be read is built anew", %{path: path, origin: origin} = context do
    assert {:ok, %Update{sha: commit}} = update(context)
    File.write!(file(context, ".git/alumiini-paths"), "what")
    assert {:ok, %Update{sha: ^commit, repaired?: true}} = update(context)
    Oracle.assert_synced(path, origin, commit, @paths)
  end

  test "a server that lacks a file leaves what is there", %{path: path} = context do
    %{origin: origin, commit: first} = context
    assert {:ok, %Update{sha: ^first}} = update(context)

    blob = Repository.hash!(origin, "blob", "app: 2\n")
    loose = Path.join([origin, "objects", String.slice(blob, 0, 2), String.slice(blob, 2, 38)])
    kept = File.read!(loose)
    second = Repository.commit!(origin, %{"deploy/app.yaml" => "app: 2\n"})
    # It is in the pack of the commit, too, unless that is taken apart.
    unpack(origin)
    File.rm!(loose)

    assert {:error, %Error{retryable?: true} = error} = update(context)
    assert error.reason == :network
    assert error.message =~ second
    Oracle.assert_synced(path, origin, first, @paths)

    File.write!(loose, kept)
    assert {:ok, %Update{sha: ^second, previous: ^first}} = update(context)
    Oracle.assert_synced(path, origin, second, @paths)
  end

  for working_tree <- [true, false], before <- [nil, "deploy"] do
    @tag working_tree: working_tree, before: before
    test "locks of a worker that was killed are in nobody's way: from #{before || "all"}, " <>
           "working_tree: #{working_tree}",
         %{origin: origin, commit: commit, path: path, working_tree: working_tree} = context do
      options = [working_tree: working_tree]
      before = if context.before, do: [paths: [context.before]], else: [paths: []]
      assert {:ok, %Update{sha: ^commit}} = update(context, before ++ options)

      for lock <- ~w(info/sparse-checkout.lock alumiini-paths.lock config.lock) do
        File.mkdir_p!(file(context, ".git/info"))
        File.write!(file(context, Path.join(".git", lock)), "")
      end

      assert {:ok, %Update{sha: ^commit}} = update(context, [paths: ["src"]] ++ options)
      refute File.exists?(file(context, ".git/info/sparse-checkout.lock"))
      assert Leftovers.of(path) == []

      if working_tree,
        do: Oracle.assert_synced(path, origin, commit, ["src"]),
        else: assert({:ok, "int main;\n"} = Git.read(path, "src/main.c", server: context.git))
    end
  end

  defp unpack(origin) do
    for pack <- Path.wildcard(Path.join(origin, "objects/pack/*.pack")) do
      moved = Path.join(origin, Path.basename(pack))
      File.rename!(pack, moved)
      File.rm!(String.replace_suffix(pack, ".pack", ".idx"))
      {_, 0} = System.cmd("sh", ["-c", ~s(git unpack-objects -q < "$0"), moved], cd: origin)
      File.rm!(moved)
    end
  end
end
