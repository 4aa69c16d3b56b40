defmodule Alumiini.Git.ReadsWireTest do
  # What the calls that read a repository send, and what they make of an answer. The other tests of
  # this directory have a real worker.
  use Alumiini.Git.Test.AnsweringCase, async: true

  alias Alumiini.Git.{Change, Commit, Export, Status}

  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
  @oid "00000000000000000000000000000000000000ff"

  describe "files/3 and read/3" do
    test "send what they did, without the new options", context do
      {server, sent} = answering!(context, [[], "abc"])
      assert Git.files("/x", server: server) == {:ok, []}
      assert Git.read("/x", "f", server: server) == {:ok, "abc"}
      assert [files, read] = sent.()
      assert Enum.sort(Map.keys(files)) == ~w(id op path timeout)
      assert Enum.sort(Map.keys(read)) == ~w(file id op path raw timeout)
    end

    test "send the new options", context do
      {server, sent} = answering!(context, [["a/b.json"], "abc"])

      assert {:ok, ["a/b.json"]} =
               Git.files("/x", "a",
                 server: server,
                 at: "main",
                 recursive: true,
                 match: "*.json",
                 ignore: "/c/"
               )

      assert Git.read("/x", "f", server: server, at: @sha) == {:ok, "abc"}

      assert [
               %{
                 "op" => "files",
                 "subpath" => "a",
                 "at" => "main",
                 "recursive" => true,
                 "match" => ["*.json"],
                 "ignore" => ["/c/"]
               },
               %{"op" => "read", "file" => "f", "at" => @sha}
             ] = sent.()
    end

    test "refuse what is none of their options, in the caller" do
      assert_refused([
        {fn -> Git.files("/x", at: nil) end, ~r/:at must be a revision/},
        {fn -> Git.files("/x", recursive: 1) end, ~r/:recursive must be true or false/},
        {fn -> Git.files("/x", known: []) end, ~r/unknown option :known/},
        {fn -> Git.read("/x", "f", at: 1) end, ~r/:at must be a revision/},
        {fn -> Git.read("/x", "f", match: "*") end, ~r/unknown option :match/}
      ])
    end
  end

  describe "diff/4" do
    test "sends what was asked for", context do
      {server, sent} = answering!(context, [[], []])
      assert Git.diff("/x", "a", "b", server: server) == {:ok, []}
      options = [paths: "deploy", match: "*.yaml", ignore: ["/a"], renames: true]
      assert Git.diff("/x", "a", "b", [server: server] ++ options) == {:ok, []}
      assert [first, second] = sent.()
      assert Enum.sort(Map.keys(first)) == ~w(from id op path timeout to)
      assert %{"op" => "diff", "path" => "/x", "from" => "a", "to" => "b"} = first
      assert %{"paths" => ["deploy"], "match" => ["*.yaml"], "ignore" => ["/a"]} = second
      assert %{"renames" => true} = second
    end

    test "tells all that the wire has of a change, of all pages", context do
      renamed = %{
        "status" => "renamed",
        "path" => Msgpax.Bin.new(<<255>>),
        "old_path" => "a",
        "mode" => 0o100755,
        "old_mode" => 0o100644,
        "oid" => @oid,
        "old_oid" => @sha,
        "score" => 97
      }

      added = %{"status" => "added", "path" => "b", "mode" => 0o100644, "oid" => @oid}
      next = %{"from" => @sha}

      {server, sent} =
        answering!(context, [
          {[renamed], next},
          [
            added,
            %{"status" => "deleted", "path" => "c", "old_mode" => 0o120000, "old_oid" => @oid},
            %{"status" => "modified", "path" => "d"},
            %{"status" => "type_changed", "path" => "e"}
          ]
        ])

      assert Git.diff("/x", "a", "b", server: server) ==
               {:ok,
                [
                  %Change{
                    status: :renamed,
                    path: <<255>>,
                    old_path: "a",
                    mode: 0o100755,
                    old_mode: 0o100644,
                    oid: @oid,
                    old_oid: @sha,
                    score: 97
                  },
                  %Change{status: :added, path: "b", mode: 0o100644, oid: @oid},
                  %Change{status: :deleted, path: "c", old_mode: 0o120000, old_oid: @oid},
                  %Change{status: :modified, path: "d"},
                  %Change{status: :type_changed, path: "e"}
                ]}

      assert [_first, %{"from" => "a", "to" => "b", "after" => ^next}] = sent.()
    end

    test "does not take an answer of another form for one", context do
      wrong = [%{"status" => "copied", "path" => "a"}, %{"status" => "added"}]

      for answer <- [%{}, nil | Enum.map(wrong, &[&1])] do
        {server, _sent} = answering!(context, [answer])

        assert {^answer, {:error, %Error{reason: :internal, op: :diff}}} =
                 {answer, Git.diff("/x", "a", "b", server: server)}
      end
    end

    test "refuses what is none of its arguments, in the caller" do
      assert_refused([
        {fn -> Git.diff("/x", nil, "b") end, ~r/the revision to compare must be/},
        {fn -> Git.diff("/x", "a", :b) end, ~r/the revision to compare with must be/},
        {fn -> Git.diff("/x", "a", "b", paths: [1]) end,
         ~r/:paths must be a path in the repository/},
        {fn -> Git.diff("/x", "a", "b", renames: 50) end, ~r/:renames must be true or false/},
        {fn -> Git.diff("/x", "a", "b", at: "c") end, ~r/unknown option :at .*:paths/}
      ])
    end
  end

  describe "log/2" do
    defp wire_commit(sha, message) do
      %{
        "sha" => sha,
        "tree" => @oid,
        "parents" => [@oid],
        "author" => Msgpax.Bin.new("A"),
        "email" => "a@x",
        "timestamp" => 1,
        "offset" => 60,
        "committer" => "C",
        "committer_email" => "c@x",
        "committed_at" => nil,
        "committed_offset" => nil,
        "message" => message
      }
    end

    test "sends what was asked for", context do
      {server, sent} = answering!(context, [[], []])
      assert Git.log("/x", server: server) == {:ok, []}
      options = [from: "v1.0.0", limit: 3, path: "deploy/app.yaml"]
      assert Git.log("/x", [server: server] ++ options) == {:ok, []}
      assert [first, second] = sent.()
      assert Enum.sort(Map.keys(first)) == ~w(id op path timeout)
      assert %{"from" => "v1.0.0", "limit" => 3, "file" => "deploy/app.yaml"} = second
    end

    test "makes one list of pages, in copies", context do
      long = String.duplicate("Change\n", 100)
      next = %{"left" => 1}
      pages = [{[wire_commit(@sha, long)], next}, [wire_commit(@oid, "First")]]
      {server, sent} = answering!(context, pages)
      assert {:ok, commits} = Git.log("/x", server: server)

      assert [
               %Commit{sha: @sha, tree: @oid, parents: [@oid], author: "A", message: ^long},
               %Commit{sha: @oid, message: "First", timestamp: 1, committed_at: nil, branch: nil}
             ] = commits

      assert :binary.referenced_byte_size(hd(commits).message) == byte_size(long)
      assert [_first, %{"op" => "log", "after" => ^next}] = sent.()
    end

    test "does not take an answer of another form for one", context do
      for answer <- [%{}, [%{"sha" => @sha}], [1]] do
        {server, _sent} = answering!(context, [answer])

        assert {^answer, {:error, %Error{reason: :internal, op: :log}}} =
                 {answer, Git.log("/x", server: server)}
      end
    end

    test "refuses what is none of its options, in the caller" do
      assert_refused([
        {fn -> Git.log("/x", from: :head) end, ~r/:from must be a revision/},
        {fn -> Git.log("/x", limit: 0) end, ~r/:limit must be a positive integer/},
        {fn -> Git.log("/x", limit: :infinity) end, ~r/:limit must be a positive integer/},
        {fn -> Git.log("/x", path: nil) end, ~r/:path must be a path in the repository/},
        {fn -> Git.log("/x", file: "a") end, ~r/unknown option :file .*:path/}
      ])
    end
  end

  describe "export/3" do
    test "sends what was asked for, and tells what was written", context do
      wire = %{"commit" => @sha, "digest" => "sha256:ab", "files" => 2, "bytes" => 70, "later" => 1}
      {server, sent} = answering!(context, [wire, wire])
      export = %Export{commit: @sha, digest: "sha256:ab", files: 2, bytes: 70}
      assert Git.export("/x", "/dest", server: server) == {:ok, export}

      assert {:ok, ^export} =
               Git.export("/x", "dest",
                 server: server,
                 at: "main",
                 subpath: "chart",
                 match: "*.yaml",
                 ignore: ["*.md"],
                 format: :tar_gz,
                 link: true,
                 grace: 0,
                 max_bytes: 1_000_000_000_000
               )

      assert [first, second] = sent.()
      assert Enum.sort(Map.keys(first)) == ~w(dest id op path timeout)
      assert %{"op" => "export", "path" => "/x", "dest" => "/dest"} = first
      dest = Path.expand("dest")

      assert %{
               "dest" => ^dest,
               "at" => "main",
               "subpath" => "chart",
               "match" => ["*.yaml"],
               "ignore" => ["*.md"],
               "format" => "tar_gz",
               "link" => true,
               "grace" => 0,
               "max_bytes" => 1_000_000_000_000
             } = second
    end

    test "does not take an answer of another form for one", context do
      for answer <- [%{}, %{"commit" => @sha, "digest" => "x", "files" => "2", "bytes" => 1}, []] do
        {server, _sent} = answering!(context, [answer])

        assert {^answer, {:error, %Error{reason: :internal, op: :export}}} =
                 {answer, Git.export("/x", "/dest", server: server)}
      end
    end

    test "refuses what is none of its arguments, in the caller" do
      assert_refused([
        {fn -> Git.export("/x", "") end, ~r/the destination must be a string/},
        {fn -> Git.export("/x", ~c"/dest") end, ~r/the destination must be a string/},
        {fn -> Git.export("/x", "/dest", format: :zip) end, ~r/:format must be :directory or/},
        {fn -> Git.export("/x", "/dest", link: 1) end, ~r/:link must be true or false/},
        {fn -> Git.export("/x", "/dest", grace: -1) end, ~r/:grace must be a number of millis/},
        {fn -> Git.export("/x", "/dest", subpath: :a) end, ~r/:subpath must be a path/},
        {fn -> Git.export("/x", "/dest", known: []) end, ~r/unknown option :known .*:format/}
      ])
    end
  end

  describe "status/2" do
    test "tells all that the wire has, of all pages", context do
      next = %{"path" => "b"}

      page =
        for status <- ~w(modified deleted untracked),
            do: %{"status" => status, "path" => Msgpax.Bin.new(<<255>>)}

      last = [%{"status" => "type_changed", "path" => "b"}]
      {server, sent} = answering!(context, [{page, next}, last])
      assert {:ok, drift} = Git.status("/x", server: server)

      assert drift ==
               for(
                 status <- ~w(modified deleted untracked)a,
                 do: %Status{status: status, path: <<255>>}
               ) ++ [%Status{status: :type_changed, path: "b"}]

      assert [first, %{"op" => "status", "path" => "/x", "after" => ^next}] = sent.()
      assert Enum.sort(Map.keys(first)) == ~w(id op path timeout)
    end

    test "does not take an answer of another form for one", context do
      for answer <- [%{}, [%{"status" => "ignored", "path" => "a"}], [%{"status" => "deleted"}]] do
        {server, _sent} = answering!(context, [answer])

        assert {^answer, {:error, %Error{reason: :internal, op: :status}}} =
                 {answer, Git.status("/x", server: server)}
      end

      assert_raise ArgumentError, ~r/unknown option :match/, fn -> Git.status("/x", match: "a") end
    end
  end
end
