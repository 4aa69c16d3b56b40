defmodule Alumiini.Git.SecurityGuideTest do
  # Runs the examples of guides/security.md. Not async: it starts the server of the default name,
  # and sets the environment.
  use Alumiini.Git.Test.GuideCase, async: false

  alias Alumiini.Git.Test.Vm

  @guide "guides/security.md"

  test "each example does what is said of it", context do
    [server, url, auth, read] = blocks!(@guide, context)
    File.mkdir_p!(context.path)
    {{Git, options} = child, _bindings} = Code.eval_string(server)
    # The rules that it names are all there are, and hold.
    table = for [_all, key] <- Regex.scan(~r/^\| `(\w+):`/m, Document.read!(@guide)), do: key
    assert Enum.sort(table) == Enum.sort(for {key, _value} <- options, do: Atom.to_string(key))

    start_supervised!(child)
    inside = Path.join(context.path, "x")
    assert {:error, %{reason: :unsupported}} = Git.sync(context.origin, "main", inside)
    https = String.replace(context.url, "http://", "https://")
    assert {:error, %{reason: :unsupported}} = Git.sync(https, "main", inside)
    assert {:error, %{reason: :unsafe_path}} = Git.head(Path.join(context.path, "../elsewhere"))
    run([url])
    stop_supervised!(Git)

    Vm.put_env!(%{"GIT_TOKEN" => "s3cr3t"})
    start_supervised!(Git)
    {:ok, _sha} = Git.sync(context.url, "main", context.path)
    run([auth, read])
  end
end
