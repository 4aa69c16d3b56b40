defmodule Alumiini.Git.DeniedTest do
  # A server that stands for several, of which some are behind: what one lists, another denies.
  use Alumiini.Git.Test.HttpCase, async: true

  setup [:dir, :origin, :commit, :http, :git]

  # In v0, what follows the advertisement is the fetch.
  setup context do
    HttpServer.rule(context.http, :no_v2)
    :ok
  end

  defp pkt(data),
    do:
      (byte_size(data) + 4)
      |> Integer.to_string(16)
      |> String.pad_leading(4, "0")
      |> Kernel.<>(data)

  defp result(body),
    do: {:status, 200, [{"content-type", "application/x-git-upload-pack-result"}], body}

  defp empty_pack do
    pack = <<"PACK", 2::32, 0::32>>
    "0000" <> pkt("NAK\n") <> pkt(<<1>> <> pack <> :crypto.hash(:sha, pack)) <> "0000"
  end

  defp denials do
    [
      {:status, 404},
      result(pkt("ERR upload-pack: not our ref #{String.duplicate("1", 40)}")),
      result(empty_pack())
    ]
  end

  test "a while: the call waits for it, and answers", context do
    %{origin: origin, http: http, path: path} = context

    for {denial, n} <- Enum.with_index(denials()) do
      commit = Repository.commit!(origin, %{"a.yaml" => "a: #{n}\n"}, message: "#{n}")
      rule = HttpServer.rule(http, denial, on: :upload_pack, first: 4)
      assert sync(context) == {:ok, commit}
      HttpServer.remove(http, rule)
      Oracle.assert_synced(path, origin, commit)
    end
  end

  test "longer than the call may take: retryable, and what was there stays", context do
    %{origin: origin, commit: commit, http: http, path: path} = context
    assert {:ok, ^commit} = sync(context)
    Repository.commit!(origin, %{"a.yaml" => "a: 2\n"})

    for denial <- denials() do
      rule = HttpServer.rule(http, denial, on: :upload_pack)

      assert {:error, %Error{retryable?: true}} =
               Git.sync(context.url, "main", path, server: context.git, timeout: 500)

      HttpServer.remove(http, rule)
      Oracle.assert_synced(path, origin, commit)
    end
  end

  test "a repository that is gone is gone", context do
    HttpServer.rule(context.http, {:status, 404})
    assert {:error, error} = sync(context)
    assert %Error{reason: :repo_not_found, retryable?: false} = error
  end
end
