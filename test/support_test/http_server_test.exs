defmodule Alumiini.Git.Test.HttpServerTest do
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :commits]

  defp commits(%{origin: origin}) do
    first = Repository.commit!(origin, %{"deploy/app.yaml" => "kind: A\n"})
    second = Repository.commit!(origin, %{"deploy/app.yaml" => "kind: B\n", "large.bin" => large()})
    %{first: first, second: second}
  end

  # Does not compress, so that a pack of it has a known order of size.
  defp large, do: :rand.bytes_s(300_000, :rand.seed_s(:exsss, 1)) |> elem(0)

  defp serve(context, options \\ []),
    do: start_supervised!({HttpServer, [root: context.dir] ++ options})

  describe "a well-behaved server" do
    test "serves a clone on one connection, in protocol v2", context do
      server = serve(context)
      GitCommand.run!(["clone", HttpServer.url(server, "origin.git"), context.path])
      Oracle.assert_synced(context.path, context.origin, context.second)

      assert [:info_refs, :upload_pack, :upload_pack] =
               for(request <- HttpServer.log(server), do: request.service)

      assert [1, 1, 1] = for(request <- HttpServer.log(server), do: request.connection)
      assert Enum.all?(HttpServer.log(server), &(&1.protocol == "version=2"))
      assert HttpServer.stats(server).pack_bytes > 300_000
      assert HttpServer.stats(server).bytes_out > HttpServer.stats(server).pack_bytes
    end

    test "serves protocol v0, and a fetch of what is new", context do
      server = serve(context)
      HttpServer.rule(server, :no_v2)
      GitCommand.run!(["clone", HttpServer.url(server, "origin.git"), context.path])
      third = Repository.commit!(context.origin, %{"new.yaml" => "a: 1\n"})
      sent = HttpServer.stats(server).pack_bytes
      GitCommand.run!(["pull", "--ff-only"], cd: context.path)
      Oracle.assert_synced(context.path, context.origin, third)
      assert HttpServer.stats(server).pack_bytes - sent < 2_000

      # v0 advertises in the answer to the first request; v2 would have asked with a command.
      refute Enum.any?(HttpServer.log(server), &(&1.body =~ "command="))
    end

    test "serves shallow clones and deepens them", context do
      server = serve(context)

      GitCommand.run!(["clone", "--depth", "1", HttpServer.url(server, "origin.git"), context.path])

      assert GitCommand.run!(["rev-list", "HEAD"], cd: context.path) == context.second <> "\n"
      GitCommand.run!(["fetch", "--unshallow"], cd: context.path)

      assert GitCommand.run!(["rev-list", "HEAD"], cd: context.path) ==
               "#{context.second}\n#{context.first}\n"
    end

    test "filters, which can be refused", context do
      server = serve(context)
      url = HttpServer.url(server, "origin.git")
      GitCommand.run!(["clone", "--no-checkout", "--filter=blob:none", url, context.path])
      assert HttpServer.stats(server).pack_bytes < 2_000

      HttpServer.rule(server, {:config, [{"uploadpack.allowFilter", "false"}]})
      GitCommand.run!(["clone", "--no-checkout", "--filter=blob:none", url, context.path <> "2"])
      assert HttpServer.stats(server).pack_bytes > 300_000
    end

    test "takes a push, with a body in chunks", context do
      server = serve(context)
      url = HttpServer.url(server, "origin.git")
      GitCommand.run!(["clone", url, context.path])
      File.write!(Path.join(context.path, "pushed.bin"), :rand.bytes(200_000))
      GitCommand.run!(["add", "."], cd: context.path)
      GitCommand.run!(["commit", "-m", "Pushed"], cd: context.path)
      GitCommand.run!(["push"], cd: context.path, config: [{"http.postBuffer", "1000"}])

      assert Repository.rev_parse!(context.origin, "main") == Repository.rev_parse!(context.path)
      assert Enum.any?(HttpServer.log(server), &(&1.headers["transfer-encoding"] == "chunked"))
    end

    test "takes compressed requests", context do
      server = serve(context)
      # Many branches make a long list of wants.
      topics =
        for n <- 1..40,
            do: %{branch: "topic-#{n}", files: %{"n.yaml" => "n: #{n}\n"}, from: context.first}

      Repository.commits!(context.origin, topics)
      GitCommand.run!(["clone", HttpServer.url(server, "origin.git"), context.path])

      assert Enum.any?(HttpServer.log(server), &(&1.headers["content-encoding"] == "gzip"))

      assert Repository.rev_parse!(context.path, "origin/topic-40") ==
               Repository.rev_parse!(context.origin, "topic-40")
    end

    test "says that a repository is not there", context do
      server = serve(context)
      assert {output, 128} = GitCommand.run(["ls-remote", HttpServer.url(server, "none.git")])
      assert output =~ "not found"
    end

    test "serves an empty repository", context do
      server = serve(context)
      Repository.create!(context.dir, "empty.git")
      assert GitCommand.run!(["ls-remote", HttpServer.url(server, "empty.git")]) == ""
    end

    test "serves many at once", context do
      server = serve(context)
      url = HttpServer.url(server, "origin.git")

      1..24
      |> Task.async_stream(fn n -> GitCommand.run!(["clone", url, "#{context.path}-#{n}"]) end,
        max_concurrency: 24,
        timeout: 60_000
      )
      |> Enum.each(fn {:ok, _} -> :ok end)

      for n <- 1..24,
          do: Oracle.assert_tree_equals("#{context.path}-#{n}", context.origin, context.second)
    end

    test "comes back on its old port", context do
      server = serve(context)
      url = HttpServer.url(server, "origin.git")
      port = HttpServer.port(server)
      GitCommand.run!(["ls-remote", url])
      stop_supervised!(child_id(server))
      assert {_, 128} = GitCommand.run(["ls-remote", url])
      serve(context, port: port)
      GitCommand.run!(["ls-remote", url])
    end
  end

  defp child_id(pid) do
    {:ok, supervisor} = ExUnit.fetch_test_supervisor()

    Enum.find_value(Supervisor.which_children(supervisor), fn {id, child, _, _} ->
      if child == pid, do: id
    end)
  end

  describe "TLS" do
    defp trusting(certificate, dir) do
      file = Path.join(dir, "ca.pem")
      File.write!(file, certificate.ca)
      [config: [{"http.sslCAInfo", file}]]
    end

    test "serves a clone to those who trust its authority", context do
      certificate = Certificates.build(:good)
      server = serve(context, tls: certificate.tls)
      "https://" <> _ = url = HttpServer.url(server, "origin.git")
      GitCommand.run!(["clone", url, context.path], trusting(certificate, context.dir))
      Oracle.assert_synced(context.path, context.origin, context.second)
    end

    test "is good for the address too", context do
      certificate = Certificates.build(:good)
      server = serve(context, tls: certificate.tls, host: "127.0.0.1")

      GitCommand.run!(
        ["ls-remote", HttpServer.url(server, "origin.git")],
        trusting(certificate, context.dir)
      )
    end

    for kind <- [:expired, :wrong_host, :self_signed] do
      test "is refused by git where the certificate is #{kind}", context do
        certificate = Certificates.build(unquote(kind))
        server = serve(context, tls: certificate.tls)
        options = trusting(certificate, context.dir)

        assert {output, 128} =
                 GitCommand.run(["ls-remote", HttpServer.url(server, "origin.git")], options)

        assert output =~ ~r/certificate/
        assert HttpServer.log(server) == []
      end
    end

    test "resets reach the client also here", context do
      certificate = Certificates.build(:good)
      server = serve(context, tls: certificate.tls)
      HttpServer.rule(server, {:stop, {:pack, 100_000}, :reset})
      options = trusting(certificate, context.dir)

      assert {_, 128} =
               GitCommand.run(
                 ["clone", HttpServer.url(server, "origin.git"), context.path],
                 options
               )

      assert HttpServer.stats(server).pack_bytes == 100_000
    end
  end

  describe "credentials" do
    test "by name and password", context do
      server = serve(context)
      HttpServer.rule(server, {:require, {:basic, "robot", "s3cret/@:"}})
      assert {output, 128} = GitCommand.run(["ls-remote", HttpServer.url(server, "origin.git")])
      assert output =~ "could not read Username"

      assert GitCommand.run!([
               "ls-remote",
               HttpServer.url(server, "origin.git", {"robot", "s3cret/@:"})
             ]) =~
               context.second

      assert [nil, nil, "basic" | _] =
               for(request <- HttpServer.log(server), do: request.authorization)
    end

    test "by token, for one repository", context do
      server = serve(context)
      HttpServer.rule(server, {:require, {:bearer, "t0ken"}}, path: "origin.git")
      Repository.create!(context.dir, "open.git")
      url = HttpServer.url(server, "origin.git")
      assert {_, 128} = GitCommand.run(["ls-remote", url])

      GitCommand.run!(["ls-remote", url],
        config: [{"http.extraHeader", "Authorization: Bearer t0ken"}]
      )

      GitCommand.run!(["ls-remote", HttpServer.url(server, "open.git")])
    end
  end
end
