defmodule Alumiini.Git.SshPartialTest do
  use Alumiini.Git.Test.SshCase, async: true

  alias Alumiini.Git.Test.RandomHistory
  alias Alumiini.Git.Update

  setup [:dir, :origin, :key, :git]

  @paths ["deploy/base", "docs", "run.sh"]

  for filter <- [true, false] do
    test "some paths over SSH, from a server that filters: #{filter}", context do
      %{origin: origin, path: path} = context
      config = [{"safe.directory", "*"}, {"uploadpack.allowFilter", "#{unquote(filter)}"}]
      sshd = sshd!(context, env: GitCommand.config(config))
      url = SshServer.url(sshd, origin)
      auth = auth(sshd, context.key)
      history = RandomHistory.new(origin, 7)

      Enum.reduce(1..25, {history, nil}, fn _n, {history, before} ->
        {_step, history} = RandomHistory.step(history)
        commit = Repository.rev_parse(origin, "refs/heads/main")

        if commit not in [nil, before] do
          options = [server: context.git, auth: auth, paths: @paths]
          assert {:ok, %Update{sha: ^commit}} = Git.update(url, "main", path, options)
          Oracle.assert_synced(path, origin, commit, @paths)
        end

        {history, commit}
      end)

      partial? = match?({_, 0}, GitCommand.run(["config", "extensions.partialclone"], cd: path))
      assert partial? == unquote(filter)
    end
  end
end
