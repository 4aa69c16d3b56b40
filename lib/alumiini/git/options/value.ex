defmodule Alumiini.Git.Options.Value do
  @moduledoc false

  # How a wrong value is refused, and how it is shown then.

  @spec wrong!(atom, String.t(), term) :: no_return
  def wrong!(key, right, value) do
    raise ArgumentError, "option #{inspect(key)} must be #{right}, got: #{shown(value)}"
  end

  @spec positive!(atom, term, pos_integer) :: :ok
  def positive!(key, value, most) do
    if is_integer(value) and value in 1..most,
      do: :ok,
      else: wrong!(key, "a positive integer of at most #{most}", value)
  end

  @spec boolean!(atom, term) :: :ok
  def boolean!(key, value) do
    if is_boolean(value), do: :ok, else: wrong!(key, "true or false", value)
  end

  @doc """
  A wrong value as a message shows it. Whatever can hold text is only named: arguments in the wrong
  order put a URL with a password anywhere.
  """
  @spec shown(term) :: String.t()
  def shown(value) when is_atom(value) or is_number(value) or value in ["", [], %{}, {}],
    do: inspect(value)

  def shown(value) when is_binary(value), do: "a string"
  def shown(value) when is_list(value), do: "a list"
  def shown({kind, _value}) when is_atom(kind), do: "{#{inspect(kind)}, …}"
  def shown(value) when is_tuple(value), do: "a tuple"
  def shown(%module{}), do: "a %#{inspect(module)}{}"
  def shown(value) when is_map(value), do: "a map"
  def shown(value) when is_function(value), do: "a function"
  def shown(_other), do: "something else"
end
