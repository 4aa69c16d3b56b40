defmodule Alumiini.Git.Server.Protocol do
  @moduledoc false

  # The wire, as `protocol/README.md` has it: requests and replies as maps with string keys, frames
  # without their length (the port's `{:packet, 4}` adds and takes it). Pure.

  alias Alumiini.Git.Secret

  @version 1
  @max_request 1_048_576

  @type message ::
          {:reply, id :: pos_integer | nil, map} | {:event, id :: pos_integer, name :: binary, map}

  @doc "The protocol version that this library speaks."
  @spec version() :: pos_integer
  def version, do: @version

  @doc "The most bytes that a request's frame may have."
  @spec max_request() :: pos_integer
  def max_request, do: @max_request

  @doc """
  Packs a request. Sealed values are opened here, so what comes out may hold secrets: hand it to the
  port and to nobody else.
  """
  @spec encode(map) :: {:ok, iodata} | {:error, :too_large | :unreadable_secret | :not_encodable}
  def encode(request) when is_map(request) do
    with {:ok, packed} <- Msgpax.pack(wire(request)) do
      if IO.iodata_length(packed) <= @max_request, do: {:ok, packed}, else: {:error, :too_large}
    else
      # The exception holds the value, which may be a secret.
      {:error, _exception} -> {:error, :not_encodable}
    end
  rescue
    # What msgpax raises for a term that it has no protocol for holds that term, too.
    _any in [Protocol.UndefinedError, ArgumentError, FunctionClauseError] ->
      {:error, :not_encodable}
  catch
    :unreadable_secret -> {:error, :unreadable_secret}
  end

  @doc """
  Unpacks what came from the worker. Names and paths come as plain binaries, whether they were `str`
  or `bin`.
  """
  @spec decode(binary) :: {:ok, message} | :error
  def decode(frame) when is_binary(frame) do
    case Msgpax.unpack(frame) do
      {:ok, %{"event" => name, "id" => id} = event}
      when is_binary(name) and is_integer(id) and id > 0 ->
        {:ok, {:event, id, name, Map.delete(event, "id")}}

      {:ok, %{"ok" => _} = reply} ->
        reply(reply)

      {:ok, %{"err" => _} = reply} ->
        reply(reply)

      _not_a_message ->
        :error
    end
  rescue
    # An extension type that msgpax makes a struct of, with a value that the struct does not take.
    _any in [ArgumentError, FunctionClauseError, MatchError] -> :error
  end

  defp reply(%{"id" => id} = reply) when is_integer(id) and id > 0,
    do: {:ok, {:reply, id, Map.delete(reply, "id")}}

  defp reply(%{"id" => id}) when id != nil, do: :error
  defp reply(reply), do: {:ok, {:reply, nil, reply}}

  # msgpax packs every binary as `str`. On the wire `str` is UTF-8; bytes that are not go as `bin`.
  defp wire(text) when is_binary(text),
    do: if(String.valid?(text), do: text, else: Msgpax.Bin.new(text))

  defp wire(map) when is_map(map) and not is_struct(map) do
    :maps.filtermap(&wired/2, map)
  end

  defp wire(list) when is_list(list), do: Enum.map(list, &wire/1)

  defp wire(sealed) when is_function(sealed, 0) do
    case Secret.reveal(sealed) do
      {:ok, value} -> wire(value)
      :error -> throw(:unreadable_secret)
    end
  end

  defp wire(other), do: other

  # What is nil is left out.
  defp wired(_key, value) do
    case wire(value) do
      nil -> false
      value -> {true, value}
    end
  end
end
