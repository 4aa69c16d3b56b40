defmodule Alumiini.Git.ReadingGuideTest do
  # Runs the examples of guides/reading.md, one after the other, as a reader does. Not async: they
  # call the server of the default name.
  use ExUnit.Case, async: false

  alias Alumiini.Git
  alias Alumiini.Git.Test.{Document, HttpServer, Repository, TempDir}

  @guide "guides/reading.md"

  # Not in the working tree of this repository: nothing is exported into one.
  setup do
    directory = TempDir.create!("reading-guide")
    root = Path.join(directory, "root")
    File.mkdir_p!(root)
    origin = Repository.create!(root, "shop.git")

    Repository.commit!(origin, %{
      "deploy/app.yaml" => "kind: Deployment\nreplicas: 1\n",
      "deploy/old-name.yaml" => "kind: Service\n",
      "charts/base/app.yaml" => "kind: Deployment\n",
      "charts/base/service.yaml" => "kind: Service\nname: base\n",
      "README.md" => "The shop\n",
      ".sourceignore" => "# not ours\n/charts/\n"
    })

    sha =
      Repository.commit!(origin, %{
        "deploy/app.yaml" => "kind: Deployment\nreplicas: 2\n",
        "deploy/old-name.yaml" => :delete,
        "deploy/service.yaml" => "kind: Service\n"
      })

    http = start_supervised!({HttpServer, root: root})
    start_supervised!(Git)
    url = HttpServer.url(http, "shop.git")
    %{origin: origin, sha: sha, url: url, path: Path.join(directory, "shop")}
  end

  defp blocks(context) do
    for %{language: "elixir"} = block <- Document.blocks(@guide) do
      block.code
      |> String.replace("https://git.example.com/shop.git", context.url)
      |> String.replace("/var/lib/shop", context.path)
    end
  end

  test "every block is Elixir, and runs after those before it", context do
    assert Enum.all?(Document.blocks(@guide), &(&1.language == "elixir"))
    {loop, blocks} = Enum.split_with(blocks(context), &(&1 =~ "defmodule Shop.Reader"))
    assert [_loop] = loop

    {values, bindings} = Enum.map_reduce(blocks, [], &Code.eval_string/2)

    assert bindings[:sha] == context.sha

    assert [
             {"deploy/app.yaml", _, 0o100644, "kind: Deployment\nreplicas: 2\n"},
             {"deploy/service.yaml", _, 0o100644, "kind: Service\n"}
           ] = Enum.find(values, &match?([{"deploy/app.yaml", _, _, _} | _], &1))

    assert [
             {:modified, nil, "deploy/app.yaml"},
             {:renamed, "deploy/old-name.yaml", "deploy/service.yaml"}
           ] in values

    assert {"Fixture Author", "Change 1\n"} in List.flatten(values)
    archive = File.read!(context.path <> ".tar.gz")
    digest = Base.encode16(:crypto.hash(:sha256, archive), case: :lower)
    assert bindings[:export].digest == "sha256:" <> digest
    assert bindings[:kept] == "kind: Deployment"
  end

  test "the loop tells what is new and what is gone, and sends no content twice", context do
    [code] = Enum.filter(blocks(context), &(&1 =~ "defmodule Shop.Reader"))
    [{reader, _beam}] = Code.compile_string(code)
    %{origin: origin, url: url} = context
    me = self()

    poll =
      &reader.poll(&1, url, fn path, text -> send(me, {path, text}) end, fn p -> send(me, p) end)

    assert {:ok, first} = poll.(reader.new())
    assert first.sha == context.sha
    assert_received {"deploy/app.yaml", "kind: Deployment\nreplicas: 2\n"}
    assert_received {"deploy/service.yaml", "kind: Service\n"}
    assert {:ok, ^first} = poll.(first)

    sent = telemetry!()
    Repository.commit!(origin, %{"README.md" => "Another\n"})
    assert {:ok, %{files: files} = state} = poll.(first)
    assert {files, state.sha} == {first.files, Repository.rev_parse!(origin)}
    refute_received _nothing

    sha =
      Repository.commit!(origin, %{
        "deploy/app.yaml" => :delete,
        "deploy/moved.yaml" => "kind: Service\n",
        "deploy/new.yaml" => "kind: ConfigMap\n"
      })

    assert {:ok, %{sha: ^sha} = state} = poll.(state)
    assert_received "deploy/app.yaml"
    assert_received {"deploy/moved.yaml", "kind: Service\n"}
    assert_received {"deploy/new.yaml", "kind: ConfigMap\n"}
    assert_received {^sent, 16}
    refute_received _nothing

    File.rm_rf!(origin)
    assert {:error, %Git.Error{}, ^state} = poll.(state)
  end

  defp telemetry! do
    ref = make_ref()
    config = {self(), ref}
    event = [:alumiini_git, :snapshot, :stop]
    :ok = :telemetry.attach(ref, event, &__MODULE__.tell/4, config)
    on_exit(fn -> :telemetry.detach(ref) end)
    ref
  end

  def tell(_event, %{bytes: bytes}, _metadata, {test, ref}), do: send(test, {ref, bytes})
end
