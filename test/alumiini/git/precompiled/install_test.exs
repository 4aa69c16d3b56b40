defmodule Alumiini.Git.Precompiled.InstallTest do
  # The HTTP client of OTP has proxies for all who use a profile.
  use ExUnit.Case, async: false

  alias Alumiini.Git.Precompiled
  alias Alumiini.Git.Precompiled.{Cache, Origin, Target}
  alias Alumiini.Git.Test.{Certificates, Directory, ReleaseArchive, ReleaseServer, TempDir}

  @version "1.2.3"
  # Large enough to come in pieces, whatever gzip does.
  @worker ReleaseArchive.worker(@version) <> "exit\n" <> :crypto.strong_rand_bytes(300_000)

  setup_all do
    %{certificate: Certificates.build(:good)}
  end

  setup %{certificate: certificate} do
    dir = TempDir.create!("install")
    {:ok, target} = Target.resolve(Target.host(), %{})
    archive = Target.archive(@version, target)
    for name <- ["release/v#{@version}", "priv"], do: File.mkdir_p!(Path.join(dir, name))
    File.write!(Path.join(dir, "ca.pem"), certificate.ca)
    server = start_supervised!({ReleaseServer, root: Path.join(dir, "release"), tls: certificate.tls})

    context = %{
      dir: dir,
      server: server,
      target: target,
      archive: archive,
      published: Path.join([dir, "release", "v#{@version}", archive]),
      cache: Path.join(dir, "cache"),
      priv: Path.join(dir, "priv"),
      worker: Path.join(dir, "priv/alumiini-git")
    }

    publish(context, ReleaseArchive.build([{"alumiini-git", @worker}]))
    context
  end

  # What the server has, and what the package says of it.
  defp publish(context, bytes, expected \\ nil) do
    File.write!(context.published, bytes)
    File.write!(checksums(context), ReleaseArchive.checksums(%{context.archive => expected || bytes}))
    bytes
  end

  defp checksums(context), do: Path.join(context.dir, "checksum-alumiini_git.exs")

  defp plan(context, environment \\ %{}) do
    with {:ok, plan} <-
           Precompiled.plan(%{
             version: @version,
             source_url: "https://github.invalid/yairfalse/alumiini_git",
             checksums: checksums(context),
             host: Target.host(),
             environment: Map.merge(environment(context), environment)
           }) do
      {:ok, %{plan | download: %{backoff: 0, attempts: 3, stall_timeout: 5_000}}}
    end
  end

  defp environment(context) do
    %{
      "ALUMIINI_GIT_MIRROR" => ReleaseServer.url(context.server),
      "ALUMIINI_GIT_CACHE" => context.cache,
      "ALUMIINI_GIT_CACERT" => Path.join(context.dir, "ca.pem")
    }
  end

  defp install(context, environment \\ %{}, download \\ %{}) do
    with {:ok, plan} <- plan(context, environment) do
      Precompiled.install(%{plan | download: Map.merge(plan.download, download)}, context.worker)
    end
  end

  defp requests(context), do: for(%{path: path} <- ReleaseServer.log(context.server), do: path)

  # Refused, with these words, and nothing is left.
  defp assert_refused(context, words, environment \\ %{}, download \\ %{}) do
    assert {:error, sentence} = install(context, environment, download)
    for word <- List.wrap(words), do: assert(sentence =~ word)
    assert files(context.cache) == []
    assert files(context.priv) == []
    sentence
  end

  defp files(dir), do: if(File.dir?(dir), do: Directory.names(dir), else: [])

  describe "a release" do
    test "is downloaded once, verified, and put into its place with its run bit", context do
      assert install(context) == :ok
      assert File.read!(context.worker) == @worker
      assert {:ok, %{mode: mode}} = File.stat(context.worker)
      assert Bitwise.band(mode, 0o777) == 0o755
      assert files(context.cache) == [context.archive]
      assert Enum.sort(files(context.priv)) == ["alumiini-git", "alumiini-git.origin"]
      assert requests(context) == ["/v#{@version}/#{context.archive}"]

      File.rm!(context.worker)
      assert install(context) == :ok
      assert length(requests(context)) == 1
    end

    test "has its origin noted for the doctor, without credentials", context do
      mirror = String.replace(ReleaseServer.url(context.server), "://", "://user:s3cr3t@")
      assert install(context, %{"ALUMIINI_GIT_MIRROR" => mirror}) == :ok
      assert [%{headers: %{"authorization" => "Basic " <> sent}}] = ReleaseServer.log(context.server)
      assert Base.decode64!(sent) == "user:s3cr3t"
      assert [{"origin", from}, {"archive", archive}, {"checksum", holds}] = Origin.tell(context.worker)
      assert from == ReleaseServer.url(context.server) <> "/v#{@version}/#{context.archive}"
      assert archive =~ context.archive
      assert holds =~ ~r/^sha256:[0-9a-f]{64}, as when it was installed$/
      refute File.read!(Origin.path(context.worker)) =~ "s3cr3t"

      File.write!(context.worker, "another")
      assert [_, _, {"checksum", wrong}] = Origin.tell(context.worker)
      assert wrong =~ "IS WRONG"
      File.rm!(Origin.path(context.worker))
      assert [{"origin", "unknown" <> _}] = Origin.tell(context.worker)
    end

    test "comes from a mirror with a path", context do
      port = ReleaseServer.port(context.server)
      File.mkdir_p!(Path.join(context.dir, "release/a/b"))

      File.cp_r!(
        Path.join(context.dir, "release/v#{@version}"),
        Path.join(context.dir, "release/a/b/v#{@version}")
      )

      assert install(context, %{"ALUMIINI_GIT_MIRROR" => "https://localhost:#{port}/a/b"}) == :ok
      assert List.last(requests(context)) == "/a/b/v#{@version}/#{context.archive}"
    end

    test "comes from the repository where no mirror is named", context do
      assert {:ok, plan} = plan(context, %{"ALUMIINI_GIT_MIRROR" => ""})

      assert plan.url ==
               "https://github.invalid/yairfalse/alumiini_git/releases/download/v1.2.3/" <> context.archive
    end

    test "is found where a host redirects to, also another one, but not with its credentials", context do
      other = start_supervised!({ReleaseServer, root: Path.join(context.dir, "release"), tls: tls(context)})
      to = ReleaseServer.url(other) <> "/v#{@version}/#{context.archive}?signature=s3cr3t"
      ReleaseServer.script(context.server, [{:status, 302, [{"location", to}], ""}])
      # The server takes the query for a part of the name.
      File.cp!(context.published, context.published <> "?signature=s3cr3t")
      mirror = String.replace(ReleaseServer.url(context.server), "://", "://user:s3cr3t@")
      assert install(context, %{"ALUMIINI_GIT_MIRROR" => mirror}) == :ok
      assert [%{headers: headers}] = ReleaseServer.log(other)
      refute Map.has_key?(headers, "authorization")
      refute File.read!(Origin.path(context.worker)) =~ "s3cr3t"
    end

    test "is taken from a cache that was filled before, without any network", context do
      File.mkdir_p!(context.cache)
      File.cp!(context.published, Path.join(context.cache, context.archive))
      # A read-only one will do (as another user than root).
      File.chmod!(context.cache, 0o555)
      assert install(context, %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"}) == :ok
      assert requests(context) == []
      File.chmod!(context.cache, 0o755)
    end
  end

  describe "what fails for a while" do
    test "is tried again", context do
      ReleaseServer.script(context.server, [{:status, 500}, {:status, 429}, :serve])
      assert install(context) == :ok
      assert length(requests(context)) == 3
    end

    test "is taken up where it ended", context do
      ReleaseServer.script(context.server, [{:truncate, 150_000}, :serve])
      assert install(context) == :ok
      assert [%{headers: first}, %{headers: second}] = ReleaseServer.log(context.server)
      refute Map.has_key?(first, "range")
      assert second["range"] == "bytes=150000-"
      assert second["if-range"] =~ ~r/^".+"$/
    end

    test "starts again where the server cannot resume, or where the parts do not fit", context do
      ReleaseServer.script(context.server, [{:truncate, 150_000}, :no_range])
      assert install(context) == :ok

      File.rm_rf!(context.cache)
      ReleaseServer.script(context.server, [{:truncate, 150_000}, {:status, 416}, :serve])
      assert install(context) == :ok
      assert %{headers: headers} = List.last(ReleaseServer.log(context.server))
      refute Map.has_key?(headers, "range")

      # The first part is another file's, and the server does not notice.
      File.rm_rf!(context.cache)
      good = File.read!(context.published)

      ReleaseServer.script(context.server, [
        {:other, :binary.copy(<<0>>, 150_000), byte_size(good)},
        :serve,
        :serve
      ])

      assert install(context) == :ok
      assert length(requests(context)) == 2 + 3 + 3
    end

    test "is given up in the end, with nothing left", context do
      ReleaseServer.script(context.server, List.duplicate({:truncate, 150_000}, 3))
      assert_refused(context, ["in the middle", "tried 3 times"])

      ReleaseServer.script(context.server, List.duplicate({:status, 503}, 3))
      assert_refused(context, ["status 503", "tried 3 times"])
      assert length(requests(context)) == 6
    end

    test "a server that says nothing, from the start or in the middle", context do
      for action <- [:hang, {:stall, 150_000}] do
        ReleaseServer.script(context.server, [action, action, action])
        assert_refused(context, ["no byte came for 200 ms"], %{}, %{stall_timeout: 200, attempts: 2})
      end
    end

    test "a machine without a network", context do
      assert_refused(context, "connection is refused", %{"ALUMIINI_GIT_MIRROR" => "https://localhost:1"})
    end
  end

  describe "refused, with nothing left, is" do
    test "a wrong checksum", context do
      publish(context, ReleaseArchive.build([{"alumiini-git", "another"}]), "what was published")
      assert_refused(context, ["the checksum of #{context.archive} is wrong", "thrown away"])
    end

    test "an archive without a checksum, and a file without any", context do
      File.write!(
        checksums(context),
        ~s(%{"#{Target.archive(@version, "riscv64gc-unknown-linux-gnu")}" => "sha256:#{String.duplicate("0", 64)}"})
      )

      assert_refused(context, [
        "no checksum for #{context.target}",
        "riscv64gc-unknown-linux-gnu",
        "ALUMIINI_GIT_BUILD=1"
      ])

      File.write!(
        checksums(context),
        ~s(%{"#{Target.archive("1.2.2", context.target)}" => "sha256:#{String.duplicate("0", 64)}"})
      )

      assert_refused(context, ["no checksum for any archive of version 1.2.3"])
      File.rm!(checksums(context))
      assert_refused(context, ["there is no checksum file"])
      assert requests(context) == []
    end

    test "a truncated body without a length", context do
      bytes = File.read!(context.published)
      ReleaseServer.script(context.server, [{:raw, binary_part(bytes, 0, 100)}])
      assert_refused(context, "is wrong")
    end

    test "a web page with status 200", context do
      page = {:body, [{"content-type", "text/html; charset=utf-8"}], "<html>log in</html>"}
      ReleaseServer.script(context.server, [page])
      assert_refused(context, "a web page")
      ReleaseServer.script(context.server, [{:body, [], "<html>log in</html>"}])
      assert_refused(context, "is wrong")
    end

    test "an archive that holds anything but the worker, though its checksum is right", context do
      outside = Path.join(context.dir, "outside")

      for entries <- [
            [{"another", "x"}],
            [{outside, "x"}],
            [{"../outside", "x"}],
            [{:symlink, "alumiini-git", outside}],
            [{"alumiini-git", @worker}, {"more", "x"}],
            [{"alumiini-git", :binary.copy(<<0>>, 65 * 1024 * 1024)}]
          ] do
        publish(context, ReleaseArchive.build(entries))
        assert {:error, sentence} = install(context)
        assert sentence =~ "the archive #{context.archive} is not usable, and has not been unpacked"
        assert files(context.cache) == []
        assert files(context.priv) == []

        assert Directory.names(context.dir) --
                 ["release", "priv", "cache", "ca.pem", "checksum-alumiini_git.exs"] == []
      end
    end

    test "more than an archive can have", context do
      assert_refused(context, "more than", %{}, %{max_bytes: 100})
      bytes = File.read!(context.published)
      ReleaseServer.script(context.server, [{:raw, bytes}])
      assert_refused(context, "sends more than", %{}, %{max_bytes: 100})
    end

    test "404, 401, 403, and 403 because of a rate limit", context do
      ReleaseServer.script(context.server, [{:status, 404}])
      assert_refused(context, ["status 404", "/v1.2.3/#{context.archive}"])
      ReleaseServer.script(context.server, [{:status, 401}])
      assert_refused(context, ["status 401", "ALUMIINI_GIT_MIRROR"])
      ReleaseServer.script(context.server, [{:status, 403}])
      assert_refused(context, "status 403")
      limit = [{"x-ratelimit-remaining", "0"}, {"x-ratelimit-reset", "1800000000"}]
      ReleaseServer.script(context.server, [{:status, 403, limit, ""}])
      assert_refused(context, ["rate limit", "until 2027-01-15T08:00:00Z", "ALUMIINI_GIT_CACHE"])
      # None of them is tried again.
      assert length(requests(context)) == 4
    end

    test "a redirect to plain HTTP, to nowhere, and one without end", context do
      ReleaseServer.script(context.server, [{:status, 302, [{"location", "http://localhost/x"}], ""}])
      assert_refused(context, "http://localhost/x is plain HTTP")
      ReleaseServer.script(context.server, [{:status, 302, [{"location", "http://localhost/x"}], ""}])
      assert_refused(context, "so far was encrypted", %{"ALUMIINI_GIT_ALLOW_HTTP" => "1"})
      ReleaseServer.script(context.server, [{:status, 302, [{"location", "file:///etc/passwd"}], ""}])
      assert_refused(context, "not an https:// URL")
      ReleaseServer.script(context.server, [{:status, 302}])
      assert_refused(context, "redirects to nowhere")
      loop = {:status, 302, [{"location", "/again"}], ""}
      ReleaseServer.script(context.server, List.duplicate(loop, 10))
      assert_refused(context, "too often")
    end

    test "a certificate that has expired, is another's, or of nobody we trust", context do
      for {kind, words} <- [
            expired: "expired",
            wrong_host: "certificate for another host",
            self_signed: "ALUMIINI_GIT_CACERT"
          ] do
        certificate = Certificates.build(kind)

        server =
          start_supervised!({ReleaseServer, root: Path.join(context.dir, "release"), tls: certificate.tls})

        File.write!(Path.join(context.dir, "ca.pem"), certificate.ca)
        assert_refused(context, words, %{"ALUMIINI_GIT_MIRROR" => ReleaseServer.url(server)})
        assert ReleaseServer.log(server) == []
      end

      address = "https://127.0.0.1:#{ReleaseServer.port(context.server)}"
      assert_refused(context, "127.0.0.1 is an address", %{"ALUMIINI_GIT_MIRROR" => address})

      File.write!(Path.join(context.dir, "ca.pem"), "no certificate")
      assert_refused(context, "holds no certificate")
      assert_refused(context, "no such file", %{"ALUMIINI_GIT_CACERT" => context.dir <> "/missing"})
    end

    test "a mirror over plain HTTP, unless it is allowed", context do
      server = start_supervised!({ReleaseServer, root: Path.join(context.dir, "release")})
      plain = %{"ALUMIINI_GIT_MIRROR" => ReleaseServer.url(server)}
      assert_refused(context, ["is plain HTTP", "ALUMIINI_GIT_ALLOW_HTTP=1"], plain)
      assert ReleaseServer.log(server) == []
      assert install(context, Map.put(plain, "ALUMIINI_GIT_ALLOW_HTTP", "1")) == :ok
      File.rm_rf!(context.cache)

      for mirror <- ["ftp://localhost/", "localhost", "https://"] do
        assert {:error, sentence} = install(context, %{"ALUMIINI_GIT_MIRROR" => mirror})
        assert sentence =~ "not an https:// URL"
      end
    end

    test "a poisoned cache: removed, and fetched again where there is a network", context do
      File.mkdir_p!(context.cache)
      poisoned = Path.join(context.cache, context.archive)
      File.write!(poisoned, "poison")

      assert_refused(context, ["#{poisoned} is wrong", "it has been removed", "refused"], %{
        "ALUMIINI_GIT_MIRROR" => "https://localhost:1"
      })

      File.write!(poisoned, "poison")
      assert install(context) == :ok
      assert File.read!(poisoned) == File.read!(context.published)
      assert File.read!(context.worker) == @worker
    end
  end

  describe "before it takes its place, the worker" do
    test "must say its version, and that it is the right one", context do
      for {program, words} <- [
            {ReleaseArchive.worker("1.2.2"), "it is version 1.2.2, and 1.2.3 is wanted"},
            {"#!/bin/sh\necho hello\n", "is no worker"},
            {"#!/bin/sh\necho broken >&2; exit 3\n",
             "it ended with status 3 when it was asked for its version: broken"},
            {"#!/bin/sh\necho \"/lib/libc.so.6: version 'GLIBC_2.99' not found\" >&2; exit 1\n",
             "a newer glibc"},
            {"\x7fELF garbage", "is not for this machine"},
            {"garbage", "is not for this machine"}
          ] do
        publish(context, ReleaseArchive.build([{"alumiini-git", program}]))
        assert {:error, sentence} = install(context)
        assert sentence =~ "the worker in #{context.archive} cannot be used"
        assert sentence =~ words
        assert files(context.priv) == []
        File.rm_rf!(context.cache)
      end
    end

    test "must be for this machine, and find its loader", context do
      {:ok, binary} = Alumiini.Git.Binary.locate(nil)
      elf = File.read!(binary)
      <<head::binary-size(18), machine::16-little, rest::binary>> = elf
      other = if machine == 183, do: 62, else: 183
      foreign = <<head::binary, other::16-little, rest::binary>>
      [loader] = Regex.run(~r{/lib[^\0]*/ld-linux[^\0]+}, elf)
      musl = "/lib/ld-musl-none.so.1"
      musl = elf |> :binary.replace(loader, String.pad_trailing(musl, byte_size(loader), <<0>>))
      gnu = :binary.replace(elf, loader, String.replace(loader, ~r/.$/, "9"))

      for {program, words} <- [
            {foreign,
             ["is not for this machine", if(other == 183, do: "but for aarch64", else: "but for x86_64")]},
            {musl, ["needs the loader /lib/ld-musl-none", "it is for musl, and this is not"]},
            {gnu, ["needs the loader /lib", "TARGET_ABI=musl takes the static binary"]}
          ] do
        publish(context, ReleaseArchive.build([{"alumiini-git", program}]))
        assert {:error, sentence} = install(context)
        for word <- words, do: assert(sentence =~ word)
        assert files(context.priv) == []
      end
    end

    test "is not asked where it is for another machine", context do
      archive = Target.archive(@version, "armv7-unknown-linux-gnueabihf")
      bytes = ReleaseArchive.build([{"alumiini-git", "for arm"}])
      File.write!(Path.join(Path.dirname(context.published), archive), bytes)
      File.write!(checksums(context), ReleaseArchive.checksums(%{archive => bytes}))
      environment = %{"TARGET_ARCH" => "arm", "TARGET_OS" => "linux", "TARGET_ABI" => "gnueabihf"}
      assert install(context, environment) == :ok
      assert File.read!(context.worker) == "for arm"
    end
  end

  describe "at once" do
    test "many who install see no half file, and all get it", context do
      # Large enough to be written in pieces, and no two bytes alike for long.
      File.rm!(context.published)
      worker = @worker <> "exit\n" <> :crypto.strong_rand_bytes(3_000_000)
      publish(context, ReleaseArchive.build([{"alumiini-git", worker}]))
      {:ok, plan} = plan(context)
      installs = for n <- 1..6, do: Task.async(fn -> Precompiled.install(plan, priv(context, rem(n, 2))) end)
      watch = Task.async(fn -> watch(context, plan, byte_size(worker), 0) end)
      assert Enum.map(installs, &Task.await(&1, 30_000)) == List.duplicate(:ok, 6)
      send(watch.pid, :enough)
      assert Task.await(watch) > 0
      assert files(context.cache) == [context.archive]
      assert Enum.sort(files(context.priv)) == ["0", "0.origin", "1", "1.origin"]
    end

    defp priv(context, n), do: Path.join(context.priv, "#{n}")

    # Whatever is there under the final name is whole.
    defp watch(context, plan, size, looks) do
      case Cache.fetch(plan.cache, plan.archive, plan.checksum) do
        {:ok, _bytes} -> :ok
        :missing -> :ok
      end

      for n <- 0..1,
          {:ok, stat} <- [File.stat(priv(context, n))],
          do: {^size, 0o100755} = {stat.size, stat.mode}

      receive do
        :enough -> looks + 1
      after
        0 -> watch(context, plan, size, looks + 1)
      end
    end

    test "an upgrade leaves a running worker its own", context do
      slow =
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo alumiini-git 1.2.3\nread line\nread line < \"$0\"\necho old\n"

      publish(context, ReleaseArchive.build([{"alumiini-git", slow}]))
      assert install(context) == :ok
      {:ok, before} = File.stat(context.worker)
      {:ok, held} = File.open(context.worker, [:read, :binary])
      port = Port.open({:spawn_executable, context.worker}, [:binary])

      publish(context, ReleaseArchive.build([{"alumiini-git", @worker}]))
      assert install(context) == :ok
      {:ok, now} = File.stat(context.worker)
      assert now.inode != before.inode
      assert File.read!(context.worker) == @worker
      assert IO.binread(held, :eof) == slow
      Port.command(port, "go\n")
      assert_receive {^port, {:data, "old\n"}}, 5_000
    end
  end

  describe "a proxy" do
    test "is used, with its credentials, and no_proxy is heeded", context do
      proxy = start_supervised!({ReleaseServer, root: context.dir, credentials: "user:p@ss"})
      port = ReleaseServer.port(proxy)
      environment = %{"https_proxy" => "http://user:p%40ss@localhost:#{port}"}
      assert install(context, environment) == :ok
      assert [%{method: "CONNECT", path: "localhost:" <> _} | _] = ReleaseServer.log(proxy)
      assert length(requests(context)) == 1

      before = length(ReleaseServer.log(proxy))
      File.rm_rf!(context.cache)
      assert install(context, Map.put(environment, "NO_PROXY", "localhost")) == :ok
      assert length(ReleaseServer.log(proxy)) == before
    end

    test "that refuses is told, without its password", context do
      proxy = start_supervised!({ReleaseServer, root: context.dir, credentials: "user:other"})
      environment = %{"https_proxy" => "http://user:s3cr3t@localhost:#{ReleaseServer.port(proxy)}"}
      refute assert_refused(context, ["407"], environment) =~ "s3cr3t"
      assert_refused(context, "socks5://", %{"https_proxy" => "socks5://localhost:1"})
    end

    test "does not weaken the check of certificates", context do
      proxy = start_supervised!({ReleaseServer, root: context.dir})
      environment = %{"https_proxy" => "http://localhost:#{ReleaseServer.port(proxy)}"}
      certificate = Certificates.build(:wrong_host)

      server =
        start_supervised!({ReleaseServer, root: Path.join(context.dir, "release"), tls: certificate.tls})

      File.write!(Path.join(context.dir, "ca.pem"), certificate.ca)

      assert_refused(
        context,
        "another host",
        Map.put(environment, "ALUMIINI_GIT_MIRROR", ReleaseServer.url(server))
      )
    end
  end

  defp tls(context), do: context.certificate.tls
end
