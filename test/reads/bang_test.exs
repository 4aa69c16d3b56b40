defmodule Alumiini.Git.BangTest do
  # Each function has a variant that raises.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.{Error, Lease, Ops}
  alias Alumiini.Git.Test.ScriptedWorker

  @moduletag :tmp_dir
  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"

  test "each function has one of the same arities, with the same names and defaults" do
    functions = Git.__info__(:functions)
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Git)

    signatures =
      for {{:function, name, _arity}, _, [signature], %{}, _} <- docs,
          into: %{},
          do: {name, signature}

    for op <- Ops.all() do
      raising = :"#{op}!"
      arities = for {^op, arity} <- functions, do: arity
      assert arities != []
      assert {op, for({^raising, arity} <- functions, do: arity)} == {op, arities}

      assert {op, String.replace(signatures[raising], "!(", "(", global: false)} ==
               {op, signatures[op]}
    end
  end

  # Each with arguments that are right.
  defp calls(server) do
    options = [server: server]
    # Nothing keeps it.
    keeper = spawn(fn -> :ok end)
    lease = %Lease{path: "/x", sha: @sha, id: "1", server: server, keeper: keeper}

    %{
      sync: fn -> Git.sync!("https://h/x", "main", "/x", options) end,
      update: fn -> Git.update!("https://h/x", "main", "/x", options) end,
      files: fn -> Git.files!("/x", options) end,
      read: fn -> Git.read!("/x", "a", options) end,
      head: fn -> Git.head!("/x", options) end,
      checkout: fn -> Git.checkout!("/x", "main", options) end,
      ls_remote: fn -> Git.ls_remote!("https://h/x", options) end,
      refs: fn -> Git.refs!("https://h/x", options) end,
      snapshot: fn -> Git.snapshot!("/x", options) end,
      diff: fn -> Git.diff!("/x", "a", "b", options) end,
      log: fn -> Git.log!("/x", options) end,
      export: fn -> Git.export!("/x", "/dest", options) end,
      status: fn -> Git.status!("/x", options) end,
      lease: fn -> Git.lease!("/x", @sha, options) end,
      release: fn -> Git.release!(lease) end
    }
  end

  test "an error is raised" do
    calls = calls(:nobody_has_this_name)
    assert Enum.sort(Map.keys(calls)) == Enum.sort(Ops.all())

    for {op, call} <- calls do
      error = assert_raise Error, call
      assert {error.op, error.reason} == {op, :worker_unavailable}
    end
  end

  test "a value comes alone", %{tmp_dir: directory} do
    export = %{"commit" => @sha, "digest" => "sha256:ab", "files" => 2, "bytes" => 70}
    snapshot = %{"commit" => @sha, "tree" => @sha, "files" => []}

    answers = [
      {:sync, ScriptedWorker.synced(@sha), @sha},
      {:files, ["a"], ["a"]},
      {:read, "abc", "abc"},
      {:checkout, @sha, @sha},
      {:ls_remote, @sha, @sha},
      {:refs, [], []},
      {:snapshot, snapshot, %Git.Snapshot{commit: @sha, tree: @sha}},
      {:diff, [], []},
      {:log, [], []},
      {:export, export, %Git.Export{commit: @sha, digest: "sha256:ab", files: 2, bytes: 70}},
      {:status, [], []},
      {:release, true, :ok}
    ]

    script = for {_op, wire, _value} <- answers, step <- [:read, {:answer, wire}], do: step
    binary = ScriptedWorker.write!(directory, [ScriptedWorker.hello() ++ script ++ [:serve]])
    calls = calls(start_supervised!({Git, name: nil, binary: binary}))
    for {op, _wire, value} <- answers, do: assert({op, calls[op].()} == {op, value})
  end
end
