defmodule Alumiini.Git.RefsTest do
  # The refs of real remotes, held against what git itself says of them.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.Ref
  alias Alumiini.Git.Test.Remotes

  setup [:dir, :origin, :commits, :git]

  defp commits(%{origin: origin}) do
    first = Repository.commit!(origin, %{"a" => "1"})
    second = Repository.commit!(origin, %{"a" => "2"})
    in_origin = fn arguments -> GitCommand.run!(["-C", origin] ++ arguments) end
    in_origin.(["tag", "light", first])
    me = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    in_origin.(me ++ ["tag", "-m", "x", "v1.0.0", first])
    in_origin.(["update-ref", "refs/pull/7/head", second])
    in_origin.(["branch", "topic/x", first])
    %{first: first, second: second, in_origin: in_origin}
  end

  # As `git ls-remote` has it: what a tag is peeled to in a line of its own.
  defp oracle(url) do
    lines =
      for line <- String.split(GitCommand.run!(["ls-remote", "--symref", url]), "\n", trim: true),
          do: String.split(line, "\t")

    targets = for ["ref: " <> target, name] <- lines, into: %{}, do: {name, target}
    ids = for [id, name] <- lines, not String.starts_with?(id, "ref: "), into: %{}, do: {name, id}

    for {name, sha} <- Enum.sort(ids), not String.ends_with?(name, "^{}") do
      %Ref{name: name, sha: sha, peeled: ids[name <> "^{}"], symref_target: targets[name]}
    end
  end

  for kind <- Remotes.kinds() do
    test "over #{kind} are those that git lists", context do
      %{git: git, first: first, second: second} = context
      %{url: url} = Remotes.serve!(unquote(kind), context.dir)
      url = url.("origin.git")
      expected = oracle(url)
      assert [%Ref{name: "HEAD", symref_target: "refs/heads/main"} | _] = expected
      assert Enum.any?(expected, & &1.peeled)
      assert Git.refs(url, server: git) == {:ok, expected}

      for prefix <- ["refs/tags/", "refs/heads/topic/", ["HEAD", "refs/pull/"], "refs/none/"] do
        begins? = fn ref -> String.starts_with?(ref.name, prefix) end

        assert {prefix, Git.refs(url, server: git, prefix: prefix)} ==
                 {prefix, {:ok, Enum.filter(expected, begins?)}}
      end

      for {ref, sha} <- [
            {{:tag, "light"}, first},
            {{:tag, "v1.0.0"}, first},
            {{:branch, "topic/x"}, first},
            {{:ref, "refs/pull/7/head"}, second},
            {"refs/pull/7/head", second},
            {"refs/tags/v1.0.0", first},
            {"main", second}
          ] do
        assert {ref, Git.ls_remote(url, ref, server: git)} == {ref, {:ok, sha}}
      end

      for ref <- [{:tag, "main"}, {:branch, "v1.0.0"}, {:ref, "refs/pull/8/head"}] do
        assert {:error, %Error{reason: :ref_not_found, op: :ls_remote}} =
                 Git.ls_remote(url, ref, server: git)
      end
    end
  end

  test "are no more bytes than allowed, wherever they are", context do
    %{git: git, dir: dir} = context

    for kind <- Remotes.kinds() do
      %{url: url} = Remotes.serve!(kind, dir)
      url = url.("origin.git")
      assert {:ok, heads} = Git.refs(url, server: git, prefix: "refs/heads/")
      bytes = heads |> Enum.map(&(byte_size(&1.name) + 40)) |> Enum.sum()
      options = [server: git, prefix: "refs/heads/"]
      assert {kind, Git.refs(url, [max_bytes: bytes] ++ options)} == {kind, {:ok, heads}}
      less = bytes - 1

      assert {:error, %Error{reason: :too_large, detail: %{limit: ^less}}} =
               Git.refs(url, [max_bytes: less] ++ options)
    end
  end

  test "of a remote that is not there, and of one that is empty", %{dir: dir, git: git} do
    %{url: url} = Remotes.serve!(:v2, dir)
    Repository.create!(dir, "empty.git")
    assert {:ok, refs} = Git.refs(url.("empty.git"), server: git)
    # Whether HEAD of an empty repository is told depends on the server.
    assert Enum.all?(refs, &(&1.name == "HEAD"))

    assert {:error, %Error{reason: :repo_not_found, op: :refs}} =
             Git.refs(url.("none.git"), server: git)
  end
end
