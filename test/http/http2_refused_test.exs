defmodule Alumiini.Git.Http2RefusedTest do
  # Servers that negotiate HTTP/2 and then want requests by HTTP/1.1.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Test.{Certificates, Http2Refuser, HttpServer, Oracle, Repository, TempDir}

  for refusal <- [:rst_stream, :goaway] do
    test "by #{refusal}: once more by HTTP/1.1, which is remembered for the host" do
      dir = TempDir.create!("http2-refused")
      root = Path.join(dir, "root")
      File.mkdir_p!(root)
      for name <- ["app.git", "other.git"], do: Repository.create!(root, name)
      origin = Path.join(root, "app.git")
      commit = Repository.commit!(origin, %{"a.yaml" => "a: 1\n"})
      certificate = Certificates.build(:good)
      http = start_supervised!({HttpServer, root: root})
      tls = certificate.tls

      refuser =
        start_supervised!(
          {Http2Refuser, port: HttpServer.port(http), tls: tls, refusal: unquote(refusal)}
        )

      git = start_supervised!({Git, name: nil, tls: [ca: certificate.ca]})
      url = Http2Refuser.url(refuser, "app.git")
      work = Path.join(dir, "work")

      assert Git.sync(url, "main", work, server: git) == {:ok, commit}
      Oracle.assert_synced(work, origin, commit)
      assert %{http2: 1, http1: http1} = Http2Refuser.counts(refuser)
      assert http1 >= 1
      new = Repository.commit!(origin, %{"a.yaml" => "a: 2\n"})
      assert Git.sync(url, "main", work, server: git) == {:ok, new}
      assert {:ok, []} = Git.refs(Http2Refuser.url(refuser, "other.git"), server: git)
      assert %{http2: 1} = Http2Refuser.counts(refuser)
    end
  end
end
