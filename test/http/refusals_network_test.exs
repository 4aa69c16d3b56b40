defmodule Alumiini.Git.RefusalsNetworkTest do
  # What servers, certificates and connections do wrong: each with its reason, and nothing touched.
  use Alumiini.Git.Test.HttpCase, async: true

  import Alumiini.Git.Test.ErrorAssertions

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{Manifests, OsProcess, ScriptedTcp}

  @moduletag files: %{"app.yaml" => "a\n", "deploy/x.yaml" => "x\n"}

  setup [:dir, :origin, :commit, :http, :git, :new_commit]

  # One clone to be left as it is, and something new that it lacks: about 60 KB that do not
  # compress.
  defp new_commit(context) do
    %{dir: dir, path: clone} = context
    for _ <- 1..2, do: assert(sync(context) == {:ok, context.commit})
    commit = Repository.commit!(context.origin, Manifests.many(30, bytes: 2_000))
    new = Path.join(dir, "new/below")

    sizes = %{
      new => pack_size(context, Path.join(dir, "absent")),
      clone => pack_size(context, clone)
    }

    %{commit: commit, new: new, sizes: sizes}
  end

  # How many bytes a sync of such a path gets, tried on a copy.
  defp pack_size(context, path) do
    copy = Path.join(context.dir, "copy")
    if File.exists?(path), do: {_, 0} = System.cmd("cp", ["-a", path, copy])
    HttpServer.reset(context.http)
    assert {:ok, _} = sync(context, path: copy)
    TempDir.remove!(copy)
    HttpServer.stats(context.http).pack_bytes
  end

  # As a first clone, and as a fetch into a clone; `misbehave` makes the server do it before each,
  # and may want to know the size of the pack.
  defp assert_refused_twice(context, reason, words, misbehave, options \\ []) do
    [_, error] =
      for path <- [context.new, context.path] do
        HttpServer.reset(context.http)
        if is_function(misbehave, 1), do: misbehave.(context.sizes[path]), else: misbehave.()
        touched = if path == context.new, do: Path.dirname(path), else: path
        assert_refused([touched], reason, words, fn -> sync(context, [path: path] ++ options) end)
      end

    error
  end

  # The server is well again, and so is everything else.
  defp assert_usable(context) do
    HttpServer.reset(context.http)
    refute File.exists?(Path.dirname(context.new))

    for path <- [context.new, context.path] do
      assert sync(context, path: path) == {:ok, context.commit}
      Oracle.assert_synced(path, context.origin, context.commit)
    end
  end

  defp rule(context, action, options \\ []),
    do: fn -> HttpServer.rule(context.http, action, options) end

  describe "an HTTP status, to the first question or to the fetch:" do
    for {status, reason, words} <- [
          {401, :auth, ["credentials", "auth"]},
          {403, :auth, ["refuses access", "403"]},
          {404, :repo_not_found, ["no repository"]},
          {410, :repo_not_found, ["no repository"]},
          {429, :rate_limited, ["too often", "429", "later"]},
          {500, :network, ["500", "later"]},
          {502, :network, ["502", "later"]},
          {503, :network, ["503", "later"]},
          {418, :protocol, ["418", "check the URL"]}
        ] do
      @status status
      @reason reason
      @words words

      test "#{status}", context do
        for options <- [[], [on: :upload_pack], [on: :upload_pack, skip: 1]] do
          words = [context.url | @words]

          error =
            assert_refused_twice(
              context,
              @reason,
              words,
              rule(context, {:status, @status}, options)
            )

          assert error.detail == %{status: @status, url: context.url}
        end

        assert_usable(context)
      end
    end

    test "401 for credentials that are wrong", context do
      right = rule(context, {:require, {:basic, "user", "right"}})
      options = [auth: Auth.basic("user", "wr0ng"), allow_insecure: true]
      words = [context.url, "did not accept the credentials", "check"]
      error = assert_refused_twice(context, :auth, words, right, options)
      refute inspect(error) =~ "wr0ng"
      assert_refused_twice(context, :auth, [context.url, "none were given"], right)

      HttpServer.reset(context.http)
      right.()
      options = [auth: Auth.basic("user", "right"), allow_insecure: true]
      assert sync(context, [path: context.new] ++ options) == {:ok, context.commit}
    end
  end

  describe "an answer that is not Git's:" do
    test "a page to log in, for credentials that a forge does not take", context do
      options = [auth: Auth.basic("user", "wr0ng"), allow_insecure: true]

      for where <- [[], [on: :upload_pack], [on: :upload_pack, skip: 1]] do
        words = [context.url, "page to log in", "credentials"]
        error = assert_refused_twice(context, :auth, words, rule(context, :html, where), options)
        assert error.detail == %{status: 200, url: context.url}
      end

      # A function is asked again, as after a 401, and gives others.
      HttpServer.reset(context.http)
      HttpServer.rule(context.http, :html, first: 1)
      asked = :counters.new(1, [])

      auth = fn ->
        :counters.add(asked, 1, 1)
        Auth.basic("user", "#{:counters.get(asked, 1)}")
      end

      assert sync(context, path: context.new, auth: auth, allow_insecure: true) ==
               {:ok, context.commit}

      assert :counters.get(asked, 1) == 2
    end

    test "an HTML page, at any point", context do
      for options <- [[], [on: :upload_pack], [on: :upload_pack, skip: 1]] do
        words = [context.url, "HTML", ~r/check the URL|login/i]
        assert_refused_twice(context, :protocol, words, rule(context, :html, options))
      end

      assert_usable(context)
    end

    test "a redirect to a login page, one without end, and one to another scheme", context do
      login = HttpServer.url(context.http, "login")

      assert_refused_twice(
        context,
        :repo_not_found,
        ["login"],
        rule(context, {:redirect, 302, login}, path: "origin.git")
      )

      loop = rule(context, {:redirect, 301, context.url})
      assert_refused_twice(context, :protocol, [context.url, "redirects", "check the URL"], loop)
      away = rule(context, {:redirect, 301, "file:///etc"})
      assert_refused_twice(context, :protocol, [context.url, "redirects"], away)
      assert_usable(context)
    end

    test "200 with nothing, with noise, and with another kind of Git", context do
      advertisement = [{"content-type", "application/x-git-upload-pack-advertisement"}]

      for {headers, body, reason} <- [
            {advertisement, "", :network},
            {advertisement, "no pkt-line at all", :protocol},
            {advertisement, "001e# service=git-upload-pack\n0000", :network},
            {advertisement, "001f# service=git-receive-pack\n0000", :protocol},
            {[{"content-type", "application/json"}], "{}", :protocol},
            {[{"content-type", "text/plain"}], "ref\n", :protocol}
          ] do
        context =
          Map.put(
            context,
            :new,
            Path.join(context.dir, "fresh/#{System.unique_integer([:positive])}")
          )

        HttpServer.rule(context.http, {:status, 200, headers, body})
        touched = Path.join(context.dir, "fresh")
        assert_refused([touched], reason, [context.url], fn -> sync(context, path: context.new) end)
        HttpServer.reset(context.http)
      end

      assert_usable(context)
    end

    test "not even HTTP", context do
      for answer <- [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "220 mail.example.com ESMTP\r\n",
            <<21, 3, 1, 0, 2, 2, 40>>
          ] do
        {:ok, peer} = ScriptedTcp.start_link([{:receive_until, "\r\n\r\n"}, {:send, answer}, :hold])
        context = Map.put(context, :url, ScriptedTcp.url(peer))
        assert_refused_twice(context, :protocol, [context.url, "HTTP", "port"], fn -> :ok end)
      end

      # TLS where there is none.
      context = Map.put(context, :url, String.replace(context.url, "http://", "https://"))

      assert_refused_twice(context, :network, [context.url, "check host and port"], fn ->
        :ok
      end)
    end
  end

  describe "a connection" do
    test "that is cut before an answer", context do
      for how <- [:close, :reset],
          options <- [[], [on: :upload_pack], [on: :upload_pack, skip: 1]] do
        assert_refused_twice(context, :network, [context.url], rule(context, {:cut, how}, options))
      end

      assert_usable(context)
    end

    test "that is cut anywhere in the pack", context do
      for at <- [0, 1, 4, 11, 12, 13, 100, {1, 2}, -21, -20, -1], how <- [:close, :reset] do
        words = [context.url, "was cut"]

        assert_refused_twice(
          context,
          :network,
          words,
          &HttpServer.rule(context.http, {:stop, {:pack, at(at, &1)}, how})
        )
      end

      assert_usable(context)
    end

    test "that ends well around half a pack", context do
      for at <- [0, 1, 12, 100, {1, 2}, -20, -1] do
        rule = &HttpServer.rule(context.http, {:stop, {:pack, at(at, &1)}, :finish})
        assert_refused_twice(context, :network, [context.url], rule)
      end

      assert_usable(context)
    end

    test "that is cut within the answers to other questions", context do
      for at <- [0, 1, 10, 40],
          service <- [:info_refs, :upload_pack],
          how <- [:close, :reset, :finish] do
        HttpServer.reset(context.http)
        HttpServer.rule(context.http, {:stop, {:body, at}, how}, on: service)
        # One that does not know yet what the server speaks.
        git = start_supervised!({Git, name: nil}, id: make_ref())
        call = fn -> sync(%{context | git: git}, path: context.new) end
        assert_refused([Path.dirname(context.new)], :network, [context.url], call)
      end

      assert_usable(context)
    end

    test "whose server falls silent, up to the deadline", context do
      before = Directory.contents(context.path)

      for action <- [:silent, {:stop, {:pack, 1_000}, :stall}],
          path <- [context.new, context.path] do
        HttpServer.reset(context.http)
        HttpServer.rule(context.http, action)
        assert {:error, error} = sync(context, path: path, timeout: 500)
        assert {error.reason, error.retryable?} == {:timeout, true}
        # The caller is answered at its deadline; the worker then takes away what it made.
        left = [Path.dirname(context.new), Path.join(context.path, ".git/alumiini-incoming")]
        assert OsProcess.await(fn -> not Enum.any?(left, &File.exists?/1) end, 5_000) == :ok
        assert Directory.touched(before, Directory.contents(context.path)) == []
      end

      assert_usable(context)
    end
  end

  test "a corrupt pack, wherever the bit flipped", context do
    # The signature, the version, the count, an object's head, contents, the checksum.
    for at <- [0, 3, 7, 9, 11, 12, 13, 14, 200, {1, 2}, -25, -20, -1] do
      # Both times that a damaged answer is asked for: a clone is tried where a fetch ended so.
      rule = &HttpServer.rule(context.http, {:corrupt, at(at, &1)})
      error = assert_refused_twice(context, :corrupt, ["pack", "damaged"], rule)
      assert error.detail.url == context.url
    end

    assert_usable(context)
  end

  # A place in a pack: from its beginning, from its end, or a part of it.
  defp at({part, of}, size), do: div(size * part, of)
  defp at(from_end, size) when from_end < 0, do: size + from_end
  defp at(at, _size), do: at

  describe "a certificate" do
    # The worker reads SSL_CERT_FILE when it starts; only it gets the variable, by a program that
    # starts it so.
    defp trusting(context, certificates) do
      ca = Path.join(context.dir, "ca.pem")
      File.write!(ca, Enum.map(certificates, & &1.ca))
      script = WrappedWorker.write!(context.dir, %{"SSL_CERT_FILE" => ca})
      start_supervised!({Git, name: nil, binary: script}, id: :trusting)
    end

    defp https(context, certificate, git, host \\ "localhost") do
      server = start_supervised!({HttpServer, root: context.dir, tls: certificate.tls, host: host})

      Map.merge(context, %{git: git, url: HttpServer.url(server, "origin.git")})
    end

    test "that is right", context do
      good = Certificates.build(:good)
      git = trusting(context, [good])

      for host <- ["localhost", "127.0.0.1"] do
        secure = https(context, good, git, host)
        path = Path.join(context.dir, "over-#{host}")
        assert sync(secure, path: path) == {:ok, context.commit}
        Oracle.assert_synced(path, context.origin, context.commit)
        # Credentials may travel here.
        assert {:ok, _} = sync(secure, path: path, auth: Auth.basic("user", "password"))
      end
    end

    for {kind, words} <- [
          expired: ["expired"],
          wrong_host: [~r/another host|not for|not valid for/],
          self_signed: [~r/issuer|not trusted|unknown|authority/i]
        ] do
      @kind kind
      @words words

      test "that is #{kind}", context do
        certificate = Certificates.build(@kind)

        secure =
          https(context, certificate, trusting(context, [Certificates.build(:good), certificate]))

        assert_refused_twice(secure, :certificate, ["localhost" | @words], fn -> :ok end)
      end
    end

    test "of an authority that nobody here trusts", context do
      good = Certificates.build(:good)
      words = ["localhost", ~r/issuer|not trusted|unknown|authority/i]

      # With the system's own roots, and with another one's.
      for git <- [context.git, trusting(context, [Certificates.build(:good)])] do
        secure = https(context, good, git)
        assert_refused_twice(secure, :certificate, words, fn -> :ok end)
      end
    end
  end
end
