defmodule Alumiini.Git.RefusalsTest do
  # What is wrong with a path, a URL or a ref.
  use Alumiini.Git.Test.HttpCase, async: true

  import Alumiini.Git.Test.ErrorAssertions

  alias Alumiini.Git.Test.ScriptedTcp

  @moduletag files: %{"app.yaml" => "a\n", "deploy/x.yaml" => "x\n"}

  setup [:dir, :origin, :commit, :http, :git]

  # Both where there is nothing yet and where there is a clone already.
  defp assert_refused_everywhere(context, reason, words, call) do
    new = Path.join(context.dir, "new/and/below")
    refute File.exists?(Path.join(context.dir, "new"))
    assert_refused([Path.join(context.dir, "new")], reason, words, fn -> call.(new) end)

    unless File.exists?(context.path) do
      assert {:ok, _} = sync(context)
      # The second may still note how old files are.
      assert {:ok, _} = sync(context)
    end

    error = assert_refused([context.path], reason, words, fn -> call.(context.path) end)
    assert {:ok, _} = Git.read(context.path, "app.yaml", server: context.git)
    error
  end

  describe "a path" do
    test "that is a directory with something in it", context do
      for name <- ["file", ".hidden", "odd-\xff"] do
        path = Path.join(context.dir, "occupied")
        File.mkdir_p!(path)
        File.write!(path <> "/" <> name, "precious\n")
        words = [path, "no Git repository", "nothing there was touched", "empty"]

        error =
          assert_refused([path], :occupied, words, fn ->
            sync(context, path: path)
          end)

        assert error.detail.path == path
        TempDir.remove!(path)
      end
    end

    test "that is a directory with directories in it only", context do
      path = Path.join(context.dir, "occupied")
      File.mkdir_p!(Path.join(path, "some/directories"))
      assert_refused([path], :occupied, [path], fn -> sync(context, path: path) end)
    end

    test "whose .git is gone, so that nobody can say whose files these are", context do
      assert {:ok, _} = sync(context)
      TempDir.remove!(Path.join(context.path, ".git"))

      assert_refused([context.path], :occupied, [context.path], fn -> sync(context) end)
    end

    test "that is a file, or below one", context do
      file = Path.join(context.dir, "file")
      File.write!(file, "precious\n")

      for {path, reason} <- [{file, :occupied}, {Path.join(file, "below"), :io}] do
        assert_refused([file], reason, [file, ~r/directory/i], fn ->
          sync(context, path: path)
        end)
      end
    end

    test "that is a link to nowhere", context do
      link = Path.join(context.dir, "link")
      File.ln_s!("nowhere/at/all", link)
      assert_refused([link], :io, [link], fn -> sync(context, path: link) end)
    end

    test "that is no repository, for those who want one", context do
      plain = Path.join(context.dir, "plain")
      File.mkdir_p!(plain)
      File.write!(Path.join(plain, "app.yaml"), "a\n")
      absent = Path.join(context.dir, "absent")
      options = [server: context.git]

      for call <- [&Git.head(&1, options), &Git.checkout(&1, "main", options)] do
        assert_refused([plain], :not_a_repository, [plain, "sync"], fn -> call.(plain) end)
        assert_refused([absent], :path_not_found, [absent, "sync"], fn -> call.(absent) end)
      end
    end
  end

  describe "a URL" do
    test "of a scheme that is not spoken", context do
      for {url, words} <- [
            {"ftp://example.com/r.git", ["ftp"]},
            {"git://example.com/r.git", ["git"]},
            {"ext::sh -c touch% /tmp/x", []}
          ] do
        assert_refused_everywhere(context, :unsupported, words, &sync(context, url: url, path: &1))
      end
    end

    test "for SSH, which takes nobody without credentials", context do
      for url <- ["ssh://git@example.com/r.git", "git@example.com:team/r.git"] do
        assert_refused_everywhere(
          context,
          :auth,
          ["ssh_key", "ssh_agent"],
          &sync(context, url: url, path: &1)
        )
      end
    end

    test "that is none", context do
      for url <- [
            "https://",
            "https:///r.git",
            "http://host:99999/r.git",
            "https://exa mple.com/r.git"
          ] do
        assert_refused_everywhere(context, :invalid, ["URL"], &sync(context, url: url, path: &1))
      end
    end

    test "whose host does not resolve", context do
      # Reserved for this (RFC 2606): nobody's server ever answers for it.
      url = "https://git.alumiini.invalid/r.git"
      words = ["git.alumiini.invalid", "does not resolve", "check the URL and the DNS"]

      error =
        assert_refused_everywhere(context, :network, words, &sync(context, url: url, path: &1))

      assert error.detail.url == url
    end

    test "where connections are refused", context do
      {port, socket} = ScriptedTcp.refusing()

      for scheme <- ["http", "https"] do
        url = "#{scheme}://127.0.0.1:#{port}/r.git"
        words = ["127.0.0.1:#{port}", "the connection was refused", "check host and port"]
        assert_refused_everywhere(context, :network, words, &sync(context, url: url, path: &1))
      end

      :socket.close(socket)
    end

    test "of a directory that is no repository, or not there", context do
      plain = Path.join(context.dir, "plain")
      File.mkdir_p!(plain)

      for path <- [plain, Path.join(context.dir, "absent")], url <- [path, "file://" <> path] do
        assert_refused_everywhere(
          context,
          :repo_not_found,
          [path],
          &sync(context, url: url, path: &1)
        )
      end
    end

    test "of a repository with another kind of ids", context do
      sha256 = Repository.create!(context.dir, "sha256.git", object_format: "sha256")
      Repository.commit!(sha256, %{"app.yaml" => "a\n"})

      for url <- [HttpServer.url(context.http, "sha256.git"), "file://" <> sha256] do
        assert_refused_everywhere(
          context,
          :unsupported,
          [~r/sha-?256|object format/i],
          &sync(context, url: url, path: &1)
        )
      end
    end
  end

  for remote <- [:v2, :v0, :file] do
    describe "over #{remote}, a remote" do
      @describetag remote: remote

      setup context do
        if context.remote == :v0, do: HttpServer.rule(context.http, :no_v2)

        url =
          if context.remote == :file,
            do: &("file://" <> Path.join(context.dir, &1)),
            else: &HttpServer.url(context.http, &1)

        %{url_of: url}
      end

      test "that is empty", context do
        Repository.create!(context.dir, "empty.git")
        url = context.url_of.("empty.git")
        words = ["empty.git", "is empty", "push"]

        assert_refused_everywhere(
          context,
          :ref_not_found,
          words,
          &sync(context, url: url, path: &1)
        )
      end

      test "without that branch, and the near names", context do
        for branch <- ["release/1.0", "release/1.1", "staging", "feature/login"] do
          Repository.move_branch!(context.origin, branch, "main")
        end

        url = context.url_of.("origin.git")

        for {asked, near} <- [
              {"mian", ["main"]},
              {"master", ["main"]},
              {"Main", ["main"]},
              {"release/1.2", ["release/1.0", "release/1.1"]},
              {"login", ["feature/login"]}
            ] do
          words = ["`#{asked}`" | near]

          error =
            assert_refused_everywhere(
              context,
              :ref_not_found,
              words,
              &sync(context, url: url, ref: asked, path: &1)
            )

          assert Enum.all?(near, &(&1 in error.detail.near))
          assert error.detail.ref == asked
        end

        # Far from all of them: how many there are.
        error =
          assert_refused_everywhere(
            context,
            :ref_not_found,
            ["zzzzzzzz"],
            &sync(context, url: url, ref: "zzzzzzzz", path: &1)
          )

        assert error.message =~ "5"
      end

      test "that has a tag of that name only", context do
        Repository.tag!(context.origin, "v1", "main")
        url = context.url_of.("origin.git")

        assert_refused_everywhere(
          context,
          :ref_not_found,
          ["`v1`"],
          &sync(context, url: url, ref: "v1", path: &1)
        )
      end
    end
  end

  test "a branch name that none can have", context do
    for branch <- ["", "a b", "a..b", "a.lock", "/a", "a/", "a~1", "refs/heads/", "a\nb", "@{1}"] do
      assert_refused_everywhere(context, :invalid, [], &sync(context, ref: branch, path: &1))
    end
  end

  test "refs of all kinds that are not there", context do
    # A commit that is not there is in `AnyRefTest`: the history is looked through for it, and
    # stays.
    for {ref, says} <- [
          {{:tag, "v1"}, "v1"},
          {{:ref, "refs/pull/1/head"}, "refs/pull/1/head"},
          {{:semver, "~> 1.0"}, "~> 1.0"}
        ] do
      assert_refused_everywhere(
        context,
        :ref_not_found,
        [says],
        &sync(context, ref: ref, path: &1)
      )
    end
  end

  test "credentials over plain HTTP, which do not leave", context do
    url = HttpServer.url(context.http, "origin.git", {"user", "pa55word"})
    HttpServer.reset(context.http)
    new = Path.join(context.dir, "new")

    error =
      assert_refused([new], :invalid, ["http", "allow_insecure"], fn ->
        sync(context, url: url, path: new)
      end)

    refute inspect(error) =~ "pa55word"
    assert HttpServer.log(context.http) == []
    assert {:ok, _} = sync(context, url: url, path: new, allow_insecure: true)
  end

  test "someone's own repository with local changes", context do
    GitCommand.run!(["clone", "-q", context.url, context.path])
    File.write!(Path.join(context.path, "app.yaml"), "edited\n")
    words = [context.path, "local changes", "app.yaml", "commit", "force"]
    assert_refused([context.path], :dirty, words, fn -> sync(context) end)
    assert Directory.names(context.path) == [".git", "app.yaml", "deploy"]
  end
end
