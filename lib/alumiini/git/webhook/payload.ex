defmodule Alumiini.Git.Webhook.Payload do
  @moduledoc false

  # What a payload says, taken out of it: of the shape that we know, bounded, and as copies, since a
  # part of a binary keeps all 25 MiB of it alive.

  alias Alumiini.Git.RedactedUrl
  alias Alumiini.Git.Webhook.Push

  # Git's own bound of a ref is that of a path's name.
  @longest_ref 4_096
  @longest_url 2_048
  @longest_name 200

  @doc "What is at the end of these keys; nil where something on the way is no object."
  @spec at(term, [String.t()]) :: term
  def at(value, []), do: value
  def at(map, [key | keys]) when is_map(map), do: map |> Map.get(key) |> at(keys)
  def at(_other, _keys), do: nil

  @doc "Those that are URLs, each once."
  @spec urls([term]) :: {:ok, [String.t(), ...]} | {:error, String.t()}
  def urls(candidates) do
    case for url <- candidates, text?(url, @longest_url), uniq: true, do: bare(url) do
      [] -> {:error, "names no URL to clone"}
      urls -> {:ok, urls}
    end
  end

  defp bare(url) do
    {bare, _auth} = RedactedUrl.split(url)
    :binary.copy(bare)
  end

  @doc """
  A ref by its full name, and where it was and is: ids, zeros for none, or `:none` where the payload
  has no place for one.
  """
  @spec change(term, term, term) :: {:ok, Push.change()} | {:error, String.t()}
  def change(ref, before, later) do
    with {:ok, ref} <- ref(ref),
         {:ok, before} <- oid(before),
         {:ok, later} <- oid(later),
         do: {:ok, %{ref: ref, before: before, after: later}}
  end

  @doc "Each of a list by `function`, or the first error."
  @spec changes(term, (term -> {:ok, Push.change()} | {:error, String.t()})) ::
          {:ok, [Push.change()]} | {:error, String.t()}
  def changes(list, function) when is_list(list) do
    result =
      Enum.reduce_while(list, [], fn item, changes ->
        case function.(item) do
          {:ok, change} -> {:cont, [change | changes]}
          {:error, what} -> {:halt, {:error, what}}
        end
      end)

    if is_list(result), do: {:ok, Enum.reverse(result)}, else: result
  end

  def changes(_other, _function), do: {:error, "has no list of the refs that changed"}

  @doc "A name from a header or a payload, for whoever looks at it; nil where it is none."
  @spec name(term) :: String.t() | nil
  def name(text), do: if(text?(text, @longest_name), do: :binary.copy(text))

  defp ref(ref) do
    if text?(ref, @longest_ref) and String.starts_with?(ref, "refs/"),
      do: {:ok, :binary.copy(ref)},
      else: {:error, "names no ref (refs/…)"}
  end

  defp oid(:none), do: {:ok, nil}

  defp oid(oid) when is_binary(oid) and byte_size(oid) in [40, 64] do
    cond do
      String.match?(oid, ~r/\A0+\z/) -> {:ok, nil}
      String.match?(oid, ~r/\A[0-9a-f]+\z/) -> {:ok, :binary.copy(oid)}
      true -> {:error, "has something that is no commit id"}
    end
  end

  defp oid(_other), do: {:error, "has something that is no commit id"}

  defp text?(text, most) do
    is_binary(text) and text != "" and byte_size(text) <= most and String.valid?(text) and
      not String.match?(text, ~r/[\x00-\x1f\x7f]/)
  end
end
