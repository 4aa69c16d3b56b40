defmodule Alumiini.Git.GettingStartedGuideTest do
  # Runs guides/getting-started.md from its top to its end, as a reader does. Not async: it starts
  # the server of the default name.
  use Alumiini.Git.Test.GuideCase, async: false

  @guide "guides/getting-started.md"

  test "every step runs after those before it", context do
    [deps | steps] = blocks!(@guide, context)
    assert [project] = compile!("defmodule Alumiini.Git.GettingStarted do\n#{deps}\nend")
    assert [{:alumiini_git, requirement}] = project.deps()
    version = String.replace(Mix.Project.config()[:version], ~r/-.*/, "")
    assert Version.match?(version, requirement)

    {values, bindings} = run(steps)
    assert bindings[:sha] == context.sha
    assert bindings[:yaml] == "kind: Deployment\nreplicas: 2\n"

    assert [{"deploy/app.yaml", "kind: Deployment\nreplicas: 2\n"}, {"deploy/service.yaml", _}] =
             Enum.find(values, &match?([{"deploy/" <> _, _} | _], &1))

    assert {context.sha, :all} in values
    GenServer.stop(bindings[:follower])
    Supervisor.stop(bindings[:supervisor])
  end
end
