defmodule Alumiini.Git.PathsTest do
  # What `files/3` and `read/3` can be made to open, through the public functions and the real
  # worker. What a commit can make a sync write is in hostile_commits_test.exs.
  use Alumiini.Git.Test.GitCase, async: true

  @outside "OUTSIDE"
  @inside "inside "

  @moduletag files: %{
               "deploy/app.yaml" => "app",
               "deploy/nested/deep.yaml" => "deep",
               "deploy/notes.txt" => "notes"
             }

  setup [:dir, :origin, :commit, :git, :trap]

  defp trap(%{dir: dir} = context) do
    assert {:ok, _sha} = sync(context)
    File.write!(Path.join(dir, "outside.yaml"), @outside)
    File.mkdir_p!(Path.join(dir, "trap"))
    File.write!(Path.join(dir, "trap/app.yaml"), @outside)
    %{options: [server: context.git]}
  end

  defp link!(target, link), do: :ok = File.ln_s(target, link)

  defp refused!({:error, %Error{reason: :unsafe_path, retryable?: false} = error}, op) do
    assert error.op == op
    assert Exception.message(error) =~ ~r/refused|NUL/
  end

  defp refused!(other, op), do: flunk("#{op} was not refused: #{inspect(other)}")

  test "`path` in a detail is the repository, and `file` what is meant there", %{
    path: repo,
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
    setup %{dir: dir, options: options} do
      origin = Repository.create!(dir, "tenant.git")

      Repository.commit!(origin, %{
        "app.yaml" => @inside,
        "base/app.yaml" => @inside,
        "deploy" => {:symlink, Path.join(dir, "trap")},
        "up" => {:symlink, "../trap"},
        "prod" => {:symlink, "base"}
      })

      repos =
        for {name, more} <- [tree: [], bare: [working_tree: false]] do
          repo = Path.join(dir, "tenant-#{name}")
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

      assert File.ls!(Path.join(context.dir, "trap")) == ["app.yaml"]
    end

    test "is not .git, nor made to be one", %{repos: repos, options: options} = context do
      for repo <- repos ++ [context.dir],
          below <- [".git", ".git/refs", ".GIT"],
          path = Path.join(repo, below) do
        refused!(Git.read(path, "config", options), :read)
        refused!(Git.files(path, nil, options), :files)
        refused!(Git.sync(context.tenant, "main", path, options), :sync)
      end

      refute File.exists?(Path.join(context.dir, ".git"))
    end

    test "may be any that belongs to no repository, and be led to by any link", context do
      %{dir: dir, repos: [repo, bare], options: options} = context
      assert Git.read(Path.join(dir, "trap"), "app.yaml", options) == {:ok, @outside}
      link!(repo, Path.join(dir, "current"))
      assert Git.read(Path.join(dir, "current"), "app.yaml", options) == {:ok, @inside}
      assert Git.read(Path.join(dir, "current/base"), "app.yaml", options) == {:ok, @inside}

      for each <- [repo, bare],
          do: assert({:ok, @inside} = Git.read(each <> "/base", "app.yaml", options))

      assert Git.read(repo <> "/prod", "app.yaml", options) == {:ok, @inside}
    end

    test "may begin with `..` from a current directory in a working tree",
         %{options: options} = context do
      relative = Path.join([".." |> List.duplicate(30) |> Path.join(), context.dir, "trap"])
      assert Git.read(relative, "app.yaml", options) == {:ok, @outside}
    end
  end

  describe "what a caller asks for" do
    test "is refused where it leads out of the repository or into .git", %{
      path: repo,
      options: options
    } do
      for path <- [
            "..",
            "../outside.yaml",
            "../clone/deploy/app.yaml",
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
      %{path: repo, dir: dir, options: options} = context

      for {target, name} <- [
            {"../outside.yaml", "out.yaml"},
            {Path.join(dir, "outside.yaml"), "absolute.yaml"},
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

      for {target, name} <- [{"..", "up"}, {"../trap", "trap"}, {".git", "git"}, {dir, "far"}] do
        link!(target, Path.join(repo, name))
        refused!(Git.files(repo, name, options), :files)
        refused!(Git.read(repo, name <> "/app.yaml", options), :read)
        refused!(Git.read(repo, name <> "/clone/deploy/app.yaml", options), :read)
      end

      # A link that may not be read is no file to list either.
      assert Git.files(repo, nil, options) == {:ok, []}
    end

    test "is answered where a link stays inside", %{path: repo, options: options} do
      link!("../app.yaml", Path.join(repo, "deploy/nested/up.yaml"))
      link!("deploy/nested", Path.join(repo, "short"))
      link!("short/up.yaml", Path.join(repo, "twice.yml"))
      assert Git.read(repo, "short/up.yaml", options) == {:ok, "app"}
      assert Git.read(repo, "twice.yml", options) == {:ok, "app"}
      assert Git.files(repo, "short", options) == {:ok, ["deep.yaml", "up.yaml"]}
      assert Git.files(repo, nil, options) == {:ok, ["twice.yml"]}
    end

    test "is not waited for where it is no file", %{path: repo, options: options} do
      {_, 0} = System.cmd("mkfifo", [Path.join(repo, "pipe.yaml")])
      link!("/dev/zero", Path.join(repo, "zero.yaml"))
      assert {:error, %Error{reason: :path_not_found}} = Git.read(repo, "pipe.yaml", options)
      refused!(Git.read(repo, "zero.yaml", options), :read)
      assert Git.files(repo, nil, options) == {:ok, []}
    end
  end

  # A name is a directory one moment and a link out of the repository the next.
  test "a link swapped in between is met, and never followed", %{path: repo, options: options} do
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
end
