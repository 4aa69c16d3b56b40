defmodule Alumiini.Git.HostileSoakTest do
  # Servers, commits, directories and requests that want to take all there is, all at once, and
  # fifty repositories of others that are synced by the same worker meanwhile.
  use Alumiini.Git.Test.HttpCase, async: false

  alias Alumiini.Git.Auth
  alias Alumiini.Git.Test.{Flooder, HostilePacks, OsProcess, ScriptedTcp, SshKeys}

  # With ONLY set to the name of one kind, only that is at work.
  @moduletag :soak
  @moduletag timeout: 900_000

  @innocent 50
  @rounds 8
  # What a hostile call may take, and how much later its answer may come.
  @timeout 2_000
  @late 1_500
  # Between two calls of one kind: a controller polls none of its repositories as fast as it can.
  # Their servers have no such manners.
  @pause 200

  @moduletag git_config: [{"core.maxTreeDepth", "100000"}]

  setup [:dir, :http, :git]

  test "syncs of others stay within twice their time, and every hostile call is answered in time",
       context do
    innocents = innocents!(context)
    only = System.get_env("ONLY")
    calls = for {name, call} <- hostile_calls!(context), only in [nil, name], do: {name, call}
    flag = :atomics.new(1, [])
    late = :ets.new(:late, [:public])
    drivers = for {name, call} <- calls, do: Task.async(fn -> drive(name, call, flag, late) end)

    # Nobody is measured cold.
    round!(context, innocents)

    times =
      for _round <- 1..@rounds, phase <- [:alone, :hostile], reduce: %{alone: [], hostile: []} do
        times ->
          :atomics.put(flag, 1, if(phase == :hostile, do: 1, else: 0))
          if phase == :alone, do: quiet!(context.git)
          Map.update!(times, phase, &(round!(context, innocents) ++ &1))
      end

    memory = OsProcess.memory(worker(context.git), :peak)
    :atomics.put(flag, 1, 2)
    counts = Task.await_many(drivers, 60_000)

    {alone, hostile} = {median(times.alone), median(times.hostile)}
    slow = &ms(percentile(times[&1], 95))

    IO.puts("""

    #{@innocent} repositories, #{@rounds} rounds each way: a sync alone #{ms(alone)}, \
    with the hostile #{ms(hostile)} (#{Float.round(hostile / alone, 2)} ×)
    95 of 100 within #{slow.(:alone)} and #{slow.(:hostile)}; \
    the worker's memory peaked at #{div(memory, 1_048_576)} MiB
    hostile calls, and how the last one ended:
    #{Enum.map_join(counts, "\n    ", fn {name, count, last} -> "#{name}: #{count}, #{last}" end)}
    """)

    assert Enum.all?(counts, fn {_name, count, _last} -> count > 0 end)
    assert :ets.tab2list(late) == []
    assert hostile <= 2 * alone
    assert memory < 1_500 * 1_048_576
  end

  ## Others

  defp innocents!(context) do
    for n <- 1..@innocent do
      name = "app#{n}.git"
      origin = Repository.create!(context.dir, name)
      files = for f <- 1..50, into: %{}, do: {"deploy/#{f}.yaml", "app: #{n}\nfile: #{f}\n"}
      Repository.commit!(origin, files)
      path = Path.join(context.dir, "work#{n}")

      assert {:ok, _sha} =
               Git.sync(HttpServer.url(context.http, name), "main", path, server: context.git)

      %{n: n, origin: origin, url: HttpServer.url(context.http, name), path: path}
    end
  end

  # Each is synced, every fifth to a new commit, eight at a time. Microseconds of each.
  defp round!(context, innocents) do
    for %{n: n, origin: origin} <- innocents, rem(n, 5) == 0 do
      Repository.commit!(origin, %{"deploy/1.yaml" => "again: #{System.unique_integer()}\n"})
    end

    innocents
    |> Task.async_stream(
      fn innocent ->
        {time, result} =
          :timer.tc(fn -> Git.sync(innocent.url, "main", innocent.path, server: context.git) end)

        assert {:ok, _sha} = result
        assert {:ok, names} = Git.files(innocent.path, "deploy", server: context.git)
        assert length(names) == 50
        time
      end,
      max_concurrency: 8,
      timeout: 60_000
    )
    |> Enum.map(fn {:ok, time} -> time end)
  end

  defp quiet!(git),
    do: assert(OsProcess.await(fn -> Git.Server.info(git).pending == 0 end, 20_000) == :ok)

  defp worker(git) do
    [pid] =
      for %{os_pid: pid} <- List.wrap(:sys.get_state(git).workers |> Map.values()), pid, do: pid

    pid
  end

  defp median(times), do: percentile(times, 50)
  defp percentile(times, part), do: times |> Enum.sort() |> Enum.at(div(length(times) * part, 100))
  defp ms(microseconds), do: "#{Float.round(microseconds / 1000, 1)} ms"

  ## The hostile

  # Makes one call after another while the flag says so.
  defp drive(name, call, flag, late, done \\ {0, nil}) do
    case :atomics.get(flag, 1) do
      0 ->
        receive after: (5 -> drive(name, call, flag, late, done))

      1 ->
        {time, result} = :timer.tc(call)
        if div(time, 1000) > @timeout + @late, do: :ets.insert(late, {name, time, result})
        receive after: (@pause -> drive(name, call, flag, late, {elem(done, 0) + 1, result}))

      2 ->
        {count, last} = done
        {name, count, reason(last)}
    end
  end

  defp reason({:error, error}), do: error.reason
  defp reason(_answer), do: :answered

  defp hostile_calls!(context) do
    servers!(context) ++
      packs!(context) ++ commits!(context) ++ directories!(context) ++ requests!(context)
  end

  @chunked "HTTP/1.1 200 OK\r\ncontent-type: " <>
             "application/x-git-upload-pack-advertisement\r\ntransfer-encoding: chunked\r\n\r\n"

  defp servers!(context) do
    line =
      HostilePacks.pkt("#{String.duplicate("cd", 20)} refs/heads/#{String.duplicate("x", 200)}\n")

    line = IO.iodata_to_binary(line)
    first = IO.iodata_to_binary([HostilePacks.pkt("# service=git-upload-pack\n"), "0000"])
    chunk = fn bytes -> [Integer.to_string(byte_size(bytes), 16), "\r\n", bytes, "\r\n"] end
    bytewise = for <<byte <- line>>, into: "", do: "1\r\n" <> <<byte>> <> "\r\n"

    endless =
      flooder!(
        head: [@chunked, chunk.(first)],
        again: chunk.(String.duplicate(line, 200)) |> IO.iodata_to_binary()
      )

    bytes = flooder!(head: [@chunked, chunk.(first)], again: String.duplicate(bytewise, 20))
    certificate = Certificates.build(:good)

    # SETTINGS, and then PINGs.
    pings =
      flooder!(
        tls: certificate.tls,
        until: "SM\r\n\r\n",
        head: <<0::24, 4, 0, 0::32>>,
        again: String.duplicate(<<8::24, 6, 0, 0::32, 0::64>>, 1_000)
      )

    stalls = ScriptedTcp.url(scripted!([:hold]))

    begun = [{:receive_until, "\r\n\r\n"}, {:send, [@chunked, chunk.(first)]}, :hold]
    half = ScriptedTcp.url(scripted!(begun))
    banner = scripted!([{:send, "SSH-2.0-OpenSSH_9.2\r\n"}, :hold])
    ssh = "ssh://git@127.0.0.1:#{ScriptedTcp.port(banner)}/app.git"
    key = SshKeys.generate!(context.dir, :ed25519)
    near = String.duplicate("y", 200)

    [
      {"endless lists", fn -> Git.refs(endless, options(context)) end},
      {"near names", fn -> Git.ls_remote(endless, near, options(context)) end},
      {"one-byte chunks", fn -> Git.refs(bytes, options(context)) end},
      {"PINGs",
       fn -> Git.ls_remote(pings, "main", [tls: [ca: certificate.ca]] ++ options(context)) end},
      {"silence", fn -> Git.refs(stalls, options(context)) end},
      {"silence", fn -> sync(context, stalls, "silence") end},
      {"half a list", fn -> Git.refs(half, options(context)) end},
      {"SSH banner",
       fn ->
         Git.refs(ssh, [auth: Auth.ssh_key(key.private, known_hosts: "x")] ++ options(context))
       end}
    ]
  end

  # Tells what happens to who starts it, which is the test.
  defp scripted!(script) do
    {:ok, pid} = ScriptedTcp.start_link(script)
    pid
  end

  defp flooder!(options), do: Flooder.url(start_supervised!({Flooder, options}))

  defp packs!(context) do
    for {name, pack} <- [
          {"deltas backwards", HostilePacks.backwards(16_000)},
          {"deltas in a circle", HostilePacks.circle()},
          {"delta bomb", HostilePacks.bomb(300)}
        ] do
      answers = HostilePacks.answers(pack)
      repository = "pack-#{System.unique_integer([:positive])}.git"

      for {on, service} <- [info_refs: "advertisement", upload_pack: "result"] do
        headers = [{"content-type", "application/x-git-upload-pack-#{service}"}]
        answer = {:status, 200, headers, IO.iodata_to_binary(answers[on])}
        HttpServer.rule(context.http, answer, path: repository, on: on)
      end

      url = HttpServer.url(context.http, repository)
      {name, fn -> sync(context, url, repository) end}
    end
  end

  defp commits!(context) do
    origin = Repository.create!(context.dir, "tree.git")

    # Each level twice what is below it.
    tree =
      Enum.reduce(1..22, [{"100644", "f", "x"}], fn _level, entries ->
        {:id, id} = {:id, Repository.hash!(origin, "tree", tree_bytes(origin, entries))}
        [{"40000", "a", {:id, id}}, {"40000", "b", {:id, id}}]
      end)

    Repository.commit_raw_tree!(origin, "main", tree)
    url = HttpServer.url(context.http, "tree.git")
    [{"trees that multiply", fn -> sync(context, url, "tree") end}]
  end

  defp tree_bytes(origin, entries) do
    for {mode, name, content} <- entries do
      id =
        if match?({:id, _}, content),
          do: elem(content, 1),
          else: Repository.hash!(origin, "blob", content)

      [mode, " ", name, 0, Base.decode16!(id, case: :lower)]
    end
  end

  defp directories!(context) do
    url = HttpServer.url(context.http, "app1.git")

    for {name, file, put} <- [
          {"a sparse config", "config", &sparse!/1},
          {"a sparse index", "index", &sparse!/1},
          {"a pipe at HEAD", "HEAD", &pipe!/1},
          {"a pipe at shallow", "shallow", &pipe!/1},
          {"a link at refs", "refs", &link!/1}
        ] do
      path = Path.join(context.dir, "odd-#{System.unique_integer([:positive])}")
      assert {:ok, _sha} = Git.sync(url, "main", path, server: context.git)
      file = Path.join([path, ".git", file])

      {name,
       fn ->
         if File.dir?(Path.join(path, ".git")) do
           File.rm_rf!(file)
           put.(file)
         end

         result = Git.sync(url, "main", path, options(context))
         Git.read(path, "deploy/1.yaml", options(context))
         result
       end}
    end
  end

  defp sparse!(file) do
    {:ok, opened} = :file.open(file, [:write, :raw])
    {:ok, _} = :file.position(opened, 1_500_000_000)
    :ok = :file.truncate(opened)
    :file.close(opened)
  end

  defp pipe!(file), do: {"", 0} = System.cmd("mkfifo", [file])
  defp link!(file), do: File.ln_s!("/etc", file)

  defp requests!(context) do
    wrong = fn ->
      Git.sync("nonsense://h/x", "a..b", Path.join(context.dir, "none"), options(context))
    end

    [
      # A tenant's loop, as fast as a controller lets it.
      {"requests for nothing",
       fn -> for(_ <- 1..20, do: wrong.()) && receive(do: (:never -> :ok), after: (5 -> :ok)) end},
      {"paths that lead out",
       fn ->
         result = Git.read(Path.join(context.dir, "work1"), "../../../etc/passwd", options(context))
         assert {:error, %Error{reason: :unsafe_path}} = result
         receive(do: (:never -> :ok), after: (2 -> :ok))
       end}
    ]
  end

  defp options(context), do: [server: context.git, timeout: @timeout]

  defp sync(context, url, name),
    do: Git.sync(url, "main", Path.join(context.dir, "hostile-" <> name), options(context))
end
