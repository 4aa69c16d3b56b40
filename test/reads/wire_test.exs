defmodule Alumiini.Git.ReadsWireTest do
  # What the calls that read a repository send, and what they make of an answer; workers follow a
  # script. The other tests of this directory have the real one.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Change, Commit, Error, Export, Lease, Snapshot, Status}
  alias Alumiini.Git.Test.ScriptedWorker

  @moduletag :tmp_dir

  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
  @oid "00000000000000000000000000000000000000ff"

  # A server whose worker answers a request with each of these, and what it was asked.
  defp answering!(%{tmp_dir: directory}, answers) do
    out = Path.join(directory, "frames-#{System.unique_integer([:positive])}")
    take = [:read, {:shell, ~s(echo $frame >> "#{out}")}]
    script = Enum.flat_map(answers, &(take ++ [answer(&1)]))
    binary = ScriptedWorker.write!(directory, [ScriptedWorker.hello() ++ script ++ [:serve]])
    server = start_supervised!({Git, name: nil, binary: binary}, id: out)

    {server,
     fn ->
       for line <- out |> File.read!() |> String.split("\n", trim: true),
           do: line |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
     end}
  end

  defp answer({ok, next}), do: {:reply, %{"id" => :last, "ok" => ok, "next" => next}}
  defp answer(:none), do: :hang
  defp answer(ok), do: {:answer, ok}

  defp assert_refused(calls) do
    for {call, message} <- calls, do: assert_raise(ArgumentError, message, call)
  end

  describe "snapshot/3" do
    defp wire_snapshot(files), do: %{"commit" => @sha, "tree" => @oid, "files" => files}

    defp wire_file(path, fields),
      do: Map.merge(%{"path" => path, "oid" => @oid, "mode" => 0o100644, "size" => 3}, fields)

    test "sends what was asked for, and nothing else", context do
      {server, sent} = answering!(context, [wire_snapshot([])])

      assert Git.snapshot("/x", server: server) ==
               {:ok, %Snapshot{commit: @sha, tree: @oid, files: []}}

      assert [%{"op" => "snapshot", "path" => "/x"} = frame] = sent.()
      assert Enum.sort(Map.keys(frame)) == ~w(id op path timeout)
    end

    test "sends every option", context do
      {server, sent} = answering!(context, List.duplicate(wire_snapshot([]), 2))

      assert {:ok, _snapshot} =
               Git.snapshot("/x", "deploy",
                 server: server,
                 at: "v1.0.0",
                 match: "*.yaml",
                 ignore: "# a comment\r\n\r\n/docs/\n*.md\n",
                 known: [String.upcase(@oid), @sha, @sha],
                 content: false,
                 max_bytes: 1_000_000_000,
                 max_files: 7
               )

      options = [match: ["*.yaml", "!a.yaml"], ignore: ["/docs/"], known: MapSet.new([@oid])]
      assert {:ok, _snapshot} = Git.snapshot("/x", nil, [server: server] ++ options)
      [first, second] = sent.()

      assert %{
               "subpath" => "deploy",
               "at" => "v1.0.0",
               "match" => ["*.yaml"],
               "ignore" => ["/docs/", "*.md"],
               "known" => [<<0::152, 255>>, known],
               "content" => false,
               "max_bytes" => 1_000_000_000,
               "max_files" => 7
             } = first

      assert Base.encode16(known, case: :lower) == @sha

      assert %{
               "match" => ["*.yaml", "!a.yaml"],
               "ignore" => ["/docs/"],
               "known" => [<<0::152, 255>>]
             } = second
    end

    test "tells all that the wire has of a file, in copies", context do
      large = String.duplicate("a: 1\n", 1_000)
      lfs = %{"oid" => String.duplicate("a", 64), "size" => 5_000_000_000}

      wire = [
        wire_file(Msgpax.Bin.new(<<"a", 255>>), %{"content" => large, "mode" => 0o100755}),
        wire_file("link", %{"content" => "a", "mode" => 0o120000}),
        wire_file("lfs", %{"content" => "version", "lfs" => lfs}),
        wire_file("module", %{"mode" => 0o160000, "size" => nil}),
        wire_file("known", %{"of a later version" => 1})
      ]

      {server, _sent} = answering!(context, [wire_snapshot(wire)])
      assert {:ok, %Snapshot{files: files}} = Git.snapshot("/x", server: server)
      file = %Snapshot.File{path: "", oid: @oid, mode: 0o100644, size: 3}

      assert files == [
               %{file | path: <<"a", 255>>, content: large, mode: 0o100755},
               %{file | path: "link", content: "a", mode: 0o120000},
               %{
                 file
                 | path: "lfs",
                   content: "version",
                   lfs: %{oid: String.duplicate("a", 64), size: 5_000_000_000}
               },
               %{file | path: "module", mode: 0o160000, size: nil},
               %{file | path: "known"}
             ]

      assert :binary.referenced_byte_size(hd(files).content) == byte_size(large)
    end

    test "makes one answer of pages, all of the first one's commit", context do
      next = %{"path" => "b", "bytes" => 3}
      page = &wire_snapshot([wire_file(&1, %{"content" => "abc"})])
      {server, sent} = answering!(context, [{page.("a"), next}, {page.("b"), next}, page.("c")])
      options = [server: server, at: "main", known: [@sha], timeout: 10_000]
      assert {:ok, %Snapshot{commit: @sha, files: files}} = Git.snapshot("/x", options)

      assert for(file <- files, do: {file.path, file.content}) ==
               for(p <- ~w(a b c), do: {p, "abc"})

      [first, second, third] = sent.()
      asked = ["id", "timeout", "at", "after"]
      assert Map.drop(first, asked) == Map.drop(second, asked)
      assert Map.drop(first, asked) == Map.drop(third, asked)
      refute Map.has_key?(first, "after")
      assert %{"at" => "main"} = first
      assert %{"at" => @sha, "after" => ^next} = second
      assert %{"at" => @sha, "after" => ^next} = third
      assert third["timeout"] <= second["timeout"]
    end

    test "has one deadline for all pages", context do
      {server, _sent} = answering!(context, [{wire_snapshot([]), %{"path" => "b"}}, :none])

      assert {:error, %Error{reason: :timeout, op: :snapshot} = error} =
               Git.snapshot("/x", server: server, timeout: 700)

      assert error.message =~ "within 700 ms"
    end

    test "leaves out the contents of known ids, also of those that no request has room for",
         context do
      oids = for n <- 1..45_001, do: n |> Integer.to_string(16) |> String.pad_leading(40, "0")
      last = oids |> List.last() |> String.downcase()
      wire = for oid <- [last, @sha], do: wire_file("a", %{"oid" => oid, "content" => "abc"})
      {server, sent} = answering!(context, [wire_snapshot(wire)])
      assert {:ok, snapshot} = Git.snapshot("/x", server: server, known: oids)

      assert [%{oid: ^last, content: nil}, %{oid: @sha, content: "abc"}] = snapshot.files
      assert [%{"known" => known}] = sent.()
      assert length(known) == 45_000
    end

    test "does not take an answer of another form for one", context do
      for answer <- [
            [],
            wire_snapshot([%{"path" => "a"}]),
            wire_snapshot(1),
            Map.delete(wire_snapshot([]), "tree"),
            {wire_snapshot([]), %{}},
            nil
          ] do
        {server, _sent} = answering!(context, [answer, "nothing"])
        result = Git.snapshot("/x", server: server)
        assert {^answer, {:error, %Error{reason: :internal, op: :snapshot}}} = {answer, result}
      end
    end

    test "refuses what is none of its options, in the caller" do
      assert_refused([
        {fn -> Git.snapshot("/x", :deploy) end, ~r/the subpath must be/},
        {fn -> Git.snapshot("/x", at: "") end, ~r/:at must be a revision/},
        {fn -> Git.snapshot("/x", at: {:tag, "v1"}) end, ~r/:at must be a revision/},
        {fn -> Git.snapshot("/x", match: [:yaml]) end, ~r/:match must be a pattern or a list/},
        {fn -> Git.snapshot("/x", ignore: ~r/x/) end, ~r/:ignore must be a pattern or a list/},
        {fn -> Git.snapshot("/x", known: [@sha, "abc"]) end, ~r/:known must be a list/},
        {fn -> Git.snapshot("/x", known: [String.duplicate("x", 40)]) end, ~r/:known must be/},
        {fn -> Git.snapshot("/x", known: %{@sha => true}) end, ~r/:known must be/},
        {fn -> Git.snapshot("/x", content: nil) end, ~r/:content must be true or false/},
        {fn -> Git.snapshot("/x", max_bytes: 4_294_967_297) end, ~r/:max_bytes must be/},
        {fn -> Git.snapshot("/x", max_files: 0) end, ~r/:max_files must be a positive integer/},
        {fn -> Git.snapshot("/x", recursive: true) end, ~r/unknown option :recursive .*:known/}
      ])
    end
  end

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

  describe "lease/3" do
    # A process that takes a lease and lives until it is told otherwise.
    defp owner!(server) do
      test = self()

      {:ok, owner} =
        Task.start(fn ->
          send(test, Git.lease("/x", @sha, server: server))
          receive do: (:end -> :ok)
        end)

      assert_receive {:ok, %Lease{} = lease}, 5_000
      {owner, lease}
    end

    defp ended!(keeper) do
      ref = Process.monitor(keeper)
      assert_receive {:DOWN, ^ref, :process, ^keeper, reason}, 5_000
      assert reason in [:normal, :noproc]
    end

    test "is taken, refreshed, and given back when its process ends", context do
      {server, sent} = answering!(context, [true, true, true])
      {owner, lease} = owner!(server)
      assert %Lease{path: "/x", sha: @sha, server: ^server, id: id, keeper: keeper} = lease
      assert id =~ ~r/^[0-9a-z-]{1,64}$/
      send(keeper, :refresh)
      send(owner, :end)
      ended!(keeper)
      assert [taken, refreshed, released] = sent.()
      assert %{"op" => "lease", "path" => "/x", "sha" => @sha, "lease" => ^id} = taken
      assert Enum.sort(Map.keys(taken)) == ~w(id lease op path sha timeout)
      assert Map.drop(taken, ["id", "timeout"]) == Map.drop(refreshed, ["id", "timeout"])
      assert %{"op" => "release", "path" => "/x", "lease" => ^id} = released
      assert Enum.sort(Map.keys(released)) == ~w(id lease op path timeout)
    end

    test "ends with release/2, and again is fine", context do
      {server, sent} = answering!(context, [true, true, true])
      {:ok, lease} = Git.lease("/x", @sha, server: server)
      assert Git.release(lease) == :ok
      ended!(lease.keeper)
      assert Git.release(lease) == :ok
      assert [_taken, released, again] = sent.()
      assert Map.drop(released, ["id", "timeout"]) == Map.drop(again, ["id", "timeout"])
      refute_received _nothing
    end

    test "is kept where the release fails", context do
      {server, sent} = answering!(context, [true, "no", true])
      {:ok, lease} = Git.lease("/x", @sha, server: server)
      assert {:error, %Error{reason: :internal, op: :release}} = Git.release(lease)
      assert Git.release(lease) == :ok
      assert length(sent.()) == 3
    end

    test "is no lease where the worker refuses", context do
      {server, _sent} = answering!(context, [false])
      assert {:error, %Error{reason: :internal, op: :lease}} = Git.lease("/x", @sha, server: server)
      refute_received _nothing
    end

    test "that its caller did not live to see is given back", context do
      told = pipe!(context, "told")
      go = pipe!(context, "go")
      tell = [:read, {:shell, ~s(echo $frame > "#{told}")}]
      wait = [{:shell, ~s(cat "#{go}" > /dev/null)}, {:answer, true}]
      script = ScriptedWorker.hello() ++ tell ++ wait ++ tell ++ [{:answer, true}, :serve]
      binary = ScriptedWorker.write!(context.tmp_dir, [script])
      server = start_supervised!({Git, name: nil, binary: binary})
      {caller, ref} = spawn_monitor(fn -> Git.lease("/x", @sha, server: server) end)
      assert %{"op" => "lease", "lease" => id} = told!(told)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^ref, :process, ^caller, :killed}, 5_000
      File.write!(go, "go")
      assert %{"op" => "release", "lease" => ^id} = told!(told)
    end

    defp pipe!(%{tmp_dir: directory}, name) do
      path = Path.join(directory, name)
      {_, 0} = System.cmd("mkfifo", [path])
      path
    end

    # Waits until the worker has taken a frame.
    defp told!(pipe) do
      {line, 0} = System.cmd("cat", [pipe])
      line |> String.trim() |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
    end

    test "outlives a server that is restarted under its name", context do
      %{tmp_dir: directory} = context
      out = Path.join(directory, "frames")
      take = [:read, {:shell, ~s(echo $frame >> "#{out}")}, {:answer, true}]
      script = ScriptedWorker.hello() ++ take ++ take ++ [:serve]
      binary = ScriptedWorker.write!(directory, [script])
      name = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
      start_supervised!({Git, name: name, binary: binary})
      {owner, lease} = owner!(name)
      stop_supervised!(name)
      start_supervised!({Git, name: name, binary: binary})
      send(lease.keeper, :refresh)
      send(owner, :end)
      ended!(lease.keeper)

      assert ["lease", "lease", "release"] =
               for(
                 line <- out |> File.read!() |> String.split("\n", trim: true),
                 do: (line |> Base.decode16!(case: :lower) |> Msgpax.unpack!())["op"]
               )
    end

    test "of a server without a name ends with it", context do
      {server, _sent} = answering!(context, [true])
      {_owner, lease} = owner!(server)
      GenServer.stop(server)
      ended!(lease.keeper)
      assert {:error, %Error{reason: :worker_unavailable, op: :release}} = Git.release(lease)
    end

    test "refuses what is none of its arguments, in the caller" do
      assert_refused([
        {fn -> Git.lease("/x", nil) end, ~r/the commit must be a string/},
        {fn -> Git.lease("/x", @sha, at: "a") end, ~r/unknown option :at/},
        {fn -> Git.release(@sha) end, ~r/the lease must be an Alumiini.Git.Lease/}
      ])

      assert {:error, %Error{reason: :worker_unavailable, op: :lease}} = Git.lease("/x", @sha)
    end
  end

  describe "telemetry" do
    test "tells the bytes of what was read, and of which commit", context do
      content = fn path, bytes -> wire_file(path, %{"content" => bytes}) end
      known = wire_file("c", %{})
      export = %{"commit" => @sha, "digest" => "sha256:ab", "files" => 2, "bytes" => 70}

      {server, _sent} =
        answering!(context, [
          {wire_snapshot([content.("a", "abc")]), %{}},
          wire_snapshot([content.("b", "abcd"), known]),
          export,
          [],
          []
        ])

      events = for op <- [:snapshot, :export, :diff, :log], do: [:alumiini_git, op, :stop]
      :ok = :telemetry.attach_many(server, events, &__MODULE__.tell/4, {self(), server})
      on_exit(fn -> :telemetry.detach(server) end)
      options = [server: server]
      assert {:ok, _snapshot} = Git.snapshot("/x", [at: "main"] ++ options)
      assert {:ok, _export} = Git.export("/x", "/dest", options)
      assert {:ok, []} = Git.diff("/x", "a", "b", options)
      assert {:ok, []} = Git.log("/x", [from: "v1"] ++ options)

      for told <- [
            {:snapshot, 7, "main", "/x", :ok},
            {:export, 70, nil, "/x", :ok},
            {:diff, 0, "b", "/x", :ok},
            {:log, 0, "v1", "/x", :ok}
          ],
          do: assert_received(^told)
    end
  end

  def tell(_event, %{bytes: bytes}, %{op: op, server: server} = metadata, {test, server}),
    do: send(test, {op, bytes, metadata.ref, metadata.path, metadata.result})

  def tell(_event, _measurements, _of_another_server, _config), do: :ok
end
