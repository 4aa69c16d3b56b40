defmodule Alumiini.Git.Test.GitCase do
  @moduledoc """
  Tests of a server that syncs a repository. The steps of a set-up are functions, of which a file
  names those that it needs, in this order:

      use Alumiini.Git.Test.GitCase, async: true

      setup [:dir, :origin, :commit, :git]

  | step | adds to the context |
  | --- | --- |
  | `:dir` | `dir`, a directory that is gone when the test is; `path`, where to clone to |
  | `:origin` | `origin`, an empty bare repository `origin.git` in `dir`; `url`, which is `file://` |
  | `:commit` | `commit`, the id of a first commit on `main` |
  | `:cloned` | nothing: `path` is a clone then, made by `git` |
  | `:git` | `git`, a server |

  The first commit has `a.yaml`, or what the tag `:files` says. Other contents are a step of the
  file's own. `HttpCase` and `SshCase` add steps that put a server in front and change `url`.
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git
  alias Alumiini.Git.Test.{GitCommand, Repository, TempDir}

  @files %{"a.yaml" => "a: 1\n"}

  using do
    quote do
      alias Alumiini.Git
      alias Alumiini.Git.Error
      alias Alumiini.Git.Test.{Directory, GitCommand, Oracle, Repository, TempDir}
      alias Alumiini.Git.Test.WrappedWorker

      import Alumiini.Git.Test.GitCase
    end
  end

  def dir(context) do
    dir = TempDir.create!(label(context.module))
    %{dir: dir, path: Path.join(dir, "clone")}
  end

  # Says in the name of a directory whose it is.
  defp label(module) do
    module
    |> Module.split()
    |> List.last()
    |> String.replace_suffix("Test", "")
    |> Macro.underscore()
    |> String.replace("_", "-")
  end

  def origin(context) do
    origin = Repository.create!(context.dir)
    %{origin: origin, url: "file://" <> origin}
  end

  def commit(context) do
    %{commit: Repository.commit!(context.origin, context[:files] || @files)}
  end

  def cloned(context) do
    GitCommand.run!(["clone", "-q", context.url, context.path])
    :ok
  end

  def git(_context), do: %{git: start_supervised!({Git, name: nil})}

  @doc "Syncs `main` of `url` to `path`. The options `:url`, `:ref` and `:path` name others."
  def sync(context, options \\ []) do
    {url, options} = Keyword.pop(options, :url, context.url)
    {ref, options} = Keyword.pop(options, :ref, "main")
    {path, options} = Keyword.pop(options, :path, context.path)
    Git.sync(url, ref, path, [server: context.git] ++ options)
  end

  @doc "What the `git` command says in the clone, or in a directory."
  def run_git(%{path: path}, args), do: run_git(path, args)
  def run_git(path, args), do: GitCommand.run!(args, cd: path)

  @doc "A file of the clone."
  def file(context, name), do: Path.join(context.path, name)

  def write(context, name, content), do: File.write!(file(context, name), content)
end
