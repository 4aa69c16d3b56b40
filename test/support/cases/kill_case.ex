defmodule Alumiini.Git.Test.KillCase do
  @moduledoc """
  A `Alumiini.Git.Test.HttpCase` of a remote with several versions, so that whatever a worker leaves
  when it is stopped or killed tells which commit it is from (`Alumiini.Git.Test.Versions`).

      use Alumiini.Git.Test.KillCase, async: true

      setup [:dir, :versions, :http]

  | step | adds to the context |
  | --- | --- |
  | `:versions` | `origin` and `url`, as `:origin` does; `commits`, the ids by version |
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Test.Versions

  using do
    quote do
      use Alumiini.Git.Test.HttpCase

      alias Alumiini.Git.Test.{Leftovers, OsProcess, RawWorker, Versions, WholeCommit}

      import Alumiini.Git.Test.KillCase
    end
  end

  def versions(context) do
    {origin, commits} = Versions.create!(context.dir)
    %{origin: origin, commits: commits, url: "file://" <> origin}
  end

  @doc "Puts the remote's `main` at a version."
  def publish!(context, version), do: Versions.publish!(context.origin, context.commits, version)
end
