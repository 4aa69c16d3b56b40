defmodule Alumiini.Git.Test.GuideCase do
  @moduledoc """
  A guide's reader: runs its examples, one after the other, in the repository that they read.

  Guides name `https://git.example.com/shop.git` and `/var/lib/shop`; here these are a repository on
  a server of this machine, and a directory of the test.
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Test.{Document, HttpServer, Repository, TempDir}

  using do
    quote do
      alias Alumiini.Git
      alias Alumiini.Git.Test.{Document, HttpServer, Repository}
      import Alumiini.Git.Test.GuideCase
    end
  end

  # Not in the working tree of this repository: nothing is exported into one.
  setup do
    directory = TempDir.create!("guide")
    root = Path.join(directory, "root")
    File.mkdir_p!(root)
    origin = Repository.create!(root, "shop.git")

    first =
      Repository.commit!(origin, %{
        "deploy/app.yaml" => "kind: Deployment\nreplicas: 1\n",
        "deploy/old.yaml" => "kind: ConfigMap\n",
        "README.md" => "The shop\n",
        ".sourceignore" => "/charts/\n"
      })

    Repository.tag!(origin, "v1.2.3", first)

    sha =
      Repository.commit!(origin, %{
        "deploy/app.yaml" => "kind: Deployment\nreplicas: 2\n",
        "deploy/old.yaml" => :delete,
        "deploy/service.yaml" => "kind: Service\n"
      })

    http = start_supervised!({HttpServer, root: root})

    %{
      directory: directory,
      origin: origin,
      http: http,
      url: HttpServer.url(http, "shop.git"),
      path: Path.join(directory, "shop"),
      first: first,
      sha: sha
    }
  end

  @doc "The blocks of a page, Elixir but for those in `other`, with what is here in them."
  @spec blocks!(String.t(), map, [String.t()]) :: [String.t()]
  def blocks!(page, context, other \\ []) do
    blocks = Document.blocks(page)

    assert Enum.map(blocks, & &1.language) |> Enum.uniq() |> Enum.sort() |> Kernel.--(other) == [
             "elixir"
           ]

    for %{language: "elixir"} = block <- blocks, do: here(block.code, context)
  end

  @doc "The code with this machine's repository in place of the guide's."
  @spec here(String.t(), map) :: String.t()
  def here(code, context) do
    code
    |> String.replace("https://git.example.com/shop.git", context.url)
    |> String.replace("/var/lib/shop", context.path)
  end

  @doc """
  Evaluates blocks, each with the variables of those before it. `before` is what happens elsewhere
  before a block is run; it may return more variables.
  """
  @spec run([String.t()], keyword, (String.t(), keyword -> keyword)) :: {[term], keyword}
  def run(blocks, bindings \\ [], before \\ fn _code, _bindings -> [] end) do
    Enum.map_reduce(blocks, bindings, fn code, bindings ->
      Code.eval_string(code, Keyword.merge(bindings, before.(code, bindings)))
    end)
  end

  @doc "Compiles the modules of a block for this test."
  @spec compile!(String.t()) :: [module]
  def compile!(code) do
    modules = for {module, _beam} <- Code.compile_string(code), do: module

    on_exit(fn ->
      for module <- modules do
        :code.purge(module)
        :code.delete(module)
      end
    end)

    modules
  end
end
