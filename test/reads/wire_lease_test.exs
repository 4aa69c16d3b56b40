defmodule Alumiini.Git.ReadsWireLeaseTest do
  # What a lease sends, and when it ends.
  use Alumiini.Git.Test.AnsweringCase, async: true

  alias Alumiini.Git.Lease
  alias Alumiini.Git.Test.ScriptedWorker

  @sha "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"

  describe "lease/3" do
    # A process that takes a lease and lives until it is told otherwise.
    defp owner!(server) do
      test = self()

      {:ok, owner} =
        Task.start(fn ->
          send(test, Git.lease("/x", @sha, server: server))
          receive do: (:end -> :ok)
        end)

      assert_receive {:ok, %Lease{} = lease}, 5_000
      {owner, lease}
    end

    defp ended!(keeper) do
      ref = Process.monitor(keeper)
      assert_receive {:DOWN, ^ref, :process, ^keeper, reason}, 5_000
      assert reason in [:normal, :noproc]
    end

    test "is taken, refreshed, and given back when its process ends", context do
      {server, sent} = answering!(context, [true, true, true])
      {owner, lease} = owner!(server)
      assert %Lease{path: "/x", sha: @sha, server: ^server, id: id, keeper: keeper} = lease
      assert id =~ ~r/^[0-9a-z-]{1,64}$/
      send(keeper, :refresh)
      send(owner, :end)
      ended!(keeper)
      assert [taken, refreshed, released] = sent.()
      assert %{"op" => "lease", "path" => "/x", "sha" => @sha, "lease" => ^id} = taken
      assert Enum.sort(Map.keys(taken)) == ~w(id lease op path sha timeout)
      assert Map.drop(taken, ["id", "timeout"]) == Map.drop(refreshed, ["id", "timeout"])
      assert %{"op" => "release", "path" => "/x", "lease" => ^id} = released
      assert Enum.sort(Map.keys(released)) == ~w(id lease op path timeout)
    end

    test "ends with release/2, and again is fine", context do
      {server, sent} = answering!(context, [true, true, true])
      {:ok, lease} = Git.lease("/x", @sha, server: server)
      assert Git.release(lease) == :ok
      ended!(lease.keeper)
      assert Git.release(lease) == :ok
      assert [_taken, released, again] = sent.()
      assert Map.drop(released, ["id", "timeout"]) == Map.drop(again, ["id", "timeout"])
      refute_received _nothing
    end

    test "is kept where the release fails", context do
      {server, sent} = answering!(context, [true, "no", true])
      {:ok, lease} = Git.lease("/x", @sha, server: server)
      assert {:error, %Error{reason: :internal, op: :release}} = Git.release(lease)
      assert Git.release(lease) == :ok
      assert length(sent.()) == 3
    end

    test "is no lease where the worker refuses", context do
      {server, _sent} = answering!(context, [false])
      assert {:error, %Error{reason: :internal, op: :lease}} = Git.lease("/x", @sha, server: server)
      refute_received _nothing
    end

    test "that its caller did not live to see is given back", context do
      told = pipe!(context, "told")
      go = pipe!(context, "go")
      tell = [:read, {:shell, ~s(echo $frame > "#{told}")}]
      wait = [{:shell, ~s(cat "#{go}" > /dev/null)}, {:answer, true}]
      script = ScriptedWorker.hello() ++ tell ++ wait ++ tell ++ [{:answer, true}, :serve]
      binary = ScriptedWorker.write!(context.tmp_dir, [script])
      server = start_supervised!({Git, name: nil, binary: binary})
      {caller, ref} = spawn_monitor(fn -> Git.lease("/x", @sha, server: server) end)
      assert %{"op" => "lease", "lease" => id} = told!(told)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^ref, :process, ^caller, :killed}, 5_000
      File.write!(go, "go")
      assert %{"op" => "release", "lease" => ^id} = told!(told)
    end

    defp pipe!(%{tmp_dir: directory}, name) do
      path = Path.join(directory, name)
      {_, 0} = System.cmd("mkfifo", [path])
      path
    end

    # Waits until the worker has taken a frame.
    defp told!(pipe) do
      {line, 0} = System.cmd("cat", [pipe])
      line |> String.trim() |> Base.decode16!(case: :lower) |> Msgpax.unpack!()
    end

    test "outlives a server that is restarted under its name", context do
      %{tmp_dir: directory} = context
      out = Path.join(directory, "frames")
      take = [:read, {:shell, ~s(echo $frame >> "#{out}")}, {:answer, true}]
      script = ScriptedWorker.hello() ++ take ++ take ++ [:serve]
      binary = ScriptedWorker.write!(directory, [script])
      name = :"#{__MODULE__}.#{System.unique_integer([:positive])}"
      start_supervised!({Git, name: name, binary: binary})
      {owner, lease} = owner!(name)
      stop_supervised!(name)
      start_supervised!({Git, name: name, binary: binary})
      send(lease.keeper, :refresh)
      send(owner, :end)
      ended!(lease.keeper)

      assert ["lease", "lease", "release"] =
               for(
                 line <- out |> File.read!() |> String.split("\n", trim: true),
                 do: (line |> Base.decode16!(case: :lower) |> Msgpax.unpack!())["op"]
               )
    end

    test "of a server without a name ends with it", context do
      {server, _sent} = answering!(context, [true])
      {_owner, lease} = owner!(server)
      GenServer.stop(server)
      ended!(lease.keeper)
      assert {:error, %Error{reason: :worker_unavailable, op: :release}} = Git.release(lease)
    end

    test "refuses what is none of its arguments, in the caller" do
      assert_refused([
        {fn -> Git.lease("/x", nil) end, ~r/the commit must be a string/},
        {fn -> Git.lease("/x", @sha, at: "a") end, ~r/unknown option :at/},
        {fn -> Git.release(@sha) end, ~r/the lease must be an Alumiini.Git.Lease/}
      ])

      assert {:error, %Error{reason: :worker_unavailable, op: :lease}} = Git.lease("/x", @sha)
    end
  end
end
