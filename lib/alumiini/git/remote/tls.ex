defmodule Alumiini.Git.Remote.Tls do
  @moduledoc false

  # The `:tls` option: certificates to trust beside the system's, and a client certificate with its
  # key. All of it is sealed, the certificates too, so that there is one rule.

  alias Alumiini.Git.Secret

  @doc """
  The option as the wire's map, sealed. Raises `ArgumentError` for one that is wrong, without
  showing it.
  """
  @spec seal!(term) :: Secret.t()
  def seal!(options) do
    pairs = pairs!(options)
    Enum.each(pairs, fn {key, pem} -> pem!(key, pem) end)

    if List.keymember?(pairs, :cert, 0) != List.keymember?(pairs, :key, 0) do
      raise ArgumentError,
            "option :tls has only one of :cert and :key; a client certificate needs both"
    end

    # The first of two counts, as everywhere with keywords.
    pairs
    |> Enum.reverse()
    |> Map.new(fn {key, pem} -> {Atom.to_string(key), pem} end)
    |> Secret.seal()
  end

  defp pairs!(options) when is_map(options) and not is_struct(options), do: Map.to_list(options)

  defp pairs!(options) do
    if Keyword.keyword?(options),
      do: options,
      else:
        raise(
          ArgumentError,
          "option :tls must be a keyword list or a map with :ca, or :cert and :key"
        )
  end

  defp pem!(key, pem) when key in [:ca, :cert, :key] do
    if not (is_binary(pem) and String.valid?(pem) and pem =~ "-----BEGIN ") do
      raise ArgumentError,
            "option :tls: #{inspect(key)} must be PEM text (not the name of a file, and not " <>
              "DER); read the file with File.read!/1"
    end
  end

  # Not an unknown key either, unless it is an atom: a map may have anything there.
  defp pem!(key, _pem) do
    shown = if is_atom(key), do: "unknown key #{inspect(key)}", else: "a key that is no atom"
    raise ArgumentError, "option :tls: #{shown}; the known ones are :ca, :cert and :key"
  end
end
