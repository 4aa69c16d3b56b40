defmodule Alumiini.Git.Sha256Test do
  # Repositories whose objects have SHA-256 ids: each function says that it does not know them, and
  # leaves them as they are. ARCHITECTURE.md has why, under "SHA-256 repositories".
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Test.HttpServer

  setup [:dir, :git, :key, :sha256, :sshd]

  defp sha256(context) do
    origin = Repository.create!(context.dir, "sha256.git", object_format: "sha256")
    commit = Repository.commit!(origin, %{"app.yaml" => "a\n"})
    work = Path.join(context.dir, "work")
    GitCommand.run!(["clone", "-q", origin, work])
    %{origin: origin, commit: commit, work: work}
  end

  defp assert_unsupported(calls) do
    for {name, call} <- calls do
      assert {^name, {:error, %Error{reason: :unsupported, retryable?: false} = error}} =
               {name, call.()}

      assert error.message =~ ~r/sha-?256/i, "#{name}: #{error.message}"
    end
  end

  for remote <- [:v2, :v0, :ssh, :file] do
    @tag remote: remote
    test "as a remote, by #{remote}", %{dir: dir, git: git} = context do
      {url, options} = remote(context)
      on = [server: git] ++ options
      path = Path.join(dir, "clone")

      assert_unsupported(
        sync: fn -> Git.sync(url, "main", path, on) end,
        bare: fn -> Git.sync(url, "main", path, [working_tree: false] ++ on) end,
        paths: fn -> Git.sync(url, "main", path, [paths: ["app.yaml"]] ++ on) end,
        update: fn -> Git.update(url, :default, path, on) end,
        ls_remote: fn -> Git.ls_remote(url, "main", on) end,
        refs: fn -> Git.refs(url, on) end
      )

      refute File.exists?(path)
    end
  end

  test "as a repository on the disk", %{work: work, git: git, commit: commit, dir: dir} do
    on = [server: git]
    before = GitCommand.run!(["status", "--porcelain=v2", "--branch"], cd: work)

    assert_unsupported(
      head: fn -> Git.head(work, on) end,
      log: fn -> Git.log(work, on) end,
      snapshot: fn -> Git.snapshot(work, nil, on) end,
      diff: fn -> Git.diff(work, "HEAD", "HEAD", on) end,
      status: fn -> Git.status(work, on) end,
      export: fn -> Git.export(work, Path.join(dir, "export"), on) end,
      checkout: fn -> Git.checkout(work, commit, on) end,
      read_at: fn -> Git.read(work, "app.yaml", [at: "HEAD"] ++ on) end,
      files_at: fn -> Git.files(work, nil, [at: "HEAD"] ++ on) end
    )

    # What lies in its working tree are files like any others.
    assert Git.read(work, "app.yaml", on) == {:ok, "a\n"}
    assert Git.files(work, nil, on) == {:ok, ["app.yaml"]}
    assert GitCommand.run!(["status", "--porcelain=v2", "--branch"], cd: work) == before
  end

  defp remote(%{remote: :file} = context), do: {"file://" <> context.origin, []}

  defp remote(%{remote: :ssh} = context) do
    {SshServer.url(context.sshd, context.origin), [auth: auth(context.sshd, context.key)]}
  end

  defp remote(context) do
    http = start_supervised!({HttpServer, root: context.dir})
    if context.remote == :v0, do: HttpServer.rule(http, :no_v2)
    {HttpServer.url(http, "sha256.git"), []}
  end
end
