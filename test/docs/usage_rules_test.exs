defmodule Alumiini.Git.UsageRulesTest do
  # Runs the examples of usage-rules.md. Not async: it starts the server of the default name.
  use Alumiini.Git.Test.GuideCase, async: false

  @page "usage-rules.md"

  test "every block runs after those before it", context do
    blocks = blocks!(@page, context)
    {values, bindings} = run(blocks, url: context.url, path: context.path)
    assert [{"deploy/app.yaml", _}, {"deploy/service.yaml", _}] = hd(values)
    assert [{:report, "sync: failed to fetch: " <> _rest}] = tl(values)
    Supervisor.stop(bindings[:supervisor])
  end

  test "it is in the package" do
    assert @page in Mix.Project.config()[:package][:files]
  end

  test "each function that it names is there" do
    text = Document.read!(@page)
    named = Regex.scan(~r{`(?:Alumiini\.Git\.)?(\w+)/(\d)`}, text)
    assert length(named) > 5
    Code.ensure_loaded!(Git)

    for [_all, name, arity] <- named do
      assert {name, function_exported?(Git, String.to_atom(name), String.to_integer(arity))} ==
               {name, true}
    end
  end
end
