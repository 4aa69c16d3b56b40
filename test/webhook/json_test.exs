defmodule Alumiini.Git.WebhookJsonTest do
  # Which decoder is taken, and what it is asked.
  use ExUnit.Case, async: true

  alias Alumiini.Git.Webhook.Json

  defmodule Other do
    def decode("1"), do: {:ok, 1}
    def decode(_text), do: {:error, :any}
  end

  defmodule NoDecoder do
    def encode(term), do: term
  end

  test "the first that is there decodes" do
    assert Json.decode("1", [Nowhere, Other]) == {:ok, 1}
    assert Json.decode("2", [Nowhere, Other]) == {:error, :invalid}
    assert Json.decode("1", [NoDecoder, Other]) == {:ok, 1}
  end

  test "where there is none, that is told" do
    assert Json.decode("1", []) == {:error, :no_decoder}
    assert Json.decode("1", [Nowhere, NoDecoder]) == {:error, :no_decoder}
  end

  # Those that this Erlang and this Elixir have.
  for decoder <- [:json, JSON, Jason] do
    there? =
      decoder == Jason or
        (Code.ensure_loaded?(decoder) and function_exported?(decoder, :decode, 3))

    @tag skip: if(there?, do: false, else: "this Erlang or Elixir has no #{inspect(decoder)}")
    test "#{inspect(decoder)} gives strings, nil, and an error for what is none" do
      decoders = [unquote(decoder)]
      text = ~S({"a": [null, true, false, -1, 1.5e3, "\u00e4\ud83d\ude00\n"], "b": {}} )

      assert Json.decode(text, decoders) ==
               {:ok, %{"a" => [nil, true, false, -1, 1.5e3, "ä😀\n"], "b" => %{}}}

      for text <- ["", "{", "[1,]", "{}x", "{} {}", ~s({"a"}), <<?", 255, ?">>, "nul", "01"] do
        assert {text, Json.decode(text, decoders)} == {text, {:error, :invalid}}
      end
    end
  end
end
