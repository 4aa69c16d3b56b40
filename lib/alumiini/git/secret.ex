defmodule Alumiini.Git.Secret do
  @moduledoc false

  # A secret lives in a closure from the caller to the moment its frame is packed. Whatever prints a
  # term on the way (a crash report, `:sys.get_state/1`, `inspect(term, structs: false)`, the last
  # message of a dead process) shows a function, not what is in it.

  # A function of no arguments.
  @type t :: function

  @spec seal(term) :: t
  def seal(term), do: fn -> term end

  # Sealed maps as one; what a later one has counts. They are opened when it is.
  @spec merge([t]) :: t
  def merge(sealed), do: fn -> Enum.reduce(sealed, %{}, &Map.merge(&2, &1.())) end

  # A part that depends on what is in a secret.
  @spec map(t, (term -> term)) :: t
  def map(sealed, function), do: fn -> function.(sealed.()) end

  @spec sealed?(term) :: boolean
  def sealed?(term), do: is_function(term, 0)

  # Fails where the closure comes from a node that runs another version of this module: a fun
  # carries its environment between nodes, but not its code.
  @spec reveal(t) :: {:ok, term} | :error
  def reveal(sealed) when is_function(sealed, 0) do
    {:ok, sealed.()}
  rescue
    _other_version in [BadFunctionError, UndefinedFunctionError] -> :error
  end
end
