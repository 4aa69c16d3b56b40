defmodule Alumiini.Git.Precompiled.PureTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.Precompiled.{Archive, Checksums, Download, Progress, Proxy}
  alias Alumiini.Git.Test.{ReleaseArchive, ShownUrls}

  @sum "sha256:" <> String.duplicate("0a", 32)

  test "a mirror that was mistyped is not shown with its password" do
    for {url, _shown} <- ShownUrls.table(),
        String.valid?(url),
        uri = URI.parse(url <> "/v1/a.tar.gz") do
      assert {url, :binary.match(Download.shown(uri), "T0K")} == {url, :nomatch}
    end

    uri = URI.parse("https://u:p@h:8443/v1/a.tar.gz?signature=x")
    assert Download.shown(uri) == "https://h:8443/v1/a.tar.gz"
  end

  describe "a checksum file" do
    test "is read, and is written the same for the same checksums" do
      checksums = for n <- 1..40, into: %{}, do: {"alumiini-git-v0.1.0-#{n}.tar.gz", @sum}
      text = Checksums.format(checksums)
      assert Checksums.parse(text, "file") == {:ok, checksums}

      assert text == checksums |> Enum.shuffle() |> Map.new() |> Checksums.format()
      lines = text |> String.split("
") |> Enum.slice(1..39)
      assert lines == Enum.sort(lines)
    end

    test "is never run, and nothing but a map of strings counts" do
      for text <- [
            "",
            "[]",
            "%{",
            "raise \"run\"",
            ~S|%{"a.tar.gz" => System.halt(1)}|,
            ~S|%{"a#{System.halt(1)}" => "x"}|,
            ~s|%{"a.tar.gz" => "#{@sum}"}; System.halt(1)|,
            ~s|%{"a.tar.gz" => "#{String.upcase(@sum)}"}|,
            ~s|%{"a.tar.gz" => "#{@sum}\n"}|,
            ~s|%{"a.tar.gz" => "md5:00"}|,
            ~s|%{"../a.tar.gz" => "#{@sum}"}|,
            ~s|%{a: "#{@sum}"}|,
            ~s|%{"a.tar.gz" => "#{@sum}", "a.tar.gz" => "#{String.replace(@sum, "0a", "0b")}"}|
          ] do
        assert {_text, {:error, sentence}} = {text, Checksums.parse(text, "the/file.exs")}
        assert sentence =~ "the/file.exs is no checksum file"
      end
    end

    @tag :tmp_dir
    test "that is not there or too large is told", %{tmp_dir: directory} do
      path = Path.join(directory, "checksums")
      assert {:error, sentence} = Checksums.read(path)
      assert sentence =~ "there is no checksum file #{path}" and sentence =~ "ALUMIINI_GIT_BUILD=1"
      File.write!(path, String.duplicate("#", 70_000))
      assert {:error, sentence} = Checksums.read(path)
      assert sentence =~ "too large"
    end
  end

  describe "an archive" do
    test "gives its one file" do
      assert Archive.unpack(ReleaseArchive.build([{"alumiini-git", "worker"}]), "alumiini-git") ==
               {:ok, "worker"}
    end

    @tag :tmp_dir
    test "as tar itself makes it gives its one file", %{tmp_dir: directory} do
      File.write!(Path.join(directory, "alumiini-git"), "worker")
      {_, 0} = System.cmd("tar", ["-czf", "a.tar.gz", "alumiini-git"], cd: directory)

      assert directory |> Path.join("a.tar.gz") |> File.read!() |> Archive.unpack("alumiini-git") ==
               {:ok, "worker"}
    end

    test "with anything else is refused" do
      good = ReleaseArchive.build([{"alumiini-git", "worker"}])

      for {bytes, named} <- [
            {ReleaseArchive.build([{"another", "x"}]), ~s(the file "another")},
            {ReleaseArchive.build([{"./alumiini-git", "x"}]), ~s("./alumiini-git")},
            {ReleaseArchive.build([{"/tmp/alumiini-git", "x"}]), ~s("/tmp/alumiini-git")},
            {ReleaseArchive.build([{"../alumiini-git", "x"}]), ~s("../alumiini-git")},
            {ReleaseArchive.build([{"alumiini-git", "x"}, {"more", "y"}]), "2 entries"},
            {ReleaseArchive.build([{"alumiini-git", "x"}, {"alumiini-git", "y"}]), "2 entries"},
            {ReleaseArchive.build([{:symlink, "alumiini-git", "/etc/passwd"}]),
             ~s(the symlink "alumiini-git")},
            {ReleaseArchive.build([{:hardlink, "alumiini-git", "/etc/passwd"}]),
             ~s("alumiini-git")},
            {ReleaseArchive.build([{:directory, "alumiini-git", ""}]),
             ~s(the directory "alumiini-git)},
            {ReleaseArchive.build([{"alumiini-git", ""}]), "an empty file"},
            # Of some hundred bytes, and no limit on what is inflated sees it.
            {ReleaseArchive.build([{:sparse, "alumiini-git", 300_000_000}]), "no plain file"},
            {ReleaseArchive.build([{:renamed, "another", "alumiini-git"}]), "no plain file"},
            {ReleaseArchive.build([{:renamed, "alumiini-git", "another"}]), ~s(the file "another")},
            {ReleaseArchive.build([]), "nothing"},
            {binary_part(good, 0, byte_size(good) - 10), "gzip"},
            {"<html>", "gzip"},
            {"", "gzip"},
            {:zlib.gzip("no tar"), "tar"}
          ] do
        assert {_named, {:error, sentence}} = {named, Archive.unpack(bytes, "alumiini-git")}
        assert sentence =~ named
      end
    end

    test "that unpacks to more than it may is refused, and takes no more memory than that" do
      bomb = ReleaseArchive.build([{"alumiini-git", :binary.copy(<<0>>, 65 * 1024 * 1024)}])
      assert byte_size(bomb) < 1024 * 1024
      parent = self()
      limit = 8 * 1024 * 1024

      {_pid, ref} =
        :erlang.spawn_opt(
          fn ->
            before = :erlang.memory(:binary)
            result = Archive.unpack(bomb, "alumiini-git", limit)
            send(parent, {result, :erlang.memory(:binary) - before})
          end,
          [:monitor]
        )

      assert_receive {{:error, sentence}, memory}, 30_000
      assert sentence =~ "more than 8 MiB"
      assert memory < 32 * 1024 * 1024
      assert_receive {:DOWN, ^ref, _, _, :normal}
      assert {:error, sentence} = Archive.unpack(bomb, "alumiini-git")
      assert sentence =~ "more than 64 MiB"
    end
  end

  describe "the proxy" do
    test "is the one that the environment names" do
      https = URI.parse("https://github.com/x")
      http = URI.parse("http://mirror.example.com:8080/x")
      proxy = &%{host: &1, port: &2, credentials: &3}

      for {uri, environment, expected} <- [
            {https, %{}, nil},
            {https, %{"https_proxy" => "http://p:3128"}, proxy.("p", 3128, nil)},
            {https, %{"HTTPS_PROXY" => "http://p:3128/"}, proxy.("p", 3128, nil)},
            {https, %{"https_proxy" => "p:80"}, proxy.("p", 80, nil)},
            {https, %{"https_proxy" => "p"}, proxy.("p", 1080, nil)},
            {https, %{"https_proxy" => "", "HTTPS_PROXY" => "q:1"}, proxy.("q", 1, nil)},
            {https, %{"https_proxy" => "a:1", "HTTPS_PROXY" => "b:1"}, proxy.("a", 1, nil)},
            {https, %{"ALL_PROXY" => "a:1"}, proxy.("a", 1, nil)},
            {https, %{"http_proxy" => "a:1"}, nil},
            {http, %{"http_proxy" => "a:1"}, proxy.("a", 1, nil)},
            {http, %{"HTTP_PROXY" => "a:1"}, nil},
            {https, %{"https_proxy" => "http://us%40er:p%3Aw@p:3128"},
             proxy.("p", 3128, {"us@er", "p:w"})},
            {https, %{"https_proxy" => "p:1", "no_proxy" => "github.com"}, nil},
            {https, %{"https_proxy" => "p:1", "NO_PROXY" => "a.com, .github.com"}, nil},
            {https, %{"https_proxy" => "p:1", "no_proxy" => "hub.com"}, proxy.("p", 1, nil)},
            {https, %{"https_proxy" => "p:1", "no_proxy" => "*"}, nil},
            {http, %{"http_proxy" => "p:1", "no_proxy" => "*.example.com:8080"}, nil},
            {http, %{"http_proxy" => "p:1", "no_proxy" => "example.com:80"}, proxy.("p", 1, nil)}
          ] do
        assert {environment, Proxy.for(uri, environment)} == {environment, {:ok, expected}}
      end
    end

    test "of a kind that cannot be used is told without what may be secret" do
      for value <- [
            "socks5://u:s3cr3t@p:1080",
            "https://u:s3cr3t@p",
            "http://u:s3cr3t@",
            "http://u:s3cr3t @x"
          ] do
        assert {:error, sentence} =
                 Proxy.for(URI.parse("https://github.com"), %{"https_proxy" => value})

        assert sentence =~ "https_proxy"
        refute sentence =~ "s3cr3t"
      end
    end
  end

  test "the bar says how far it is" do
    assert Progress.line(0, 2_097_152) =~ ~r/░{30}   0 %  2\.0 MiB/u
    assert Progress.line(1_048_576, 2_097_152) =~ ~r/█{15}░{15}  50 %/u
    assert Progress.line(2_097_152, 2_097_152) =~ ~r/█{30} 100 %/u
    assert Progress.line(524_288, nil) == "  0.5 MiB"
  end

  test "the guide's table has each variable that counts, and no other" do
    [_before, section] = String.split(File.read!("guides/installation.md"), "\n## Environment\n")
    [section | _after] = String.split(section, "\n## ")

    name =
      ~r/\b(?:ALUMIINI_GIT_[A-Z_]+|TARGET_[A-Z]+|(?:https?|all|no)_proxy|(?:HTTPS|ALL|NO)_PROXY)\b/

    rows = Regex.scan(~r/^\| (`[^|]+`) \|/m, section, capture: :all_but_first)
    rows = name |> Regex.scan(inspect(rows)) |> List.flatten()

    sources = [
      "lib/mix/tasks/compile.alumiini_git.ex"
      | Path.wildcard("lib/alumiini/git/precompiled*/**/*.ex")
    ]

    code =
      Enum.map_join(
        ["lib/alumiini/git/precompiled.ex" | sources],
        &String.replace(File.read!(&1), ~r/^ *#.*/m, "")
      )

    counts = name |> Regex.scan(code) |> List.flatten() |> Enum.uniq()

    assert rows -- counts == []
    # That for plain HTTP is named beside the others.
    assert counts -- rows == ["http_proxy"]
    assert section =~ "`http_proxy`"
  end
end
