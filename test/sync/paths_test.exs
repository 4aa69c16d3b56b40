defmodule Alumiini.Git.PathsTest do
  # What `files/3` and `read/3` can be made to open, through the public functions and the real
  # worker. What a commit can make a sync write is in hostile_commits_test.exs.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Error
  alias Alumiini.Git.Test.{Repository, TempDir}

  @outside "OUTSIDE"
  @inside "inside "

  setup do
    directory = TempDir.create!("paths")
    origin = Repository.create!(directory)

    Repository.commit!(origin, %{
      "deploy/app.yaml" => "app",
      "deploy/nested/deep.yaml" => "deep",
      "deploy/notes.txt" => "notes"
    })

    repo = Path.join(directory, "repo")
    server = start_supervised!({Git, name: nil})
    assert {:ok, _sha} = Git.sync(origin, "main", repo, server: server)
    File.write!(Path.join(directory, "outside.yaml"), @outside)
    File.mkdir_p!(Path.join(directory, "trap"))
    File.write!(Path.join(directory, "trap/app.yaml"), @outside)
    %{directory: directory, repo: repo, options: [server: server]}
  end

  defp link!(target, link), do: :ok = File.ln_s(target, link)

  defp refused!({:error, %Error{reason: :unsafe_path, retryable?: false} = error}, op) do
    assert error.op == op
    assert Exception.message(error) =~ ~r/refused|NUL/
  end

  defp refused!(other, op), do: flunk("#{op} was not refused: #{inspect(other)}")

  test "`path` in a detail is the repository, and `file` what is meant there", %{
    repo: repo,
    options: options
  } do
    linked = repo <> "-link"
    link!(repo, linked)

    for path <- [repo, linked] do
      for {file, reason} <- [
            {"gone.yaml", :path_not_found},
            {"../x", :unsafe_path},
            {"deploy", :path_not_found}
          ] do
        assert {:error, %Error{reason: ^reason, detail: detail}} = Git.read(path, file, options)
        assert detail == %{path: path, file: file}
      end

      assert {:error, %Error{reason: :too_large, detail: detail}} =
               Git.read(path, "deploy/app.yaml", [max_bytes: 1] ++ options)

      assert detail == %{path: path, file: "deploy/app.yaml", limit: 1}
      assert {:error, %Error{detail: detail}} = Git.files(path, "gone", options)
      assert detail == %{path: path, file: "gone"}
    end

    for call <- [&Git.files(&1, nil, options), &Git.head(&1, options)] do
      assert {:error, %Error{reason: :path_not_found, detail: detail}} = call.(repo <> "-gone")
      assert detail == %{path: repo <> "-gone"}
    end
  end

  describe "the directory that a caller names" do
    setup %{directory: directory, options: options} do
      origin = Repository.create!(directory, "tenant.git")

      Repository.commit!(origin, %{
        "app.yaml" => @inside,
        "base/app.yaml" => @inside,
        "deploy" => {:symlink, Path.join(directory, "trap")},
        "up" => {:symlink, "../trap"},
        "prod" => {:symlink, "base"}
      })

      repos =
        for {name, more} <- [tree: [], bare: [working_tree: false]] do
          repo = Path.join(directory, "tenant-#{name}")
          assert {:ok, _sha} = Git.sync(origin, "main", repo, more ++ options)
          repo
        end

      %{repos: repos, tenant: origin}
    end

    # As a controller does that joins its directory and what a tenant says is theirs.
    test "is not left by a link that the commit has, nor by `..`",
         %{repos: repos, options: options} = context do
      for repo <- repos, below <- ["deploy", "up", "../trap"], path = Path.join(repo, below) do
        assert {:error, %Error{reason: reason}} = Git.read(path, "app.yaml", options)
        # Without a working tree no link is there to be followed.
        assert reason in [:unsafe_path, :path_not_found], path
        assert {:error, %Error{reason: ^reason}} = Git.files(path, nil, options)
        refute match?({:ok, _}, Git.head(path, options))
      end

      [repo, _bare] = repos

      for below <- ["deploy", "up", "../trap", "up/new"], path = repo <> "/" <> below do
        refused!(Git.read(path, "app.yaml", options), :read)
        refused!(Git.files(path, nil, options), :files)
        refused!(Git.head(path, options), :head)
        refused!(Git.sync(context.tenant, "main", path, options), :sync)
        refused!(Git.checkout(path, "main", options), :checkout)
      end

      assert File.ls!(Path.join(context.directory, "trap")) == ["app.yaml"]
    end

    test "is not .git, nor made to be one", %{repos: repos, options: options} = context do
      for repo <- repos ++ [context.directory],
          below <- [".git", ".git/refs", ".GIT"],
          path = Path.join(repo, below) do
        refused!(Git.read(path, "config", options), :read)
        refused!(Git.files(path, nil, options), :files)
        refused!(Git.sync(context.tenant, "main", path, options), :sync)
      end

      refute File.exists?(Path.join(context.directory, ".git"))
    end

    test "may be any that belongs to no repository, and be led to by any link", context do
      %{directory: directory, repos: [repo, bare], options: options} = context
      assert Git.read(Path.join(directory, "trap"), "app.yaml", options) == {:ok, @outside}
      link!(repo, Path.join(directory, "current"))
      assert Git.read(Path.join(directory, "current"), "app.yaml", options) == {:ok, @inside}
      assert Git.read(Path.join(directory, "current/base"), "app.yaml", options) == {:ok, @inside}

      for each <- [repo, bare],
          do: assert({:ok, @inside} = Git.read(each <> "/base", "app.yaml", options))

      assert Git.read(repo <> "/prod", "app.yaml", options) == {:ok, @inside}
    end

    test "may begin with `..` from a current directory in a working tree",
         %{options: options} = context do
      relative = Path.join([".." |> List.duplicate(30) |> Path.join(), context.directory, "trap"])
      assert Git.read(relative, "app.yaml", options) == {:ok, @outside}
    end
  end

  describe "what a caller asks for" do
    test "is refused where it leads out of the repository or into .git", %{
      repo: repo,
      options: options
    } do
      for path <- [
            "..",
            "../outside.yaml",
            "../repo/deploy/app.yaml",
            "deploy/..",
            "deploy/../deploy/app.yaml",
            "deploy/../../outside.yaml",
            "deploy/nested/../../../outside.yaml",
            "gone/../../outside.yaml",
            "/",
            "/etc/passwd",
            "//etc/passwd",
            Path.join(repo, "deploy/app.yaml"),
            ".git",
            ".git/",
            "./.git/config",
            ".//.git/HEAD",
            ".GIT/config",
            ".Git/config",
            ".giT",
            "deploy/../.git/config",
            "deploy/.git/config",
            "\0",
            "deploy/app.yaml\0",
            "deploy\0/../../outside.yaml",
            <<255, 0>>
          ] do
        refused!(Git.read(repo, path, options), :read)
        refused!(Git.files(repo, path, options), :files)
      end
    end

    test "is refused where a link on the way does", context do
      %{repo: repo, directory: directory, options: options} = context

      for {target, name} <- [
            {"../outside.yaml", "out.yaml"},
            {Path.join(directory, "outside.yaml"), "absolute.yaml"},
            {Path.join(repo, "deploy/app.yaml"), "absolute-inside.yaml"},
            {".git/config", "config.yaml"},
            {"./deploy/../.git/config", "round.yaml"},
            {".GIT/config", "upper.yaml"},
            {"loop.yaml", "loop.yaml"},
            {"out.yaml", "second.yaml"},
            {"deploy/../../outside.yaml", "up.yaml"}
          ] do
        link!(target, Path.join(repo, name))
        refused!(Git.read(repo, name, options), :read)
      end

      for {target, name} <- [{"..", "up"}, {"../trap", "trap"}, {".git", "git"}, {directory, "far"}] do
        link!(target, Path.join(repo, name))
        refused!(Git.files(repo, name, options), :files)
        refused!(Git.read(repo, name <> "/app.yaml", options), :read)
        refused!(Git.read(repo, name <> "/repo/deploy/app.yaml", options), :read)
      end

      # A link that may not be read is no file to list either.
      assert Git.files(repo, nil, options) == {:ok, []}
    end

    test "is answered where a link stays inside", %{repo: repo, options: options} do
      link!("../app.yaml", Path.join(repo, "deploy/nested/up.yaml"))
      link!("deploy/nested", Path.join(repo, "short"))
      link!("short/up.yaml", Path.join(repo, "twice.yml"))
      assert Git.read(repo, "short/up.yaml", options) == {:ok, "app"}
      assert Git.read(repo, "twice.yml", options) == {:ok, "app"}
      assert Git.files(repo, "short", options) == {:ok, ["deep.yaml", "up.yaml"]}
      assert Git.files(repo, nil, options) == {:ok, ["twice.yml"]}
    end

    test "is not waited for where it is no file", %{repo: repo, options: options} do
      {_, 0} = System.cmd("mkfifo", [Path.join(repo, "pipe.yaml")])
      link!("/dev/zero", Path.join(repo, "zero.yaml"))
      assert {:error, %Error{reason: :path_not_found}} = Git.read(repo, "pipe.yaml", options)
      refused!(Git.read(repo, "zero.yaml", options), :read)
      assert Git.files(repo, nil, options) == {:ok, []}
    end
  end

  # A name is a directory one moment and a link out of the repository the next.
  test "a link swapped in between is met, and never followed", %{repo: repo, options: options} do
    File.mkdir_p!(Path.join(repo, "real"))
    File.write!(Path.join(repo, "real/app.yaml"), @inside)
    link!("../trap", Path.join(repo, "fake"))
    current = Path.join(repo, "current")
    swapper = start_supervised!({Task, fn -> swap(repo, current) end})

    met = meet(repo, options, %{opened: 0, refused: 0}, 100_000)
    assert Process.alive?(swapper)
    assert met.opened > 0 and met.refused > 0, "the race was not met: #{inspect(met)}"
  end

  defp swap(repo, current) do
    for name <- ["real", "fake"] do
      :ok = File.rename(Path.join(repo, name), current)
      :ok = File.rename(current, Path.join(repo, name))
    end

    swap(repo, current)
  end

  # Until both sides of the race were met often enough to have tried it.
  defp meet(_repo, _options, met, 0), do: met
  defp meet(_repo, _options, %{opened: o, refused: r} = met, _left) when o > 50 and r > 50, do: met

  defp meet(repo, options, met, left) do
    result = Git.read(repo, "current/app.yaml", options)
    refute match?({:ok, @outside}, result)
    refute match?({:ok, ["app.yaml" | _]}, Git.files(repo, "fake", options))

    met =
      case result do
        {:ok, @inside} -> Map.update!(met, :opened, &(&1 + 1))
        {:error, %Error{reason: :unsafe_path}} -> Map.update!(met, :refused, &(&1 + 1))
        {:error, %Error{reason: :path_not_found}} -> met
      end

    meet(repo, options, met, left - 1)
  end

  describe "any tree and any path" do
    # Names that meet each other often. Links point at paths made of them.
    @names [".", "..", ".git", ".Git", "config", "a", "b", "x y", "ü", "k.yaml", "l.yml", ".h.yaml"]
    @rounds 60
    @asked 60

    test "open what a model of the tree says, and nothing else", context do
      %{repo: repo, directory: directory, options: options} = context
      seed = ExUnit.configuration()[:seed]
      :rand.seed(:exsss, {seed, 8, 0})

      for name <- ["a", "b", "config", "k.yaml"],
          do: File.write(Path.join(directory, name), @outside)

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
      {{:ok, %{} = directory}, {:ok, names}} ->
        expected =
          for {name, _node} <- directory,
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

  defp make!(directory, tree) do
    for {name, node} <- tree do
      path = Path.join(directory, name)

      case node do
        {:file, content} ->
          File.write!(path, content)

        {:link, target} ->
          link!(target, path)

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
