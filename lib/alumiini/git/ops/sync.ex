defmodule Alumiini.Git.Ops.Sync do
  @moduledoc false

  alias Alumiini.Git.{Error, Ops}

  @spec run(String.t(), Alumiini.Git.ref(), Path.t(), keyword) ::
          {:ok, String.t()} | {:error, Error.t()}
  def run(url, ref, path, options) do
    with {:ok, update} <- Ops.Update.run(:sync, url, ref, path, options), do: {:ok, update.sha}
  end
end
