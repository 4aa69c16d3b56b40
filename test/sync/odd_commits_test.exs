defmodule Alumiini.Git.OddCommitsTest do
  # Commits that Git takes and libgit2 does not: older tools wrote them, and they are in the history
  # of well-known repositories.
  use Alumiini.Git.Test.HttpCase, async: true

  @moduletag timeout: 280_000

  @good "A U Thor <author@example.com> 1700000000 +0000"

  # What may stand behind `author `.
  @people [
    @good,
    "",
    "no mail",
    "no mail 1700000000 +0000",
    "empty <> 1700000000 +0000",
    "<only@mail> 1700000000 +0000",
    " <space@mail> 1700000000 +0000",
    "two <one@mail> <two@mail> 1700000000 +0000",
    "in <one <two@mail> 1700000000 +0000",
    "out <one@mail>two> 1700000000 +0000",
    "open <one@mail 1700000000 +0000",
    "\"quoted\" <quoted@mail> 1700000000 +0000",
    "P <p@example.com>1287367363 +0000",
    "P<p@example.com> 1287367363 +0000",
    "P  <p@example.com>  1287367363  +0000",
    "P <p@example.com> 18446744073709548016 +0000",
    "P <p@example.com> 9223372036854775807 +0000",
    "P <p@example.com> 9223372036854775808 +0000",
    "P <p@example.com> 99999999999999999999999999 +0000",
    "P <p@example.com> 0 +0000",
    "P <p@example.com> -1 +0000",
    "P <p@example.com> 1.5 +0000",
    "P <p@example.com> 0x10 +0000",
    "P <p@example.com> yesterday",
    "P <p@example.com> Thu Oct 1 2009",
    "P <p@example.com> 1700000000",
    "P <p@example.com> 1700000000 ",
    "P <p@example.com> 1700000000 UTC",
    "P <p@example.com> 1700000000 0130",
    "P <p@example.com> 1700000000 +0130",
    "P <p@example.com> 1700000000 -0130",
    "P <p@example.com> 1700000000 +051800",
    "P <p@example.com> 1700000000 +1",
    "P <p@example.com> 1700000000 --100",
    "P <p@example.com> 1700000000 +99999999999",
    "P <p@example.com> 1700000000 +0130 and more",
    "P <p@example.com>",
    "P <p@example.com> ",
    "P\tTab <p@example.com>\t1700000000\t+0000",
    "Ünïcode <ü@example.com> 1700000000 +0000",
    <<"Latin ", 0xE9, " <latin@example.com> 1700000000 +0000">>
  ]

  setup [:dir, :origin, :http, :git]

  setup context do
    %{tree: tree!(context.origin, "a: 1\n")}
  end

  defp tree!(origin, content) do
    blob = Repository.hash!(origin, "blob", content)
    Repository.hash!(origin, "tree", ["100644 a.yaml\0", Base.decode16!(blob, case: :lower)])
  end

  defp commit!(context, headers, message \\ "Message\n") do
    lines = for {name, value} <- headers, do: [to_string(name), " ", value, "\n"]
    Repository.hash!(context.origin, "commit", ["tree ", context.tree, "\n", lines, "\n", message])
  end

  defp publish(context, commit),
    do: GitCommand.run!(["update-ref", "refs/heads/main", commit], cd: context.origin)

  # What `git log` shows.
  defp log(path) do
    format = "%H%x00%T%x00%P%x00%an%x00%ae%x00%ad%x00%cn%x00%ce%x00%cd%x00%B"

    args = [
      "log",
      "-1",
      "--no-show-signature",
      "--encoding=UTF-8",
      "--date=raw",
      "--format=#{format}"
    ]

    fields = path |> then(&GitCommand.run!(args, cd: &1)) |> String.split("\0", parts: 10)
    [sha, tree, parents, an, ae, ad, cn, ce, cd, message] = fields

    %{
      sha: sha,
      tree: tree,
      parents: String.split(parents),
      author: {an, ae, date(ad)},
      committer: {cn, ce, date(cd)},
      message: message
    }
  end

  defp date(""), do: nil

  defp date(raw) do
    [seconds, <<sign, zone::binary>>] = String.split(raw)
    zone = String.to_integer(zone)

    {String.to_integer(seconds),
     if(sign == ?-, do: -1, else: 1) * (div(zone, 100) * 60 + rem(zone, 100))}
  end

  defp head(context, path) do
    assert {:ok, head} = Git.head(path, server: context.git)

    date = fn seconds, offset ->
      if seconds, do: {seconds, offset}, else: assert(offset == nil) && nil
    end

    %{
      sha: head.sha,
      tree: head.tree,
      parents: head.parents,
      author: {head.author, head.email, date.(head.timestamp, head.offset)},
      committer:
        {head.committer, head.committer_email, date.(head.committed_at, head.committed_offset)},
      # `git log` ends it with a line break of its own.
      message: head.message <> "\n"
    }
  end

  test "`head` shows of each author and committer what `git log` shows, and no poll fetches " <>
         "them again",
       context do
    path = Path.join(context.dir, "clone")

    for person <- @people, {author, committer} <- [{person, @good}, {@good, person}] do
      commit = commit!(context, author: author, committer: committer)
      publish(context, commit)
      assert {person, sync(context, path: path)} == {person, {:ok, commit}}
      assert {person, head(context, path)} == {person, log(path)}
    end

    HttpServer.reset(context.http)
    assert {:ok, _same} = sync(context, path: path)
    assert HttpServer.stats(context.http).pack_bytes == 0
  end

  test "a history of nothing else is fetched, shallow and whole, from its server and from a " <>
         "directory",
       context do
    {commits, _last} =
      Enum.map_reduce(@people, nil, fn person, parent ->
        parents = if parent, do: [parent: parent], else: []
        commit = commit!(context, parents ++ [author: person, committer: person])
        {commit, commit}
      end)

    last = List.last(commits)
    publish(context, last)
    count = length(@people)

    for url <- [context.url, "file://" <> context.origin], depth <- [1, 3, :infinity] do
      path = Path.join(context.dir, "clone-#{System.unique_integer([:positive])}")
      sync = fn -> Git.sync(url, "main", path, server: context.git, depth: depth) end
      assert {depth, sync.()} == {depth, {:ok, last}}
      assert sync.() == {:ok, last}
      expected = if depth == :infinity, do: count, else: depth
      assert GitCommand.run!(["rev-list", "--count", "HEAD"], cd: path) == "#{expected}\n"

      # Deeper, and on.
      assert Git.sync(url, "main", path, server: context.git, depth: :infinity) == {:ok, last}
      assert GitCommand.run!(["rev-list", "--count", "HEAD"], cd: path) == "#{count}\n"
      first = hd(commits)
      assert Git.checkout(path, first, server: context.git) == {:ok, first}
      assert Git.checkout(path, binary_part(last, 0, 12), server: context.git) == {:ok, last}
      assert Git.checkout(path, "main", server: context.git) == {:ok, last}
    end

    next = commit!(context, parent: last, author: "", committer: "none")
    publish(context, next)
    path = Path.join(context.dir, "clone-next")
    GitCommand.run!(["clone", "-q", "--bare", context.url, context.dir <> "/mirror.git"])
    assert sync(context, path: path, depth: :infinity) == {:ok, next}
    assert Oracle.differences(path, context.origin, next) == []
  end

  test "headers that are there twice, or not at all, or longer than a line", context do
    path = Path.join(context.dir, "clone")

    for {headers, message} <- [
          {[], "no author\n"},
          {[author: @good], "no committer\n"},
          {[committer: @good], "no author\n"},
          {[author: @good, author: "B <b@example.com> 5 +0000", committer: @good], "two\n"},
          {[
             author: @good,
             committer: @good,
             gpgsig: "-----BEGIN\n  line\n author X <x> 1 +0000\n -----END"
           ], "signed\n"},
          {[author: @good, committer: @good, mergetag: "object x\n type commit"], "merged\n"},
          {[author: @good, committer: @good, unknown: "header"], "unknown\n"},
          {[author: @good, committer: @good], ""},
          {[author: @good, committer: @good], "no line break at the end"},
          {[author: @good, committer: @good], "\n\n  two empty lines first\n\n\n"}
        ] do
      commit = commit!(context, headers, message)
      publish(context, commit)
      assert {message, sync(context, path: path)} == {message, {:ok, commit}}

      assert {headers, %{head(context, path) | message: nil}} ==
               {headers, %{log(path) | message: nil}}

      assert {:ok, %{message: ^message}} = Git.head(path, server: context.git)
    end
  end

  test "text in other encodings is UTF-8, as Git shows it", context do
    path = Path.join(context.dir, "clone")

    for {encoding, bytes, text} <- [
          {"ISO-8859-1", <<0xE9, 0x80>>, "é\u0080"},
          {"latin1", <<0xE9>>, "é"},
          {"ISO-8859-15", <<0xA4>>, "€"},
          {"CP1252", <<0x80>>, "€"},
          {"CP1251", <<0xCF>>, "П"},
          {"KOI8-R", <<0xF0>>, "П"},
          {"SHIFT_JIS", <<0x83, 0x65>>, "テ"},
          {"EUC-JP", <<0xA5, 0xC6>>, "テ"},
          {"GBK", <<0xD6, 0xD0>>, "中"},
          {"UTF-8", "é", "é"},
          {"UTF-8", <<0xE9>>, <<0xE9>>},
          {"no-such-encoding", <<0xE9>>, <<0xE9>>}
        ] do
      person = [bytes, " <", bytes, "@example.com> 1700000000 +0000"]
      headers = [author: person, committer: person, encoding: encoding]
      commit = commit!(context, headers, [bytes, "\n"])
      publish(context, commit)
      assert {encoding, sync(context, path: path)} == {encoding, {:ok, commit}}
      assert {encoding, head(context, path)} == {encoding, log(path)}
      assert {:ok, %{author: ^text}} = Git.head(path, server: context.git)
    end
  end

  test "a commit is synced however long it is, and answered up to 4 MiB", context do
    path = Path.join(context.dir, "clone")

    for {size, answered?} <- [{4_000_000, true}, {4_200_000, false}] do
      message = String.duplicate("m", size)
      commit = commit!(context, [author: @good, committer: @good], message)
      publish(context, commit)
      assert sync(context, path: path) == {:ok, commit}

      if answered?,
        do: assert({:ok, %{message: ^message}} = Git.head(path, server: context.git)),
        else: assert({:error, %{reason: :too_large}} = Git.head(path, server: context.git))
    end
  end

  test "what is no commit is called by what is wrong with it", context do
    for content <- ["tree #{String.duplicate("0", 39)}\n\n", "author #{@good}\n\n", ""] do
      # Git packs it, since it looks into what it packs no further than it must.
      bad = Repository.hash!(context.origin, "commit", content)
      parent = commit!(context, parent: bad, author: @good, committer: @good)
      publish(context, parent)
      path = Path.join(context.dir, "clone-#{System.unique_integer([:positive])}")

      assert {:error, %{reason: reason, message: message}} =
               sync(context, path: path, depth: :infinity)

      assert reason in [:corrupt, :network, :protocol]
      refute message =~ "did not send everything"
    end
  end
end
