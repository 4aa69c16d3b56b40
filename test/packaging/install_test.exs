defmodule Alumiini.Git.Precompiled.InstallTest do
  # Each installs from a server of its own; not async, for programs are run that others could be in
  # the way of.
  use ExUnit.Case, async: false

  import Alumiini.Git.Test.LocalRelease

  alias Alumiini.Git.Precompiled
  alias Alumiini.Git.Precompiled.{Cache, Provenance}
  alias Alumiini.Git.Test.{Certificates, ReleaseArchive, ReleaseServer}

  @version "1.2.3"
  @worker worker()

  setup_all do
    %{certificate: Certificates.build(:good)}
  end

  setup context do
    start(context)
  end

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

      assert [%{headers: %{"authorization" => "Basic " <> sent}}] =
               ReleaseServer.log(context.server)

      assert Base.decode64!(sent) == "user:s3cr3t"

      assert [{"origin", from}, {"archive", archive}, {"checksum", holds}] =
               Provenance.tell(context.worker)

      assert from == ReleaseServer.url(context.server) <> "/v#{@version}/#{context.archive}"
      assert archive =~ context.archive
      assert holds =~ ~r/^sha256:[0-9a-f]{64}, as when it was installed$/
      refute File.read!(Provenance.path(context.worker)) =~ "s3cr3t"

      File.write!(context.worker, "another")
      assert [_, _, {"checksum", wrong}] = Provenance.tell(context.worker)
      assert wrong =~ "IS WRONG"
      File.rm!(Provenance.path(context.worker))
      assert [{"origin", "unknown" <> _}] = Provenance.tell(context.worker)
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
               "https://github.invalid/yairfalse/alumiini_git/releases/download/v1.2.3/" <>
                 context.archive
    end

    test "is found where a host redirects to, also another one, but not with its credentials",
         context do
      other =
        start_supervised!(
          {ReleaseServer, root: Path.join(context.dir, "release"), tls: tls(context)}
        )

      to = ReleaseServer.url(other) <> "/v#{@version}/#{context.archive}?signature=s3cr3t"
      ReleaseServer.script(context.server, [{:status, 302, [{"location", to}], ""}])
      # The server takes the query for a part of the name.
      File.cp!(context.published, context.published <> "?signature=s3cr3t")
      mirror = String.replace(ReleaseServer.url(context.server), "://", "://user:s3cr3t@")
      assert install(context, %{"ALUMIINI_GIT_MIRROR" => mirror}) == :ok
      assert [%{headers: headers}] = ReleaseServer.log(other)
      refute Map.has_key?(headers, "authorization")
      refute File.read!(Provenance.path(context.worker)) =~ "s3cr3t"
    end

    test "is believed where the system's authorities vouch for the host, and nobody else does",
         context do
      without = %{"ALUMIINI_GIT_CACERT" => ""}
      assert_refused(context, ["an issuer that is not trusted", "ALUMIINI_GIT_CACERT"], without)

      # As if it were one of the system's.
      on_exit(fn -> :public_key.cacerts_clear() end)
      :ok = :public_key.cacerts_load(String.to_charlist(Path.join(context.dir, "ca.pem")))
      assert install(context, without) == :ok
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

  test "what was left by those who were killed is removed, and what others are at is not",
       context do
    File.mkdir_p!(context.cache)
    archive = Path.join(context.cache, context.archive)

    left =
      for path <- [archive, context.worker, Provenance.path(context.worker)],
          do: path <> ".1-2-3.tmp"

    others = for path <- [archive, context.worker], do: path <> ".4-5-6.tmp"
    for path <- left ++ others, do: File.write!(path, "part")
    for path <- left, do: File.touch!(path, System.os_time(:second) - 2 * 60 * 60)
    assert install(context) == :ok
    assert files(context.cache) == [context.archive, context.archive <> ".4-5-6.tmp"]
    assert files(context.priv) == ["alumiini-git", "alumiini-git.4-5-6.tmp", "alumiini-git.origin"]
  end

  describe "what fails for a while" do
    test "is tried again", context do
      ReleaseServer.script(context.server, [{:status, 500}, {:status, 429}, :serve])
      assert install(context) == :ok
      assert length(requests(context)) == 3
    end

    test "is waited for, longer each time, and as long as the server asks", context do
      ReleaseServer.script(context.server, [{:status, 500}, {:status, 502}, {:status, 503}, :serve])
      {time, :ok} = :timer.tc(fn -> install(context, %{}, %{backoff: 40, attempts: 4}) end)
      # Half of 40, 80 and 160 ms at least; the other half is left to chance.
      assert time >= 140_000

      File.rm_rf!(context.cache)
      ReleaseServer.script(context.server, [{:status, 503, [{"retry-after", "1"}], ""}, :serve])
      {time, :ok} = :timer.tc(fn -> install(context, %{}, %{backoff: 1}) end)
      assert time >= 1_000_000
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

        limits = %{stall_timeout: 200, attempts: 2}
        assert_refused(context, ["no byte came for 200 ms"], %{}, limits)
      end
    end

    test "a machine without a network", context do
      assert_refused(context, "connection is refused", %{
        "ALUMIINI_GIT_MIRROR" => "https://localhost:1"
      })
    end
  end

  describe "at once" do
    test "many who install see no half file, and all get it", context do
      # Large enough to be written in pieces, and no two bytes alike for long.
      File.rm!(context.published)
      worker = @worker <> "exit\n" <> :crypto.strong_rand_bytes(3_000_000)
      publish(context, ReleaseArchive.build([{"alumiini-git", worker}]))
      {:ok, plan} = plan(context)

      installs =
        for n <- 1..6, do: Task.async(fn -> Precompiled.install(plan, priv(context, rem(n, 2))) end)

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
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo alumiini-git 1.2.3\nread line\nread " <>
          "line < \"$0\"\necho old\n"

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
        start_supervised!(
          {ReleaseServer, root: Path.join(context.dir, "release"), tls: certificate.tls}
        )

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
