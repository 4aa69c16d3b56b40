defmodule Alumiini.Git.Webhook.Json do
  @moduledoc false

  # JSON by what is there: OTP's own from 27 on, Elixir's from 1.18 on, else Jason, which a user
  # adds. None of them makes atoms. None bounds what a text unfolds to beside its length, so that is
  # looked at first: levels, and digits, since a number of a million digits takes minutes.

  @decoders [:json, JSON, Jason]
  # Payloads of forges have less than 10 and 20.
  @deepest 64
  @longest_number 64

  @spec decode(binary, [module]) :: {:ok, term} | {:error, :invalid | :too_deep | :no_decoder}
  def decode(text, decoders \\ @decoders) do
    with :ok <- bounded(text, 0, 0),
         {:ok, decoder} <- decoder(decoders),
         do: decode_by(decoder, text)
  end

  defp decoder(decoders) do
    case Enum.find(decoders, &there?/1) do
      nil -> {:error, :no_decoder}
      decoder -> {:ok, decoder}
    end
  end

  defp there?(:json), do: Code.ensure_loaded?(:json) and function_exported?(:json, :decode, 3)
  # Others have a module of that name, too.
  defp there?(JSON), do: Code.ensure_loaded?(JSON) and function_exported?(JSON, :decode, 3)
  defp there?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :decode, 1)

  defp decode_by(:json = json, text) do
    {value, _acc, rest} = json.decode(text, :ok, %{null: nil})
    if String.trim(rest) == "", do: {:ok, value}, else: {:error, :invalid}
  rescue
    _any -> {:error, :invalid}
  end

  defp decode_by(decoder, text) do
    case decoder.decode(text) do
      {:ok, value} -> {:ok, value}
      _error -> {:error, :invalid}
    end
  end

  # Brackets and digits outside of strings. Whether they match is for the decoder to say.
  defp bounded(_text, level, _digits) when level > @deepest, do: {:error, :too_deep}
  defp bounded(_text, _level, digits) when digits > @longest_number, do: {:error, :too_deep}
  defp bounded(<<>>, _level, _digits), do: :ok
  defp bounded(<<?", rest::binary>>, level, _digits), do: in_string(rest, level)

  defp bounded(<<char, rest::binary>>, level, digits) do
    case char do
      char when char in [?[, ?{] -> bounded(rest, level + 1, 0)
      char when char in [?], ?}] -> bounded(rest, level - 1, 0)
      char when char in ?0..?9 -> bounded(rest, level, digits + 1)
      _other -> bounded(rest, level, 0)
    end
  end

  defp in_string(<<?\\, _escaped, rest::binary>>, level), do: in_string(rest, level)
  defp in_string(<<?", rest::binary>>, level), do: bounded(rest, level, 0)
  defp in_string(<<_char, rest::binary>>, level), do: in_string(rest, level)
  defp in_string(<<>>, _level), do: :ok
end
