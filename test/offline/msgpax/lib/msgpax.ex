defmodule Msgpax do
  @moduledoc """
  A stand-in for the Hex package `msgpax`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the documented functions of msgpax 2.4 that `alumiini_git` calls, and nothing else. It is
  never published.
  """

  defmodule Bin do
    @moduledoc "Bytes that are packed as msgpack `bin` rather than `str`."
    defstruct [:data]

    @type t :: %__MODULE__{data: binary}

    @spec new(binary) :: t
    def new(data) when is_binary(data), do: %__MODULE__{data: data}
  end

  defmodule PackError do
    @moduledoc false
    defexception [:reason]

    @type t :: %__MODULE__{reason: {:too_big, any} | {:not_encodable, any}}

    @impl true
    def message(%{reason: {:too_big, term}}), do: "value is too big: #{inspect(term)}"
    def message(%{reason: {:not_encodable, term}}), do: "value is not encodable: #{inspect(term)}"
  end

  defmodule UnpackError do
    @moduledoc false
    defexception [:reason]

    @type t :: %__MODULE__{reason: any}

    @impl true
    def message(%{reason: reason}), do: "cannot unpack: #{inspect(reason)}"
  end

  import Bitwise

  @spec pack(term, Keyword.t()) :: {:ok, iodata} | {:error, PackError.t()}
  def pack(term, options \\ []) when is_list(options) do
    packed = pack_term(term)

    if Keyword.get(options, :iodata, true),
      do: {:ok, packed},
      else: {:ok, IO.iodata_to_binary(packed)}
  catch
    :throw, {__MODULE__, reason} -> {:error, %PackError{reason: reason}}
  end

  @spec pack!(term, Keyword.t()) :: iodata
  def pack!(term, options \\ []) do
    case pack(term, options) do
      {:ok, packed} -> packed
      {:error, exception} -> raise exception
    end
  end

  @spec unpack(iodata, Keyword.t()) :: {:ok, any} | {:error, UnpackError.t()}
  def unpack(iodata, options \\ []) do
    case unpack_slice(iodata, options) do
      {:ok, term, <<>>} -> {:ok, term}
      {:ok, _term, rest} -> {:error, %UnpackError{reason: {:excess_bytes, rest}}}
      {:error, _exception} = error -> error
    end
  end

  @spec unpack!(iodata, Keyword.t()) :: any
  def unpack!(iodata, options \\ []) do
    case unpack(iodata, options) do
      {:ok, term} -> term
      {:error, exception} -> raise exception
    end
  end

  @spec unpack_slice(iodata, Keyword.t()) :: {:ok, any, binary} | {:error, UnpackError.t()}
  def unpack_slice(iodata, options \\ []) do
    {term, rest} =
      iodata |> IO.iodata_to_binary() |> unpack_term(Keyword.get(options, :binary, false))

    {:ok, term, rest}
  catch
    :throw, {__MODULE__, reason} -> {:error, %UnpackError{reason: reason}}
  end

  defp pack_term(nil), do: <<0xC0>>
  defp pack_term(false), do: <<0xC2>>
  defp pack_term(true), do: <<0xC3>>
  defp pack_term(atom) when is_atom(atom), do: pack_term(Atom.to_string(atom))
  defp pack_term(float) when is_float(float), do: <<0xCB, float::float-64>>

  defp pack_term(int) when is_integer(int) do
    cond do
      int in 0..0x7F -> <<int>>
      int in -32..-1 -> <<int::8>>
      int < -(1 <<< 63) or int >= 1 <<< 64 -> throw({__MODULE__, {:too_big, int}})
      int < -(1 <<< 31) -> <<0xD3, int::64>>
      int < -(1 <<< 15) -> <<0xD2, int::32>>
      int < -(1 <<< 7) -> <<0xD1, int::16>>
      int < 0 -> <<0xD0, int::8>>
      int < 1 <<< 8 -> <<0xCC, int::8>>
      int < 1 <<< 16 -> <<0xCD, int::16>>
      int < 1 <<< 32 -> <<0xCE, int::32>>
      true -> <<0xCF, int::64>>
    end
  end

  defp pack_term(text) when is_binary(text) do
    case byte_size(text) do
      size when size < 32 -> [<<0b101::3, size::5>>, text]
      size when size < 1 <<< 8 -> [<<0xD9, size::8>>, text]
      size when size < 1 <<< 16 -> [<<0xDA, size::16>>, text]
      size when size < 1 <<< 32 -> [<<0xDB, size::32>>, text]
    end
  end

  defp pack_term(%Bin{data: data}) do
    case byte_size(data) do
      size when size < 1 <<< 8 -> [<<0xC4, size::8>>, data]
      size when size < 1 <<< 16 -> [<<0xC5, size::16>>, data]
      size when size < 1 <<< 32 -> [<<0xC6, size::32>>, data]
    end
  end

  defp pack_term(list) when is_list(list) do
    header =
      case length(list) do
        size when size < 16 -> <<0b1001::4, size::4>>
        size when size < 1 <<< 16 -> <<0xDC, size::16>>
        size -> <<0xDD, size::32>>
      end

    [header | Enum.map(list, &pack_term/1)]
  end

  defp pack_term(map) when is_map(map) and not is_struct(map) do
    header =
      case map_size(map) do
        size when size < 16 -> <<0b1000::4, size::4>>
        size when size < 1 <<< 16 -> <<0xDE, size::16>>
        size -> <<0xDF, size::32>>
      end

    # In msgpax's own order, so that nothing comes to depend on another one.
    [
      header
      | for({key, value} <- Enum.reverse(Map.to_list(map)), do: [pack_term(key), pack_term(value)])
    ]
  end

  defp pack_term(term), do: throw({__MODULE__, {:not_encodable, term}})

  defp unpack_term(<<0xC0, rest::binary>>, _bin), do: {nil, rest}
  defp unpack_term(<<0xC2, rest::binary>>, _bin), do: {false, rest}
  defp unpack_term(<<0xC3, rest::binary>>, _bin), do: {true, rest}
  defp unpack_term(<<0::1, int::7, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0b111::3, int::5, rest::binary>>, _bin), do: {int - 32, rest}
  defp unpack_term(<<0xCC, int::8, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xCD, int::16, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xCE, int::32, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xCF, int::64, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xD0, int::signed-8, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xD1, int::signed-16, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xD2, int::signed-32, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xD3, int::signed-64, rest::binary>>, _bin), do: {int, rest}
  defp unpack_term(<<0xCA, float::float-32, rest::binary>>, _bin), do: {float, rest}
  defp unpack_term(<<0xCB, float::float-64, rest::binary>>, _bin), do: {float, rest}

  defp unpack_term(<<0b101::3, size::5, text::binary-size(size), rest::binary>>, _bin),
    do: {text, rest}

  defp unpack_term(<<0xD9, size::8, text::binary-size(size), rest::binary>>, _bin), do: {text, rest}

  defp unpack_term(<<0xDA, size::16, text::binary-size(size), rest::binary>>, _bin),
    do: {text, rest}

  defp unpack_term(<<0xDB, size::32, text::binary-size(size), rest::binary>>, _bin),
    do: {text, rest}

  defp unpack_term(<<0xC4, size::8, data::binary-size(size), rest::binary>>, bin),
    do: {bin(data, bin), rest}

  defp unpack_term(<<0xC5, size::16, data::binary-size(size), rest::binary>>, bin),
    do: {bin(data, bin), rest}

  defp unpack_term(<<0xC6, size::32, data::binary-size(size), rest::binary>>, bin),
    do: {bin(data, bin), rest}

  defp unpack_term(<<0b1001::4, size::4, rest::binary>>, bin), do: unpack_list(rest, size, bin, [])
  defp unpack_term(<<0xDC, size::16, rest::binary>>, bin), do: unpack_list(rest, size, bin, [])
  defp unpack_term(<<0xDD, size::32, rest::binary>>, bin), do: unpack_list(rest, size, bin, [])
  defp unpack_term(<<0b1000::4, size::4, rest::binary>>, bin), do: unpack_map(rest, size, bin, [])
  defp unpack_term(<<0xDE, size::16, rest::binary>>, bin), do: unpack_map(rest, size, bin, [])
  defp unpack_term(<<0xDF, size::32, rest::binary>>, bin), do: unpack_map(rest, size, bin, [])
  defp unpack_term(<<byte, _rest::binary>>, _bin), do: throw({__MODULE__, {:invalid_format, byte}})
  defp unpack_term(<<>>, _bin), do: throw({__MODULE__, :incomplete})

  defp bin(data, true), do: Bin.new(data)
  defp bin(data, false), do: data

  defp unpack_list(rest, 0, _bin, items), do: {Enum.reverse(items), rest}

  defp unpack_list(rest, left, bin, items) do
    {item, rest} = unpack_term(rest, bin)
    unpack_list(rest, left - 1, bin, [item | items])
  end

  defp unpack_map(rest, 0, _bin, pairs), do: {Map.new(pairs), rest}

  defp unpack_map(rest, left, bin, pairs) do
    {key, rest} = unpack_term(rest, bin)
    {value, rest} = unpack_term(rest, bin)
    unpack_map(rest, left - 1, bin, [{key, value} | pairs])
  end
end
