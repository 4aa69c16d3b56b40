defmodule Alumiini.Git.SharedVolumeTest do
  # What somebody who can write into a directory that we sync can do there: hold nobody, and lead us
  # nowhere else.
  use Alumiini.Git.Test.GitCase, async: true

  @parts ~w(HEAD config index shallow packed-refs alumiini-checkout) ++
           ~w(refs/heads/main refs/heads refs objects/pack objects)

  @moduletag files: %{"deploy/app.yaml" => "app"}

  setup [:dir, :origin, :commit, :git, :options]

  defp options(context) do
    victim = Path.join(context.dir, "victim")
    File.mkdir_p!(Path.join(victim, "inner"))
    File.write!(Path.join(victim, "file"), "theirs")
    %{victim: victim, options: [server: context.git, timeout: 20_000]}
  end

  defp clone!(context, name, more \\ []) do
    path = Path.join(context.dir, name)
    assert {:ok, _sha} = Git.sync(context.origin, "main", path, more ++ context.options)
    path
  end

  defp own!(context, name) do
    path = Path.join(context.dir, name)
    GitCommand.run!(["clone", "--quiet", context.origin, path])
    path
  end

  defp replace!(path, fun) do
    File.rm_rf!(path)
    File.mkdir_p!(Path.dirname(path))
    fun.(path)
  end

  defp pipe!(path), do: {_, 0} = System.cmd("mkfifo", [path])

  defp all(path, context) do
    [
      Git.sync(context.origin, "main", path, context.options),
      Git.read(path, "deploy/app.yaml", context.options),
      Git.files(path, "deploy", context.options),
      Git.head(path, context.options),
      Git.checkout(path, context.commit, context.options)
    ]
  end

  defp victim(context) do
    for file <- Path.wildcard(context.victim <> "/**", match_dot: true), into: %{} do
      {file, File.lstat!(file)}
    end
  end

  for {whose, make} <- [ours: :clone!, owners: :own!] do
    test "a pipe in the place of a part of .git holds nobody (#{whose})", context do
      for {part, n} <- Enum.with_index(@parts) do
        path = unquote(make)(context, "repo-#{n}")
        replace!(Path.join([path, ".git", part]), &pipe!/1)
        answers = all(path, context)
        assert Enum.all?(answers, &(not match?({:error, %Error{reason: :timeout}}, &1))), part

        assert match?({:error, %Error{reason: :unsafe_path}}, hd(answers)),
               "#{part}: #{inspect(hd(answers))}"
      end

      # Nothing is held by what came before.
      other = clone!(context, "other")
      assert {:ok, "app"} = Git.read(other, "deploy/app.yaml", context.options)
    end

    test "a link in the place of a part of .git is not followed by a sync (#{whose})", context do
      before = victim(context)

      for {part, n} <- Enum.with_index(@parts -- ["HEAD"]), target <- ["", "/file"] do
        path = unquote(make)(context, "repo-#{n}-#{byte_size(target)}")
        replace!(Path.join([path, ".git", part]), &File.ln_s!(context.victim <> target, &1))
        Repository.commit!(context.origin, %{"deploy/more.yaml" => "#{n}#{target}"})
        result = Git.sync(context.origin, "main", path, context.options)
        assert {:error, %Error{reason: :unsafe_path, message: message}} = result, part
        assert message =~ Path.basename(part)
        assert victim(context) == before
      end
    end
  end

  test "a .git that is a link is not followed by a sync", context do
    path = clone!(context, "repo")
    elsewhere = Path.join(context.dir, "elsewhere")
    File.rename!(Path.join(path, ".git"), elsewhere)
    File.ln_s!(elsewhere, Path.join(path, ".git"))
    before = File.read!(Path.join(elsewhere, "refs/heads/main"))
    Repository.commit!(context.origin, %{"deploy/more.yaml" => "more"})

    assert {:error, %Error{reason: :unsafe_path}} =
             Git.sync(context.origin, "main", path, context.options)

    assert File.read!(Path.join(elsewhere, "refs/heads/main")) == before
  end

  test "what is written beside and renamed is not written through a link", context do
    path = clone!(context, "repo")
    Repository.commit!(context.origin, %{"deploy/more.yaml" => "more"})
    File.ln_s!(Path.join(context.victim, "file"), Path.join(path, ".git/alumiini-checkout.lock"))
    Git.sync(context.origin, "main", path, context.options)
    assert File.read!(Path.join(context.victim, "file")) == "theirs"
  end

  test "a file that is longer than any is not read, and ours is built anew", context do
    for {part, size} <- [
          {"index", 600},
          {"shallow", 70},
          {"packed-refs", 300},
          {"HEAD", 2},
          {"refs/heads/main", 2}
        ] do
      path = clone!(context, "long-#{Path.basename(part)}")
      sparse!(Path.join([path, ".git", part]), size)
      sha = Repository.commit!(context.origin, %{"deploy/more.yaml" => part})
      assert {part, Git.sync(context.origin, "main", path, context.options)} == {part, {:ok, sha}}
      assert {:ok, ^part} = Git.read(path, "deploy/more.yaml", context.options)
    end

    path = clone!(context, "long-config")
    sparse!(Path.join(path, ".git/config"), 2)

    assert {:error, %Error{reason: :corrupt}} =
             Git.sync(context.origin, "main", path, context.options)
  end

  defp sparse!(path, mib) do
    file = File.open!(path, [:read, :write])
    {:ok, _at} = :file.position(file, mib * 1_048_576)
    :ok = :file.truncate(file)
    :ok = File.close(file)
  end

  test "a path that is a pipe is no directory, and not waited for", context do
    path = Path.join(context.dir, "pipe")
    pipe!(path)

    assert {:error, %Error{reason: :occupied}} =
             Git.sync(context.origin, "main", path, context.options)

    for result <- tl(all(path, context)), do: assert({:error, %Error{}} = result)
  end

  test "another repository's objects are not ours by alternates or commondir", context do
    secret = Repository.create!(context.dir, "secret.git")
    Repository.commit!(secret, %{"secret.yaml" => "secret"})

    for {file, n} <- Enum.with_index(["objects/info/alternates", "commondir"]) do
      path = clone!(context, "repo-#{n}")
      target = if file == "commondir", do: secret, else: Path.join(secret, "objects")
      replace!(Path.join([path, ".git", file]), &File.write!(&1, target <> "\n"))

      assert {:error, %Error{reason: :unsafe_path}} =
               Git.sync(context.origin, "main", path, context.options)
    end
  end
end
