defmodule Alumiini.Git.Response do
  @moduledoc false

  # What the functions of `Alumiini.Git` make of a reply. Parts of it are parts of the frame that it
  # came in: a copy lets go of that.

  alias Alumiini.Git.Error

  @doc "A commit's id, with the bytes that came over the network for it."
  @spec sha({:ok, map} | {:error, Error.t()}, atom) ::
          {{:ok, String.t()} | {:error, Error.t()}, non_neg_integer}
  def sha({:ok, %{"ok" => sha} = reply}, _op) when is_binary(sha),
    do: {{:ok, :binary.copy(sha)}, received(reply)}

  def sha(other, op), do: {failed(other, op), 0}

  defp received(%{"stats" => %{"bytes" => bytes}}) when is_integer(bytes), do: bytes
  defp received(_none), do: 0

  @doc "A list that was put together of pages."
  @spec list({:ok, list} | {:error, Error.t()} | term, atom) :: {:ok, list} | {:error, Error.t()}
  def list({:ok, list}, _op) when is_list(list), do: {:ok, list}
  def list(other, op), do: failed(other, op)

  @doc "The value that a function returned, alone."
  @spec value!({:ok, value} | {:error, Error.t()}) :: value when value: term
  def value!({:ok, value}), do: value
  def value!({:error, %Error{} = error}), do: raise(error)

  @doc "The same of one that has no value."
  @spec done!(:ok | {:error, Error.t()}) :: :ok
  def done!(:ok), do: :ok
  def done!({:error, %Error{} = error}), do: raise(error)

  @doc "The error that it is, or that a reply of another form is."
  @spec failed(term, atom) :: {:error, Error.t()}
  def failed({:error, %Error{} = error}, _op), do: {:error, error}
  def failed(_not_as_documented, op), do: {:error, Error.unexpected(op)}
end
