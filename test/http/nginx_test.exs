defmodule Alumiini.Git.NginxTest do
  # A second real server of HTTP, and HTTP/2.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{FastImport, Nginx, Relay}

  # Enough that answers come in several pieces.
  @moduletag files:
               for(
                 n <- 1..200,
                 into: %{},
                 do: {"deploy/#{n}.yaml", "n: #{n}\n" <> String.duplicate("x", n * 10)}
               )

  setup [:dir, :origin, :commit, :certificate, :trusting_git]

  defp trusting_git(context) do
    %{git: start_supervised!({Git, name: nil, tls: [ca: context.certificate.ca]})}
  end

  defp nginx!(context, options) do
    start_supervised!({Nginx, [root: context.dir, dir: context.dir] ++ options})
  end

  # A clone, something new, and nothing new, with different depths.
  defp assert_syncs(context, url) do
    first = Repository.rev_parse!(context.origin, "main")

    for depth <- [1, :infinity] do
      path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")
      options = [server: context.git, depth: depth]
      head = Repository.rev_parse!(context.origin, "main")
      assert Git.sync(url, "main", path, options) == {:ok, head}
      new = Repository.commit!(context.origin, %{"new.yaml" => "#{System.unique_integer()}\n"})
      for _ <- 1..2, do: assert(Git.sync(url, "main", path, options) == {:ok, new})
      Oracle.assert_synced(path, context.origin, new)
    end

    assert {:ok, [%{name: "HEAD"} | _]} = Git.refs(url, server: context.git)
    first
  end

  for {name, options, protocol} <- [
        {"HTTP", [], "HTTP/1.1"},
        {"HTTP, compressing all that it may", [gzip: true], "HTTP/1.1"},
        {"HTTPS", [tls: true, http2: false], "HTTP/1.1"},
        {"HTTPS by HTTP/2", [tls: true], "HTTP/2.0"},
        {"HTTPS by HTTP/2, compressing all that it may", [tls: true, gzip: true], "HTTP/2.0"}
      ] do
    test "clones and polls over #{name}", context do
      options = unquote(options)
      options = if options[:tls], do: Keyword.put(options, :tls, context.certificate), else: options
      server = nginx!(context, options)
      assert_syncs(context, Nginx.url(server, "origin.git"))
      Nginx.await(server, 6)
      assert Nginx.log(server) |> Enum.map(& &1.protocol) |> Enum.uniq() == [unquote(protocol)]
      assert Nginx.log(server) |> Enum.map(& &1.status) |> Enum.uniq() == [200]
    end
  end

  test "polls once, on the connection that it has", context do
    for options <- [[], [tls: context.certificate, http2: false], [tls: context.certificate]] do
      server = nginx!(context, options)
      url = Nginx.url(server, "origin.git")
      path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")
      assert {:ok, _commit} = Git.sync(url, "main", path, server: context.git)
      # The refs' advertisement, the refs, the pack.
      Nginx.await(server, 3)
      for _ <- 1..5, do: assert({:ok, _commit} = Git.sync(url, "main", path, server: context.git))
      Nginx.await(server, 8)
      assert length(Nginx.log(server)) == 8

      # Over HTTP/1.1 one more may be begun for a request that then finds the first free: it is
      # kept, too.
      assert server |> Nginx.log() |> Enum.uniq_by(& &1.connection) |> length() <= 3
    end
  end

  test "HTTP/2: many at once share a connection", context do
    server = nginx!(context, tls: context.certificate)
    names = for n <- 1..30, do: "copy#{n}.git"
    for name <- names, do: File.ln_s!(context.origin, Path.join(context.dir, name))
    ls_remote = fn name -> Git.ls_remote(Nginx.url(server, name), "main", server: context.git) end
    assert ls_remote.("origin.git") == {:ok, context.commit}

    answers = names |> Enum.map(&Task.async(fn -> ls_remote.(&1) end)) |> Task.await_many(30_000)
    assert Enum.uniq(answers) == [{:ok, context.commit}]
    # Two requests each: what it speaks, and the ref.
    Nginx.await(server, 62)
    assert [_one] = server |> Nginx.log() |> Enum.map(& &1.connection) |> Enum.uniq()
  end

  test "a connection that the server closed between two polls is no error", context do
    for tls <- [nil, context.certificate] do
      # The second is for connections that were opened and never used.
      server = nginx!(context, keepalive: 1, tls: tls, config: ["client_header_timeout 1s;"])
      relay = start_supervised!({Relay, to: Nginx.port(server)})
      url = Nginx.url(server, "origin.git", port: Relay.port(relay))
      path = Path.join(context.dir, "work-#{System.unique_integer([:positive])}")

      for _ <- 1..2 do
        before = Relay.stats(relay).connections
        assert {:ok, _commit} = Git.sync(url, "main", path, server: context.git)
        assert Relay.stats(relay).connections > before
        Relay.await(relay, {:open, 0})
      end
    end
  end

  test "a connection that is good for one request is no error either", context do
    for tls <- [nil, context.certificate] do
      server = nginx!(context, tls: tls, config: ["keepalive_requests 1;"])
      assert_syncs(context, Nginx.url(server, "origin.git"))
      connections = server |> Nginx.log() |> Enum.map(& &1.connection)
      assert Enum.uniq(connections) == connections
    end
  end

  test "client certificates: given, missing, and of another authority", context do
    client = Certificates.client()

    for http2 <- [true, false] do
      server = nginx!(context, tls: context.certificate, client_ca: client.ca, http2: http2)
      url = Nginx.url(server, "origin.git")
      path = Path.join(context.dir, "work-#{http2}")
      auth = Auth.from_secret(%{"tls.crt" => client.cert, "tls.key" => client.key})
      assert {:ok, _commit} = Git.sync(url, "main", path, server: context.git, auth: auth)

      tls = Map.take(client, [:cert, :key])
      assert {:ok, _commit} = Git.sync(url, "main", path, server: context.git, tls: tls)

      Nginx.await(server, 4)
      assert Enum.all?(Nginx.log(server), &(&1.client != nil))

      # nginx lets them in, and then answers 400 with a page that says why.
      other = Certificates.client()

      for options <- [[], [tls: Map.take(other, [:cert, :key])]] do
        assert {:error, %Error{retryable?: false} = error} =
                 Git.ls_remote(url, "main", [server: context.git] ++ options)

        assert error.reason in [:certificate, :protocol, :auth]
      end
    end
  end

  test "a history that does not fit into one piece", context do
    Repository.commits!(context.origin, for(n <- 1..20, do: %{files: noise(n), message: "#{n}\n"}))
    server = nginx!(context, tls: context.certificate)
    assert_syncs(context, Nginx.url(server, "origin.git"))
  end

  # Does not compress: 2 MB in all.
  @spec noise(pos_integer) :: FastImport.files()
  defp noise(n), do: %{"large-#{n}" => :rand.bytes_s(100_000, :rand.seed_s(:exsss, n)) |> elem(0)}
end
