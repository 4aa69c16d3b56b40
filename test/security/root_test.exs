defmodule Alumiini.Git.RootTest do
  # A server with a root works below it only, whatever a path is made of.
  use Alumiini.Git.Test.GitCase, async: true

  @moduletag files: %{"app.yaml" => "a: 1\n"}

  setup [:dir, :origin, :commit, :git, :rooted]

  # `git` has no root; what it has cloned lies elsewhere.
  defp rooted(%{dir: dir, commit: commit} = context) do
    root = Path.join(dir, "data")
    File.mkdir!(root)
    elsewhere = Path.join(dir, "elsewhere")
    assert {:ok, ^commit} = sync(context, path: elsewhere)
    rooted = start_supervised!({Git, name: nil, root: root}, id: :rooted)
    %{root: root, elsewhere: elsewhere, rooted: rooted}
  end

  defp all(context, path) do
    options = [server: context.rooted]

    [
      Git.sync(context.origin, "main", path, options),
      Git.read(path, "app.yaml", options),
      Git.files(path, nil, options),
      Git.head(path, options),
      Git.checkout(path, context.commit, options)
    ]
  end

  defp refused!(context, path) do
    before = Directory.contents(context.dir)

    for result <- all(context, path) do
      assert {:error, %Error{reason: :unsafe_path, retryable?: false} = error} = result
      assert error.message =~ ":root" and error.message =~ path
      assert error.detail.path == path
    end

    assert Directory.touched(before, Directory.contents(context.dir)) == []
  end

  test "what is below it works, and what is missing there is made", context do
    path = Path.join(context.root, "tenant/app")
    for result <- all(context, path), do: assert({:ok, _value} = result)
    # The worker has learned by now where reads need not wait.
    assert {:ok, "a: 1\n"} = Git.read(path, "app.yaml", server: context.rooted)
  end

  test "what is not below it is refused, by whatever name", context do
    File.mkdir!(context.root <> "-more")
    File.mkdir!(Path.join(context.root, "here"))

    for path <- [
          "/",
          context.dir,
          context.elsewhere,
          context.root <> "-more/x",
          Path.join(context.dir, "new/x")
        ] do
      refused!(context, path)
    end

    for path <- ["", "..", "../elsewhere", "here/../../elsewhere", "../data/a"] do
      refused!(context, Path.join([context.root, path]))
    end
  end

  test "a link that leads out of it is refused, and nothing is made behind it", context do
    File.ln_s!(context.elsewhere, Path.join(context.root, "out"))
    File.ln_s!("..", Path.join(context.root, "up"))

    for path <- ["out", "out/new", "up/elsewhere", "up/new/x", "up"],
        do: refused!(context, Path.join(context.root, path))
  end

  test "a root that is given by a link is where that leads, and links below it are followed",
       context do
    volume = Path.join(context.dir, "volume")
    File.ln_s!("data", volume)
    server = start_supervised!({Git, name: nil, root: volume}, id: :linked)
    File.mkdir!(Path.join(context.root, "real"))
    File.ln_s!("real", Path.join(context.root, "link"))
    File.ln_s!(Path.join(volume, "real"), Path.join(context.root, "named"))
    context = %{context | rooted: server}

    for base <- [volume, context.root], name <- ["real", "link", "named"] do
      for result <- all(context, Path.join([base, name, "app"])), do: assert({:ok, _value} = result)
    end

    assert File.read!(Path.join(context.root, "real/app/app.yaml")) == "a: 1\n"
  end

  test "a repository that the root lies in is not looked at", context do
    assert {:ok, _sha} =
             Git.sync(context.origin, "main", Path.join(context.dir, "outer"), server: context.git)

    root = Path.join(context.dir, "outer/inner")
    File.mkdir_p!(Path.join(root, "plain"))
    File.write!(Path.join(root, "plain/x.yaml"), "x")
    server = start_supervised!({Git, name: nil, root: root}, id: :inner)
    assert {:ok, ["x.yaml"]} = Git.files(Path.join(root, "plain"), nil, server: server)

    assert {:error, %Error{reason: :unsafe_path}} =
             Git.read(Path.join(root, "../"), "app.yaml", server: server)
  end

  test "a root that is not there is told", context do
    gone = Path.join(context.dir, "gone")
    server = start_supervised!({Git, name: nil, root: gone}, id: :gone)
    result = Git.sync(context.origin, "main", Path.join(gone, "a"), server: server)
    assert {:error, %Error{reason: :io, message: message}} = result
    assert message =~ gone and message =~ ":root"
    refute File.exists?(gone)
  end
end
