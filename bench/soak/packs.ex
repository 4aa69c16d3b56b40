defmodule Alumiini.Git.Bench.Soak.Packs do
  @moduledoc """
  A server sends packs that are damaged at random: bytes changed, left out, doubled, the end
  missing, with the checksum put right in half of them, so that the damage gets deeper. Each is
  refused with a reason, or is a repository that Git finds sound; the worker lives.
  """

  alias Alumiini.Git
  alias Alumiini.Git.Bench.Soak.Origin
  alias Alumiini.Git.Test.{GitCommand, HostilePacks, HttpServer, Repository}

  @pause 250
  @timeout 10_000
  @handler "soak-packs"
  @reasons ~w(protocol corrupt too_large unsafe_path network)a

  @spec run(atom, map) :: map
  def run(server, given) do
    deaths = :counters.new(1, [])

    :telemetry.attach(
      @handler,
      [:alumiini_git, :worker, :down],
      &__MODULE__.down/4,
      %{server: server, deaths: deaths}
    )

    origin = Origin.create!(given, "fed.git", 40)
    Enum.each(1..20, fn _n -> Origin.push!(origin) end)
    sha = Origin.push!(origin)
    pack = pack(origin)
    told = feed(%{server: server, given: given, sha: sha, pack: pack}, 0, %{}, [])
    :telemetry.detach(@handler)
    died = :counters.get(deaths, 1)
    wrong = if died > 0, do: ["#{died} workers that were fed packs died"], else: []

    %{
      name: "packs damaged at random",
      wrong: wrong ++ told.wrong,
      figures: [packs: told.count, outcomes: Enum.sort(told.outcomes), deaths: died]
    }
  end

  @doc false
  def down(_event, _measurements, %{server: server}, %{server: server, deaths: deaths}),
    do: :counters.add(deaths, 1, 1)

  def down(_event, _measurements, _metadata, _config), do: :ok

  # All history, mostly deltas.
  defp pack(origin) do
    Repository.repack!(origin.path)
    [pack] = Path.wildcard(Path.join(origin.path, "objects/pack/*.pack"))
    File.read!(pack)
  end

  defp feed(fed, count, outcomes, wrong) do
    if System.monotonic_time(:millisecond) >= fed.given.until do
      %{count: count, outcomes: outcomes, wrong: wrong}
    else
      damaged = damaged(fed.pack)
      {outcome, bad} = outcome(fed, damaged, "fed-#{count}.git")
      receive after: (@pause -> :ok)
      feed(fed, count + 1, Map.update(outcomes, outcome, 1, &(&1 + 1)), bad ++ wrong)
    end
  end

  defp outcome(fed, pack, name) do
    path = Path.join(fed.given.dir, name)
    answers = HostilePacks.answers(pack, fed.sha)

    rules =
      for {on, service} <- [info_refs: "advertisement", upload_pack: "result"] do
        headers = [{"content-type", "application/x-git-upload-pack-#{service}"}]
        answer = {:status, 200, headers, IO.iodata_to_binary(answers[on])}
        HttpServer.rule(fed.given.http, answer, path: name, on: on)
      end

    url = HttpServer.url(fed.given.http, name)
    result = Git.sync(url, "main", path, server: fed.server, timeout: @timeout)
    Enum.each(rules, &HttpServer.remove(fed.given.http, &1))
    judged = judge(result, path, fed.sha)
    File.rm_rf!(path)
    judged
  end

  defp judge({:error, %Git.Error{reason: reason}}, _path, _sha) when reason in @reasons,
    do: {reason, []}

  defp judge({:ok, sha}, path, sha) do
    case GitCommand.run(["fsck", "--strict"], cd: path) do
      {_output, 0} -> {:sound, []}
      {output, _status} -> {:taken, ["a damaged pack was taken: #{output}"]}
    end
  end

  defp judge({:error, %Git.Error{reason: reason} = error}, _path, _sha),
    do: {reason, ["a damaged pack: #{inspect(error)}"]}

  defp judge(other, _path, _sha), do: {:other, ["a damaged pack: #{inspect(other)}"]}

  defp damaged(pack) do
    body = binary_part(pack, 0, byte_size(pack) - 20)
    damaged = Enum.reduce(1..:rand.uniform(4), body, fn _n, body -> damage(body) end)

    case :rand.uniform(2) do
      1 -> damaged <> :crypto.hash(:sha, damaged)
      2 -> damaged <> binary_part(pack, byte_size(pack), -20)
    end
  end

  defp damage(body) do
    at = :rand.uniform(byte_size(body)) - 1
    length = min(:rand.uniform(64), byte_size(body) - at)
    <<before::binary-size(at), piece::binary-size(length), rest::binary>> = body

    case :rand.uniform(5) do
      1 -> before <> :rand.bytes(length) <> rest
      2 -> before <> rest
      3 -> before <> piece <> piece <> rest
      4 when at > 64 -> before
      _ -> before <> flip(piece) <> rest
    end
  end

  defp flip(<<byte, rest::binary>>),
    do: <<Bitwise.bxor(byte, 1 + :rand.uniform(254)), rest::binary>>
end
