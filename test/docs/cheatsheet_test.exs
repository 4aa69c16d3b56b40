defmodule Alumiini.Git.CheatsheetTest do
  # Runs guides/cheatsheet.cheatmd from its top to its end. Not async: it starts the server of the
  # default name.
  use Alumiini.Git.Test.GuideCase, async: false

  @sheet "guides/cheatsheet.cheatmd"

  test "every block runs after those before it", context do
    on_exit(&Git.Telemetry.detach_default_logger/0)

    bindings = [
      url: context.url,
      path: context.path,
      bare: context.path <> ".bare",
      part: context.path <> ".part",
      dir: context.path <> ".followed",
      dest: Path.join(context.directory, "export"),
      key: "-----BEGIN OPENSSH PRIVATE KEY-----\nkey\n-----END OPENSSH PRIVATE KEY-----\n",
      known_hosts: "hosts"
    ]

    blocks = blocks!(@sheet, context)
    {[children], rest} = Enum.split_with(blocks, &String.starts_with?(&1, "children"))
    {_value, told} = Code.eval_string(children, bindings)
    for child <- told[:children], do: start_supervised!(child)

    {values, bindings} = run(rest, bindings)
    assert bindings[:sha] == context.sha
    assert ["main"] in values
    assert :all in values
    # None is wider than a column.
    for block <- blocks,
        line <- String.split(block, "\n"),
        do: assert({line, String.length(line) <= 72} == {line, true})
  end
end
