defmodule Alumiini.Git.BranchNamesTest do
  # Names of branches are bytes to Git, and here.
  use Alumiini.Git.Test.GitCase, async: true

  alias Alumiini.Git.{Auth, OneLine}
  alias Alumiini.Git.Test.{RawWorker, Remotes, SshKeys, SshServer}

  # In Latin-1, in a directory of the same kind.
  @latin <<"caf", 0xE9, "/cr", 0xE8, "me">>
  @other <<"caf", 0xE9, "/th", 0xE9>>

  setup [:dir, :origin, :commits, :git]

  defp commits(%{origin: origin}) do
    Repository.history!(origin, 3)

    commit =
      Repository.commit!(origin, %{"latin.yaml" => "l: 1\n"}, branch: "latin", from: "main~1")

    # Where file systems take no such name, packed-refs does.
    refs = for name <- [@latin, @other], do: [commit, " refs/heads/", name, "\n"]
    File.write!(Path.join(origin, "packed-refs"), refs)
    %{commit: commit}
  end

  defp remote(:ssh, context) do
    key = SshKeys.generate!(context.dir, :ed25519)
    server = start_supervised!({SshServer, dir: context.dir, authorized: [key]})

    {SshServer.url(server, context.origin),
     [auth: Auth.ssh_key(key.private, known_hosts: SshServer.known_hosts(server))]}
  end

  defp remote(kind, context), do: {Remotes.serve!(kind, context.dir).url.("origin.git"), []}

  # As `git` on the synced repository has them.
  defp heads(path) do
    ["for-each-ref", "--format=%(HEAD)%(refname) %(objectname)", "refs/heads", "refs/remotes"]
    |> GitCommand.run!(cd: path)
    |> String.split("\n", trim: true)
  end

  # File systems of macOS take UTF-8 only, as a clone by `git` shows there.
  if :os.type() != {:unix, :darwin} do
    for kind <- [:v2, :v0, :ssh, :file] do
      test "that are not UTF-8, over #{kind}", context do
        %{commit: commit, git: git, origin: origin} = context
        {url, options} = remote(unquote(kind), context)
        options = [server: git] ++ options
        path = Path.join(context.dir, "work")

        assert Git.ls_remote(url, @latin, options) == {:ok, commit}
        assert Git.ls_remote(url, {:branch, @other}, options) == {:ok, commit}
        # What the bytes look like is another name.
        lossy = "caf\u{FFFD}/cr\u{FFFD}me"
        assert {:error, %Error{reason: :ref_not_found}} = Git.ls_remote(url, lossy, options)

        assert {:ok, [%{name: "refs/heads/" <> @latin, sha: ^commit}]} =
                 Git.refs(url, [prefix: "refs/heads/" <> @latin] ++ options)

        for ref <- [@latin, {:branch, @latin}], depth <- [1, :infinity] do
          assert Git.sync(url, ref, path, [depth: depth] ++ options) == {:ok, commit}
          Oracle.assert_synced(path, origin, commit)

          assert heads(path) == [
                   "*refs/heads/#{@latin} #{commit}",
                   " refs/remotes/origin/#{@latin} #{commit}"
                 ]

          assert {:ok, %{branch: @latin, sha: ^commit}} = Git.head(path, server: git)
        end

        assert {:error, %Error{reason: :ref_not_found}} = Git.checkout(path, @other, server: git)
        assert Git.checkout(path, @latin <> "^{commit}", server: git) == {:ok, commit}
        assert {:ok, %{branch: nil}} = Git.head(path, server: git)
        # To another branch, to a name that is in the way of both, and back: what was there goes.
        assert {:ok, main} = Git.sync(url, "main", path, options)
        assert heads(path) == ["*refs/heads/main #{main}", " refs/remotes/origin/main #{main}"]
        assert Git.sync(url, @other, path, options) == {:ok, commit}
        assert Git.sync(url, @latin, path, options) == {:ok, commit}

        assert heads(path) == [
                 "*refs/heads/#{@latin} #{commit}",
                 " refs/remotes/origin/#{@latin} #{commit}"
               ]

        Oracle.assert_synced(path, origin, commit)

        # One that is not there is named as it was asked for, and so is what is near.
        absent = @latin <> "s"

        assert {:error, %Error{reason: :ref_not_found} = error} =
                 Git.sync(url, absent, path, options)

        assert {error.detail.ref, hd(error.detail.near)} == {absent, @latin}
        assert String.valid?(error.message) and error.message =~ ~S(caf\xe9/cr\xe8mes)
      end
    end

    test "that are not UTF-8, in a repository of somebody's own", context do
      %{origin: origin, commit: commit, git: git} = context
      path = Path.join(context.dir, "own")
      GitCommand.run!(["clone", "-q", "file://" <> origin, path])
      assert Git.sync("file://" <> origin, @latin, path, server: git) == {:ok, commit}
      assert "*refs/heads/#{@latin} #{commit}" in heads(path)
      assert GitCommand.run!(["status", "--porcelain"], cd: path) == ""

      assert GitCommand.run!(["reflog", "-1", "--format=%gs", "HEAD"], cd: path) =~
               "checkout: moving from main"

      Oracle.fsck!(path)
    end

    test "that are not UTF-8, when the worker is killed in the middle", context do
      url = "file://" <> context.origin

      for phase <- ["marker", "refs", "checkout", "unmark"] do
        path = Path.join(context.dir, phase)
        request = %{"op" => "sync", "url" => url, "branch" => @latin, "path" => path}

        RawWorker.with_worker(fn worker ->
          fault = %{"at" => phase, "do" => "kill"}
          assert {:ok, _} = RawWorker.call(worker, %{request | "branch" => "main"})
          assert RawWorker.call(worker, Map.put(request, "fault", fault)) == {:exited, 137}
        end)

        RawWorker.with_worker(fn worker ->
          assert {:ok, _} = RawWorker.call(worker, %{"op" => "head", "path" => path})
          assert RawWorker.call(worker, request) == {:ok, context.commit}
        end)

        Oracle.assert_synced(path, context.origin, context.commit)
      end
    end
  end

  test "are refused where git refuses them", context do
    url = "file://" <> context.origin

    for name <- [
          <<0xE9, " x">>,
          <<0xE9, ".lock">>,
          <<0xE9, "..x">>,
          <<"/", 0xE9>>,
          <<0xE9, "~1">>,
          <<0xE9, 7>>
        ] do
      {_, status} = GitCommand.run(["check-ref-format", "refs/heads/" <> name])
      assert status == 1
      path = Path.join(context.dir, "none")

      assert {:error, %Error{reason: :invalid} = error} =
               Git.sync(url, name, path, server: context.git)

      assert {error.detail.ref, String.valid?(error.message)} == {OneLine.escape(name), true}
    end
  end
end
