defmodule Alumiini.Git.MistypedUrlsTest do
  # What becomes of URLs that were mistyped, or stand where something else belongs: whatever they
  # are taken for, what they hold is in no error and in no event. Not async: the logger and the
  # events of the whole VM are watched.
  use Alumiini.Git.Test.SecretCase, async: false

  alias Alumiini.Git.Test.ShownUrls

  @moduletag timeout: 120_000

  setup [:dir, :origin, :commit, :git, :recorder]

  # Nobody is to be asked.
  setup context do
    {:ok, _commit} = sync(context)
    {closed, _socket} = ScriptedTcp.refusing()
    proxy = "http://127.0.0.1:#{closed}"
    %{options: [server: context.git, timeout: 10_000, proxy: proxy]}
  end

  defp urls, do: for({url, _shown} <- ShownUrls.table(), url =~ ~r/T0K|3N/, do: url)

  defp assert_nowhere(recorder) do
    assert [_ | _] = LeakRecorder.notes(recorder, "telemetry [:alumiini_git, :sync, :stop]")

    for secret <- ["T0K", "3N@"], do: assert(LeakRecorder.places(recorder, secret) == [])
  end

  test "as the URL of a call", context do
    %{recorder: recorder, dir: dir, options: options} = context

    for url <- urls() do
      path = Path.join(dir, "#{System.unique_integer([:positive])}")

      assert {:error, _error} =
               LeakRecorder.note(recorder, "sync", Git.sync(url, "main", path, options))

      assert {:error, _error} =
               LeakRecorder.note(recorder, "ls_remote", Git.ls_remote(url, "main", options))

      assert {:error, _error} = LeakRecorder.note(recorder, "refs", Git.refs(url, options))
    end

    assert_nowhere(recorder)
  end

  test "as a path, a file or a ref", context do
    %{recorder: recorder, origin: origin, path: path, options: options} = context
    local = Keyword.take(options, [:server, :timeout])

    # Without a colon it might as well be a directory of such a name.
    for url <- urls(), url =~ "@", url =~ ":" do
      reads = [&Git.files(&1, nil, local), &Git.read(&1, "a.yaml", local), &Git.head(&1, local)]

      for call <- reads do
        assert {:error, _error} = LeakRecorder.note(recorder, "path", call.(url))
      end

      for call <- [
            &Git.files(path, &1, local),
            &Git.read(path, &1, local),
            &Git.checkout(path, &1, local)
          ] do
        assert {:error, _error} = LeakRecorder.note(recorder, "name", call.(url))
      end

      assert {:error, _error} =
               LeakRecorder.note(recorder, "ref", Git.ls_remote(origin, url, options))

      assert {:error, _error} =
               LeakRecorder.note(recorder, "tag", Git.ls_remote(origin, {:tag, url}, options))

      assert {:error, _error} =
               LeakRecorder.note(recorder, "branch", Git.sync(origin, url, path, options))
    end

    assert_nowhere(recorder)
  end
end
