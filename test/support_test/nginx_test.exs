defmodule Alumiini.Git.Test.NginxTest do
  # nginx and tinyproxy as the tests run them, by git's own client.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.{Daemon, Nginx, OsProcess, Tinyproxy}

  setup [:dir, :origin, :commit, :certificate]

  defp clone(context, url, config \\ []) do
    work = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")

    result =
      GitCommand.run(["clone", "-q", url, work],
        config: [{"http.sslCAInfo", context.ca_file} | config]
      )

    {result, if(File.dir?(work), do: Repository.rev_parse(work))}
  end

  test "serves HTTP, and ends without leaving a process", context do
    {:ok, server} = Nginx.start_link(root: context.dir, dir: context.dir, gzip: true)
    assert {{"", 0}, commit} = clone(context, Nginx.url(server, "origin.git"))
    assert commit == context.commit
    Nginx.await(server, 3)

    assert [
             %{method: "GET", protocol: "HTTP/1.1", encoding: "gzip", status: 200},
             %{method: "POST", path: "/origin.git/git-upload-pack"},
             %{method: "POST", encoding: "gzip", client: nil}
           ] = Nginx.log(server)

    pids = Nginx.os_pids(server)
    assert length(pids) > 3
    GenServer.stop(server)
    assert Enum.filter(pids, &OsProcess.alive?/1) == []
  end

  test "answers again what was asked before, where it has a cache", context do
    [fresh, cached] =
      for cache <- [false, true],
          do: start_supervised!({Nginx, root: context.dir, dir: context.dir, cache: cache})

    {{"", 0}, first} = clone(context, Nginx.url(cached, "origin.git"))
    new = Repository.commit!(Path.join(context.dir, "origin.git"), %{"a.yaml" => "a: 2\n"})
    assert {{"", 0}, ^first} = clone(context, Nginx.url(cached, "origin.git"))
    assert {{"", 0}, ^new} = clone(context, Nginx.url(fresh, "origin.git"))
  end

  test "serves HTTPS by HTTP/2, and by HTTP/1.1", context do
    for {http2, protocol} <- [{true, "HTTP/2.0"}, {false, "HTTP/1.1"}] do
      options = [root: context.dir, dir: context.dir, tls: context.certificate, http2: http2]
      server = start_supervised!({Nginx, options})
      assert {{"", 0}, commit} = clone(context, Nginx.url(server, "origin.git"))
      assert commit == context.commit
      Nginx.await(server, 3)
      assert [%{protocol: ^protocol} | _] = Nginx.log(server)
    end
  end

  test "requires client certificates of an authority", context do
    client = Certificates.client()

    server =
      start_supervised!(
        {Nginx, root: context.dir, dir: context.dir, tls: context.certificate, client_ca: client.ca}
      )

    url = Nginx.url(server, "origin.git")
    assert {{output, 128}, nil} = clone(context, url)
    assert output =~ "400"

    for {pair, status} <- [{client, 0}, {Certificates.client(), 128}] do
      cert = Path.join(context.dir, "cert.pem")
      key = Path.join(context.dir, "key.pem")
      File.write!(cert, pair.cert)
      File.write!(key, pair.key)

      assert {{_output, ^status}, _commit} =
               clone(context, url, [{"http.sslCert", cert}, {"http.sslKey", key}])
    end

    assert Enum.any?(Nginx.log(server), &(&1.client && &1.status == 200))
  end

  test "can be reached through tinyproxy", context do
    plain = start_supervised!({Nginx, root: context.dir, dir: context.dir})
    tls = start_supervised!({Nginx, root: context.dir, dir: context.dir, tls: context.certificate})
    {daemon, proxy} = Tinyproxy.start!(context.dir, auth: {"ann", "open"})

    for server <- [plain, tls] do
      with_password = [{"http.proxy", String.replace(proxy, "://", "://ann:open@")}]
      assert {{"", 0}, commit} = clone(context, Nginx.url(server, "origin.git"), with_password)
      assert commit == context.commit

      assert {{output, 128}, nil} =
               clone(context, Nginx.url(server, "origin.git"), [{"http.proxy", proxy}])

      assert output =~ "407" or output =~ "could not read Username"
    end

    assert Daemon.count(daemon, ~r/CONNECT localhost:#{Nginx.port(tls)}/) >= 1
  end
end
