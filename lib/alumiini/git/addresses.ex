defmodule Alumiini.Git.Addresses do
  @moduledoc false

  # The option `:addresses` of `Alumiini.Git.start_link/1`: which addresses the worker may connect
  # to. The worker asks at each connection; here it is whether the rules are some.

  @keys [:default, :allow, :deny]
  @defaults [:any, :public, :none]
  # The worker's limit of names in a list.
  @most 256

  @type rules ::
          :any
          | :public
          | [{:default, :any | :public | :none} | {:allow, [String.t()]} | {:deny, [String.t()]}]

  @spec valid?(term) :: boolean
  def valid?(rules) when rules in [:any, :public], do: true

  def valid?(rules) do
    rules != [] and Keyword.keyword?(rules) and
      Enum.all?(rules, fn {key, value} -> key in @keys and value?(key, value) end)
  end

  defp value?(:default, default), do: default in @defaults

  defp value?(_allow_or_deny, ranges),
    do: is_list(ranges) and length(ranges) <= @most and Enum.all?(ranges, &range?/1)

  defp range?(text) when is_binary(text) do
    with [base | length] <- String.split(text, "/", parts: 2),
         {:ok, address} <- :inet.parse_strict_address(String.to_charlist(base)),
         true <- base =~ ~r/\A[0-9A-Fa-f.:]+\z/ do
      bits = bits(address)
      length?(length, bit_size(bits)) and first?(bits, length)
    else
      _none -> false
    end
  end

  defp range?(_other), do: false

  defp bits({a, b, c, d}), do: <<a, b, c, d>>
  defp bits(address), do: for(part <- Tuple.to_list(address), into: <<>>, do: <<part::16>>)

  defp length?([], _most), do: true
  defp length?([length], most), do: length =~ ~r/\A\d{1,3}\z/ and String.to_integer(length) <= most

  # Bits beyond its length are a slip: one does not know which of the two was meant.
  defp first?(_address, []), do: true

  defp first?(bits, [length]) do
    length = String.to_integer(length)
    rest = bit_size(bits) - length
    match?(<<_network::size(length), 0::size(rest)>>, bits)
  end

  @doc "As `hello` has it; nil where nothing is to be asked."
  @spec to_wire(rules | nil) :: map | nil
  def to_wire(rules) when rules in [nil, :any], do: nil
  def to_wire(:public), do: %{"default" => "public"}

  def to_wire(rules) do
    rules = rules |> Enum.reverse() |> Map.new()

    %{
      "default" => Atom.to_string(Map.get(rules, :default, :public)),
      "allow" => Map.get(rules, :allow, []),
      "deny" => Map.get(rules, :deny, [])
    }
  end
end
