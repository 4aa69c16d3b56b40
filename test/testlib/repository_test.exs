defmodule Alumiini.Git.Test.RepositoryFixtureTest do
  # Repositories that `Alumiini.Git.Test` makes without `git`, as `git` and a sync see them.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Test
  alias Alumiini.Git.Test.{Fixture, GitCommand, TempDir}

  setup do: %{dir: TempDir.create!("fixture")}

  defp git(repository, args), do: GitCommand.run!(["--git-dir", repository.path | args])
  defp lines(text), do: String.split(text, "\n", trim: true)

  @files %{
    "deploy/app.yaml" => "a: 1\n",
    "deploy.txt" => "sorts before deploy/\n",
    "deploy-a" => "so does this\n",
    "deploy/base/x" => <<0, 255, 10>>,
    "empty" => "",
    "bin/run" => {:executable, "#!/bin/sh\n"},
    "link" => {:symlink, "deploy/app.yaml"},
    "n\u00e4me" => "UTF-8"
  }

  test "git finds nothing wrong, and has what was put there", %{dir: dir} do
    repository =
      Test.repository(
        [
          @files,
          [
            files: %{"deploy/app.yaml" => "a: 2\n", "deploy-a" => :delete},
            message: "Scale up\n\nTwice.",
            author: "Ada",
            email: "ada@example.com",
            timestamp: 1_800_000_000,
            tag: ["v1.0.0", {"v1.0.1", "The first"}]
          ],
          [files: %{"deploy/x" => "x"}, branch: "feature/x"],
          [message: "Nothing"]
        ],
        path: Path.join(dir, "shop.git")
      )

    [first, second, third, fourth] = repository.commits
    assert git(repository, ["fsck", "--strict", "--full", "--no-dangling"]) == ""
    assert lines(git(repository, ["log", "--format=%H", "main"])) == [fourth, second, first]
    assert lines(git(repository, ["log", "--format=%H", "feature/x"])) == [third, second, first]
    assert git(repository, ["symbolic-ref", "HEAD"]) == "refs/heads/main\n"

    refs = for {name, oid} <- repository.refs, do: "#{oid} #{name}"
    assert Enum.sort(lines(git(repository, ["show-ref"]))) == Enum.sort(refs)
    assert git(repository, ["rev-parse", "v1.0.0", "v1.0.1^{}"]) == "#{second}\n#{second}\n"
    assert git(repository, ["cat-file", "-t", "v1.0.1"]) == "tag\n"

    assert git(repository, ["log", "-1", "--format=%an|%ae|%at|%ct|%B", second]) ==
             "Ada|ada@example.com|1800000000|1800000000|Scale up\n\nTwice.\n\n"

    modes =
      for line <-
            lines(git(repository, ["ls-tree", "-r", "-z", first]) |> String.replace("\0", "\n")),
          [mode, "blob", _oid, path] = String.split(line, [" ", "\t"], parts: 4),
          into: %{},
          do: {path, mode}

    assert Map.keys(modes) == Enum.sort(Map.keys(@files))
    assert {modes["bin/run"], modes["link"], modes["empty"]} == {"100755", "120000", "100644"}
    assert git(repository, ["show", "#{first}:deploy/base/x"]) == <<0, 255, 10>>
    assert git(repository, ["show", "#{second}:deploy/app.yaml"]) == "a: 2\n"

    assert git(repository, ["diff", "--name-status", first, second]) ==
             "D\tdeploy-a\nM\tdeploy/app.yaml\n"
  end

  test "a sync takes it, and what is committed later", %{dir: dir} do
    server = start_supervised!({Git, name: nil})
    path = Path.join(dir, "clone")
    repository = Test.repository([@files, [files: %{"b.yaml" => "b"}, tag: "v1.2.0"]])
    options = [server: server]

    assert Git.sync!(repository.url, "main", path, options) == List.last(repository.commits)
    assert Git.files!(path, "deploy", options) == ["app.yaml"]
    assert File.read_link!(Path.join(path, "link")) == "deploy/app.yaml"
    assert %{author: "Fixture Author", branch: "main"} = Git.head!(path, options)

    assert Git.ls_remote!(repository.url, {:semver, "~> 1.0"}, options) ==
             List.last(repository.commits)

    repository = Test.commit(repository, %{"b.yaml" => "c"})
    assert length(repository.commits) == 3
    assert Git.sync!(repository.url, "main", path, options) == List.last(repository.commits)
    assert Git.read!(path, "b.yaml", options) == "c"
    assert GitCommand.run!(["-C", path, "status", "--porcelain"]) == ""
  end

  test "a branch begins where it says, and ids are the same in each run" do
    make = fn ->
      repository = Test.repository(%{"a" => "1"}, branch: "trunk")
      repository = Test.commit(repository, %{"a" => "2"})
      [first, _second] = repository.commits
      Test.commit(repository, files: %{"b" => "1"}, branch: "old", from: first)
    end

    assert %Fixture{commits: commits, branch: "trunk"} = repository = make.()
    assert make.().commits == commits
    assert repository.path != make.().path
    [first, second, third] = commits
    assert lines(git(repository, ["log", "--format=%H", "old"])) == [third, first]
    assert repository.refs == %{"refs/heads/trunk" => second, "refs/heads/old" => third}
    assert git(repository, ["ls-tree", "--name-only", "old"]) == "a\nb\n"
  end

  test "without commits it is empty" do
    repository = Test.repository([])
    # Raises where git finds something.
    git(repository, ["fsck", "--strict"])
    assert {repository.commits, repository.refs} == {[], %{}}
  end

  test "a directory of its own is gone when its process is" do
    me = self()

    owner =
      spawn(fn -> send(me, Test.repository(%{"a" => "1"}).path) && receive(do: (:end -> :ok)) end)

    assert_receive path, 10_000
    assert File.dir?(path)

    [janitor] =
      for pid <- Process.list(),
          {:monitored_by, by} <- [Process.info(owner, :monitored_by)],
          pid in by,
          do: pid

    monitor = Process.monitor(janitor)
    send(owner, :end)
    assert_receive {:DOWN, ^monitor, :process, ^janitor, :normal}, 10_000
    refute File.exists?(path) or File.exists?(Path.dirname(path))
  end

  test "what Git does not take is refused", %{dir: dir} do
    File.write!(Path.join(dir, "file"), "")

    for path <- ["", "/a", "a/", "a//b", "../a", "a/..", ".", ".git/config", "a/.GIT", "a\0", 1],
        do: assert_raise(ArgumentError, fn -> Test.repository(%{path => "x"}) end)

    for {commit, words} <- [
          {%{"a" => 1}, "\"a\" must be a string, {:executable, string}"},
          {%{"a" => :delete}, "\"a\" is to be deleted, and is not there"},
          {%{"a" => "x", "a/b" => "y"}, "\"a\" is both a file and a directory"},
          {[files: [{"a", "x"}]], "must be a map of paths"},
          {[file: %{}], "unknown option :file"},
          {[author: "A <b>"], ":author must be a string"},
          {[message: 1], ":message must be a string"},
          {[timestamp: -1], ":timestamp must be"},
          {[branch: "a..b"], "must have a name that Git takes"},
          {[branch: ""], "must have a name that Git takes"},
          {[tag: "a b"], "the tag of a fixture"},
          {[tag: {"x.lock", "m"}], "the tag of a fixture"},
          {[from: "main"], "the id of a commit"}
        ] do
      error = assert_raise ArgumentError, fn -> Test.repository([commit]) end
      assert error.message =~ words
    end

    for options <- [[path: dir], [paths: dir], [path: 1], [branch: "-x"]],
        do: assert_raise(ArgumentError, fn -> Test.repository([], options) end)

    assert_raise ArgumentError, fn -> Test.repository("x") end
    assert_raise ArgumentError, fn -> Test.repository([1]) end
    assert_raise ArgumentError, fn -> Test.commit(%{}, %{}) end
  end
end
