defmodule Alumiini.Git.Test.ConsumerCase do
  @moduledoc """
  Tests of what a user's project does with the library (`Alumiini.Git.Test.Consumer`). Not async:
  programs are run that others could be in the way of.

      use Alumiini.Git.Test.ConsumerCase, async: false

      setup :consumer

  The step adds all that `Consumer.create!/0` returns, so that the context is a consumer.
  """

  use ExUnit.CaseTemplate

  alias Alumiini.Git.Test.Consumer

  using do
    quote do
      alias Alumiini.Git.Test.{Consumer, Directory, ReleaseServer}

      import Alumiini.Git.Test.ConsumerCase
    end
  end

  def consumer(_context), do: Consumer.create!()
end
