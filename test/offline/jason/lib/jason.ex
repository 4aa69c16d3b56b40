defmodule Jason do
  @moduledoc """
  A stand-in for the Hex package `jason`, for networks that cannot reach Hex
  (`ALUMIINI_GIT_OFFLINE=1`).

  It has the one documented function of jason 1.4 that `alumiini_git` calls, and nothing else. It is
  never published.
  """

  defmodule DecodeError do
    @moduledoc false
    defexception [:position, :token, :data]

    @type t :: %__MODULE__{position: integer, token: nil, data: String.t()}

    @impl true
    def message(%{position: position}), do: "unexpected sequence at position #{position}"
  end

  @spec decode(iodata) :: {:ok, term} | {:error, DecodeError.t()}
  def decode(input) do
    data = IO.iodata_to_binary(input)

    try do
      {value, rest} = data |> blank() |> value()
      if blank(rest) == "", do: {:ok, value}, else: throw({__MODULE__, rest})
    catch
      :throw, {__MODULE__, rest} ->
        {:error, %DecodeError{position: byte_size(data) - byte_size(rest), data: data}}
    end
  end

  defp value(<<"null", rest::binary>>), do: {nil, rest}
  defp value(<<"true", rest::binary>>), do: {true, rest}
  defp value(<<"false", rest::binary>>), do: {false, rest}
  defp value(<<?", rest::binary>>), do: string(rest, [])
  defp value(<<?[, rest::binary>>), do: rest |> blank() |> array()
  defp value(<<?{, rest::binary>>), do: rest |> blank() |> object()
  defp value(text), do: number(text)

  defp array(<<?], rest::binary>>), do: {[], rest}
  defp array(text), do: items(text, [])

  defp items(text, items) do
    {item, rest} = value(text)

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> items([item | items])
      <<?], rest::binary>> -> {Enum.reverse([item | items]), rest}
      rest -> throw({__MODULE__, rest})
    end
  end

  defp object(<<?}, rest::binary>>), do: {%{}, rest}
  defp object(text), do: pairs(text, [])

  defp pairs(<<?", rest::binary>>, pairs) do
    {key, rest} = string(rest, [])

    {value, rest} =
      case blank(rest) do
        <<?:, rest::binary>> -> rest |> blank() |> value()
        rest -> throw({__MODULE__, rest})
      end

    case blank(rest) do
      <<?,, rest::binary>> -> rest |> blank() |> pairs([{key, value} | pairs])
      <<?}, rest::binary>> -> {Map.new(Enum.reverse([{key, value} | pairs])), rest}
      rest -> throw({__MODULE__, rest})
    end
  end

  defp pairs(text, _pairs), do: throw({__MODULE__, text})

  defp string(<<?", rest::binary>>, parts),
    do: {parts |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  defp string(<<?\\, ?u, hex::binary-size(4), rest::binary>>, parts) do
    case {unit(hex, rest), rest} do
      {high, <<?\\, ?u, low::binary-size(4), rest::binary>>} when high in 0xD800..0xDBFF ->
        case unit(low, rest) do
          low when low in 0xDC00..0xDFFF ->
            char = 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)
            string(rest, [<<char::utf8>> | parts])

          _other ->
            throw({__MODULE__, rest})
        end

      {unit, rest} when unit not in 0xD800..0xDFFF ->
        string(rest, [<<unit::utf8>> | parts])

      {_half, rest} ->
        throw({__MODULE__, rest})
    end
  end

  defp string(<<?\\, char, rest::binary>> = text, parts) do
    case char do
      char when char in [?", ?\\, ?/] -> string(rest, [char | parts])
      ?b -> string(rest, [?\b | parts])
      ?f -> string(rest, [?\f | parts])
      ?n -> string(rest, [?\n | parts])
      ?r -> string(rest, [?\r | parts])
      ?t -> string(rest, [?\t | parts])
      _other -> throw({__MODULE__, text})
    end
  end

  # As much of it as stands for itself.
  defp string(text, parts) do
    with {size, _one} when size > 0 <- :binary.match(text, ["\"", "\\"]),
         <<plain::binary-size(size), rest::binary>> = text,
         true <- String.valid?(plain) and not (plain =~ ~r/[\x00-\x1f]/) do
      string(rest, [plain | parts])
    else
      _other -> throw({__MODULE__, text})
    end
  end

  defp unit(hex, rest) do
    case Integer.parse(hex, 16) do
      {unit, ""} when unit >= 0 -> unit
      _other -> throw({__MODULE__, rest})
    end
  end

  defp number(text) do
    case Regex.run(~r/\A-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/, text) do
      [whole] -> {String.to_integer(whole), after_prefix(text, whole)}
      [whole | _parts] -> {float(whole, text), after_prefix(text, whole)}
      nil -> throw({__MODULE__, text})
    end
  end

  defp float(whole, text) do
    whole |> String.replace(~r/\A(-?[0-9]+)(?=[eE])/, "\\1.0") |> String.to_float()
  rescue
    ArgumentError -> throw({__MODULE__, text})
  end

  defp after_prefix(text, prefix),
    do: binary_part(text, byte_size(prefix), byte_size(text) - byte_size(prefix))

  defp blank(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r], do: blank(rest)
  defp blank(text), do: text
end
