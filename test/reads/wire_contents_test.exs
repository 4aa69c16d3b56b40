defmodule Alumiini.Git.ReadsWireContentsTest do
  # What `snapshot/3` sends and makes of pages, and what telemetry tells of reads.
  use Alumiini.Git.Test.AnsweringCase, async: true

  alias Alumiini.Git.Snapshot

  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
  @oid "00000000000000000000000000000000000000ff"

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
