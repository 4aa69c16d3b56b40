defmodule Alumiini.Git.RandomPathsTest do
  # What `files/3` and `read/3` open of random trees and for random paths, held against a model. The
  # cases that are known are in paths_test.exs.
  use Alumiini.Git.Test.GitCase, async: true

  @outside "OUTSIDE"
  @inside "inside "

  @moduletag files: %{"deploy/app.yaml" => "app"}

  setup [:dir, :origin, :commit, :git, :clone_with_traps]

  defp clone_with_traps(%{dir: dir} = context) do
    assert {:ok, _sha} = sync(context)
    for name <- ["a", "b", "config", "k.yaml"], do: File.write!(Path.join(dir, name), @outside)
    %{options: [server: context.git]}
  end

  describe "any tree and any path" do
    # Names that meet each other often. Links point at paths made of them.
    @names [".", "..", ".git", ".Git", "config", "a", "b", "x y", "ü", "k.yaml", "l.yml", ".h.yaml"]
    @rounds 60
    @asked 60

    test "open what a model of the tree says, and nothing else", context do
      %{path: repo, options: options} = context
      seed = ExUnit.configuration()[:seed]
      :rand.seed(:exsss, {seed, 8, 0})

      counts =
        for round <- 1..@rounds, reduce: %{ok: 0, unsafe_path: 0, path_not_found: 0} do
          counts ->
            tree = random_tree(3)
            where = "round #{round} of seed #{seed}, in #{inspect(tree, limit: :infinity)}"
            make!(repo, tree)

            counts =
              for _ <- 1..@asked, reduce: counts do
                counts -> tally(counts, check_read(repo, tree, random_path(), options, where))
              end

            for _ <- 1..10, do: check_files(repo, tree, random_path(), options, where)
            for {name, _node} <- tree, do: File.rm_rf!(Path.join(repo, name))
            counts
        end

      # It has seen all of it.
      assert Enum.all?(Map.values(counts), &(&1 > 20)), inspect(counts)
      assert Git.read(repo, "deploy/app.yaml", options) == {:ok, "app"}
    end
  end

  defp tally(counts, {:ok, _content}), do: Map.update!(counts, :ok, &(&1 + 1))
  defp tally(counts, {:error, %Error{reason: reason}}), do: Map.update!(counts, reason, &(&1 + 1))

  defp check_read(repo, tree, path, options, where) do
    result = Git.read(repo, path, options)

    case {resolve(tree, path), result} do
      {{:ok, {:file, content}}, {:ok, content}} ->
        :ok

      {{:ok, %{}}, {:error, %Error{reason: :path_not_found}}} ->
        :ok

      {:error, {:error, %Error{reason: reason}}} when reason in [:unsafe_path, :path_not_found] ->
        :ok

      other ->
        flunk("read of #{inspect(path)}: #{inspect(other)}; #{where}")
    end

    result
  end

  defp check_files(repo, tree, path, options, where) do
    case {resolve(tree, path), Git.files(repo, path, options)} do
      {{:ok, %{} = dir}, {:ok, names}} ->
        expected =
          for {name, _node} <- dir,
              name =~ ~r/\A[^.].*\.ya?ml\z/s,
              match?({:ok, {:file, _}}, resolve(tree, path <> "/" <> name)),
              do: name

        assert names == Enum.sort(expected), "files of #{inspect(path)}; #{where}"

      {{:ok, {:file, _content}}, {:error, %Error{reason: :path_not_found}}} ->
        :ok

      {:error, {:error, %Error{reason: reason}}} when reason in [:unsafe_path, :path_not_found] ->
        :ok

      other ->
        flunk("files of #{inspect(path)}: #{inspect(other)}; #{where}")
    end
  end

  ## The model: a directory is a map, a file {:file, content}, a link {:link, target}.

  defp random_tree(depth) do
    for _ <- 1..Enum.random(2..5),
        name = Enum.random(@names -- [".", "..", ".git"]),
        into: %{},
        do: {name, random_node(depth)}
  end

  defp random_node(depth) do
    case :rand.uniform(10) do
      n when n <= 3 -> {:file, @inside <> Integer.to_string(:rand.uniform(1_000_000))}
      n when n <= 6 and depth > 0 -> random_tree(depth - 1)
      _ -> {:link, random_target()}
    end
  end

  defp random_target do
    case random_path() do
      "" -> "."
      path -> :binary.replace(path, <<0>>, "", [:global])
    end
  end

  defp random_path do
    steps = for _ <- 1..Enum.random(1..4), do: Enum.random(@names -- rarely([".", "..", ".git"]))
    absolute = if :rand.uniform(20) == 1, do: "/", else: ""
    slash = Enum.random(["", "", "/"])
    nul = if :rand.uniform(40) == 1, do: <<0>>, else: ""
    absolute <> Enum.join(steps, Enum.random(["/", "/", "//"])) <> nul <> slash
  end

  defp rarely(names), do: if(:rand.uniform(2) == 1, do: names, else: [])

  defp make!(dir, tree) do
    for {name, node} <- tree do
      path = Path.join(dir, name)

      case node do
        {:file, content} ->
          File.write!(path, content)

        {:link, target} ->
          :ok = File.ln_s(target, path)

        %{} ->
          File.mkdir!(path)
          make!(path, node)
      end
    end
  end

  defp resolve(tree, path) do
    steps = String.split(path, "/", trim: true)

    if String.starts_with?(path, "/") or ".." in steps or String.contains?(path, <<0>>) do
      :error
    else
      walk([tree], steps, 0)
    end
  end

  # The directories from the top to here, the innermost first; a file only at the end.
  defp walk([here | _], [], _links), do: {:ok, here}
  defp walk(trail, ["." | steps], links), do: walk(trail, steps, links)
  defp walk([_top], [".." | _], _links), do: :error
  defp walk([{:file, _content} | _], [".." | _], _links), do: :error
  defp walk([_here | above], [".." | steps], links), do: walk(above, steps, links)

  defp walk([here | _] = trail, [step | steps], links) do
    node = if String.downcase(step) != ".git" and not match?({:file, _}, here), do: here[step]

    case node do
      nil -> :error
      {:link, _target} when links == 40 -> :error
      {:link, "/" <> _} -> :error
      {:link, target} -> walk(trail, String.split(target, "/", trim: true) ++ steps, links + 1)
      found -> walk([found | trail], steps, links)
    end
  end
end
