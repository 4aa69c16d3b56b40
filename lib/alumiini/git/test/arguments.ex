defmodule Alumiini.Git.Test.Arguments do
  @moduledoc false

  # What a function was called with, as stubs are asked about it: made of the request as
  # `protocol/README.md` has it, since that is what reaches a server. Pure.

  alias Alumiini.Git.{Ops, RedactedUrl, Secret}

  # How an answer is to be sent, which is the library's business.
  @internal ["op", "details", "raw", "progress", "timeout"]
  # No test that fails is to print one, nor what a URL has in its query.
  @secret [:auth, :tls, :proxy]

  @doc "The function that was called, and its arguments by name."
  @spec from_call(atom, map) :: {atom, map}
  def from_call(op, request) do
    arguments =
      for {key, value} <- request |> Map.drop(@internal) |> opened(),
          into: %{},
          do: {key(key), value(key, value)}

    {name(op, request["op"]), arguments}
  end

  # The wire has one word for the two that sync, and a version makes a sync ask for refs first.
  defp name(:update, "sync"), do: :update
  defp name(_op, wire), do: Ops.name(wire)

  # Only those of our own requests.
  defp key("prefixes"), do: :prefix
  defp key(key), do: String.to_atom(key)

  defp value("ref", %{"default" => true}), do: :default
  defp value("ref", %{"branch" => branch}), do: branch
  defp value("ref", %{"tag" => tag}), do: {:tag, tag}
  defp value("ref", %{"commit" => sha}), do: {:commit, sha}
  defp value("ref", %{"name" => name}), do: {:ref, name}
  defp value("depth", 0), do: :infinity

  defp value("known", oids) when is_list(oids),
    do: Enum.map(oids, &Base.encode16(&1, case: :lower))

  defp value("format", format) when is_binary(format), do: String.to_existing_atom(format)
  defp value(_key, value), do: value

  # A test wants to see whose credentials they are.
  defp opened(sealed) when is_function(sealed, 0) do
    case Secret.reveal(sealed) do
      {:ok, value} -> opened(value)
      :error -> nil
    end
  end

  defp opened(map) when is_map(map) and not is_struct(map) do
    for {key, value} <- map,
        opened = {key, opened(value)},
        elem(opened, 1) != nil,
        into: %{},
        do: opened
  end

  defp opened(list) when is_list(list), do: Enum.map(list, &opened/1)
  defp opened(other), do: other

  @doc "The arguments as a message shows them, without what may be secret."
  @spec shown(map) :: String.t()
  def shown(arguments) do
    arguments
    |> Map.drop(@secret)
    |> Map.new(fn
      {:url, url} when is_binary(url) -> {:url, RedactedUrl.clean(url)}
      {key, text} when is_binary(text) -> {key, RedactedUrl.clean_text(text)}
      other -> other
    end)
    |> inspect(printable_limit: 200, limit: 20)
  end
end
