defmodule Alumiini.Git.Precompiled.RefusalsTest do
  # Each installs from a server of its own; not async, for programs are run that others could be in
  # the way of.
  use ExUnit.Case, async: false

  import Alumiini.Git.Test.LocalRelease

  alias Alumiini.Git.Precompiled.Target
  alias Alumiini.Git.Test.{Certificates, Directory, ReleaseArchive, ReleaseServer}

  @version "1.2.3"
  @worker worker()

  setup_all do
    %{certificate: Certificates.build(:good)}
  end

  setup context do
    start(context)
  end

  describe "refused, with nothing left, is" do
    test "a wrong checksum", context do
      publish(context, ReleaseArchive.build([{"alumiini-git", "another"}]), "what was published")
      assert_refused(context, ["the checksum of #{context.archive} is wrong", "thrown away"])
    end

    test "an archive without a checksum, and a file without any", context do
      archive = Target.archive(@version, "riscv64gc-unknown-linux-gnu")
      checksum = "sha256:" <> String.duplicate("0", 64)
      File.write!(checksums(context), inspect(%{archive => checksum}))

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
      ReleaseServer.script(context.server, [
        {:status, 302, [{"location", "http://localhost/x"}], ""}
      ])

      assert_refused(context, "http://localhost/x is plain HTTP")

      ReleaseServer.script(context.server, [
        {:status, 302, [{"location", "http://localhost/x"}], ""}
      ])

      assert_refused(context, "so far was encrypted", %{"ALUMIINI_GIT_ALLOW_HTTP" => "1"})

      ReleaseServer.script(context.server, [
        {:status, 302, [{"location", "file:///etc/passwd"}], ""}
      ])

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
          start_supervised!(
            {ReleaseServer, root: Path.join(context.dir, "release"), tls: certificate.tls}
          )

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

    @tag skip: !match?({:unix, :linux}, :os.type()) && "what is changed is an ELF file"
    test "must be for this machine, and find its loader", context do
      {:ok, binary} = Alumiini.Git.Server.Binary.locate(nil)
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
             [
               "is not for this machine",
               if(other == 183, do: "but for aarch64", else: "but for x86_64")
             ]},
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
end
