defmodule Alumiini.Git.FollowingGuideTest do
  # Runs the examples of guides/following.md, one after the other, as a reader does. Not async: they
  # call the server of the default name, and register another.
  use ExUnit.Case, async: false

  # However busy the machine is.
  @soon 20_000

  alias Alumiini.Git
  alias Alumiini.Git.Follower
  alias Alumiini.Git.Test.{Document, HttpServer, Repository, TempDir}

  @guide "guides/following.md"

  setup do
    directory = TempDir.create!("following-guide")
    root = Path.join(directory, "root")
    File.mkdir_p!(root)
    origin = Repository.create!(root, "monorepo.git")

    sha =
      Repository.commit!(origin, %{
        "team-a/app.yaml" => "kind: Deployment\n",
        "team-b/app.yaml" => "kind: Service\n",
        "shared/base.yaml" => "kind: Namespace\n"
      })

    http = start_supervised!({HttpServer, root: root})
    url = HttpServer.url(http, "monorepo.git")
    %{origin: origin, sha: sha, url: url, path: Path.join(directory, "monorepo")}
  end

  defp blocks(context) do
    for block <- Document.blocks(@guide) do
      assert block.language == "elixir"

      block.code
      |> String.replace("https://git.example.com/monorepo.git", context.url)
      |> String.replace("git@git.example.com:monorepo.git", "git@127.0.0.1:monorepo.git")
      |> String.replace("/var/lib/monorepo", context.path)
    end
  end

  test "every block runs after those before it", context do
    {team, blocks} = Enum.split_with(blocks(context), &(&1 =~ "defmodule Shop.Team"))
    assert [_team] = team

    {bindings, values} =
      Enum.reduce(blocks, {[], []}, fn code, {bindings, values} ->
        bindings = before(code, bindings, context)
        {value, bindings} = Code.eval_string(code, bindings)
        {bindings, [value | values]}
      end)

    on_exit(fn -> if pid = Process.whereis(Monorepo), do: Process.exit(pid, :kill) end)
    assert bindings[:update].sha == context.sha
    assert [modified: "team-a/app.yaml"] in values
    assert 1 in values
    pushed = bindings[:pushed_commit]
    assert_receive {:alumiini_git, Monorepo, %Git.Update{sha: ^pushed}}, @soon
    assert {status_sha, nil, 1, _next} = hd(values)
    assert status_sha in [pushed, Repository.rev_parse!(context.origin, "main~1")]
    Supervisor.stop(bindings[:_supervisor] || supervisor())
  end

  # What happens elsewhere, between two blocks.
  defp before(code, bindings, context) do
    cond do
      code =~ "update.changes" ->
        files = %{"team-a/app.yaml" => "kind: Pod\n", "team-b/app.yaml" => "kind: Pod\n"}
        Repository.commit!(context.origin, files)
        Follower.poke(Monorepo)
        bindings

      code =~ "pushed_commit" ->
        sha = Repository.commit!(context.origin, %{"shared/base.yaml" => "kind: Role\n"})
        [pushed_commit: sha] ++ bindings

      true ->
        bindings
    end
  end

  defp supervisor do
    {:dictionary, dictionary} = Process.info(Process.whereis(Monorepo), :dictionary)
    hd(dictionary[:"$ancestors"])
  end

  test "the process applies what is there, then what changes, and goes on where it was", context do
    [code] = Enum.filter(blocks(context), &(&1 =~ "defmodule Shop.Team"))
    [{team, _beam}] = Code.compile_string(code)
    start_supervised!(Git)
    %{origin: origin, path: path} = context
    options = [name: Monorepo, url: context.url, ref: "main", path: path]
    start_supervised!({Follower, options})
    me = self()

    state = [
      directory: "team-a",
      path: path,
      since: nil,
      apply: fn path, text -> send(me, {path, text}) end,
      delete: fn path -> send(me, path) end
    ]

    {:ok, pid} = team.start_link(state)
    assert_receive {"team-a/app.yaml", "kind: Deployment\n"}, @soon

    first =
      Repository.commit!(origin, %{
        "team-a/app.yaml" => :delete,
        "team-a/new.yaml" => "kind: Pod\n",
        "team-b/app.yaml" => :delete
      })

    Follower.poke(Monorepo, first)
    assert_receive {"team-a/new.yaml", "kind: Pod\n"}, @soon
    assert_received "team-a/app.yaml"
    assert %{since: ^first} = :sys.get_state(pid)
    GenServer.stop(pid)

    second = Repository.commit!(origin, %{"team-a/new.yaml" => "kind: Job\n"})
    Follower.poke(Monorepo, second)
    {:ok, pid} = team.start_link(Keyword.put(state, :since, first))
    assert_receive {"team-a/new.yaml", "kind: Job\n"}, @soon
    refute_received _anything_else

    # A follower that ends takes it along, for its supervisor to start it anew.
    Process.unlink(pid)
    monitor = Process.monitor(pid)
    GenServer.stop(Monorepo)
    assert_receive {:DOWN, ^monitor, :process, _pid, :shutdown}, @soon
  end
end
