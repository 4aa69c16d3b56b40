defmodule Alumiini.Git.Stacktrace do
  @moduledoc false

  # A trace goes into logs and exit reasons. A call that no clause of a function matched is in it
  # with its arguments, and that of a closure with the values that it closed over: of a function
  # given as `:auth` or `:progress`, secrets.

  @doc """
  The trace with the number of arguments in place of them, and of each place its file and line only.
  """
  @spec without_arguments(Exception.stacktrace()) :: Exception.stacktrace()
  def without_arguments(stacktrace) do
    Enum.map(stacktrace, fn
      {module, function, arguments, location} ->
        {module, function, arity(arguments), place(location)}

      {function, arguments, location} ->
        {function, arity(arguments), place(location)}
    end)
  end

  defp arity(arguments) when is_list(arguments), do: length(arguments)
  defp arity(arity), do: arity

  # Not `:error_info`, of which some needs the arguments.
  defp place(location), do: Keyword.take(location, [:file, :line])
end
