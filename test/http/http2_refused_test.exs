defmodule Alumiini.Git.Http2RefusedTest do
  # Servers that negotiate HTTP/2 and then want requests by HTTP/1.1.
  use Alumiini.Git.Test.HttpCase, async: true

  alias Alumiini.Git.Test.Http2Refuser

  setup [:dir, :origin, :commit, :certificate, :http]

  for refusal <- [:rst_stream, :goaway] do
    test "by #{refusal}: once more by HTTP/1.1, which is remembered for the host", context do
      %{dir: dir, origin: origin, commit: commit, path: path, certificate: certificate} = context
      Repository.create!(dir, "other.git")

      refuser =
        start_supervised!(
          {Http2Refuser,
           port: HttpServer.port(context.http), tls: certificate.tls, refusal: unquote(refusal)}
        )

      git = start_supervised!({Git, name: nil, tls: [ca: certificate.ca]})
      url = Http2Refuser.url(refuser, "origin.git")

      assert Git.sync(url, "main", path, server: git) == {:ok, commit}
      Oracle.assert_synced(path, origin, commit)
      assert %{http2: 1, http1: http1} = Http2Refuser.counts(refuser)
      assert http1 >= 1
      new = Repository.commit!(origin, %{"a.yaml" => "a: 2\n"})
      assert Git.sync(url, "main", path, server: git) == {:ok, new}
      assert {:ok, []} = Git.refs(Http2Refuser.url(refuser, "other.git"), server: git)
      assert %{http2: 1} = Http2Refuser.counts(refuser)
    end
  end
end
