defmodule Alumiini.Git.Bang do
  @moduledoc false

  # The variants with `!` of the functions of `Alumiini.Git`:
  # `bang read!(path, file, options \\ [])` defines `read!/3`, with its documentation. The spec
  # stands before it, as that of any function.

  alias Alumiini.Git.Response

  defmacro bang({raising, _meta, arguments} = head) do
    name = raising |> Atom.to_string() |> String.trim_trailing("!") |> String.to_atom()
    call = {name, [], Enum.map(arguments, &without_default/1)}

    # What `release/2` returns has no value.
    value =
      if name == :release,
        do: quote(do: Response.done!(unquote(call))),
        else: quote(do: Response.value!(unquote(call)))

    quote do
      @doc "The same as `#{unquote(name)}/#{unquote(length(arguments))}`, but returns the value " <>
             "alone, and raises an `Alumiini.Git.Error`."
      def unquote(head), do: unquote(value)
    end
  end

  defp without_default({:\\, _meta, [argument, _default]}), do: argument
  defp without_default(argument), do: argument
end
