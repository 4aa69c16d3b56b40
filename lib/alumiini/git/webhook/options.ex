defmodule Alumiini.Git.Webhook.Options do
  @moduledoc false

  # What a delivery is held against, checked. The secret stays in the form in which it was given,
  # and is asked for once for each delivery.

  alias Alumiini.Git.Options.Value
  alias Alumiini.Git.Stacktrace

  @known [:secret, :max_bytes, :header, :deliveries]
  # What GitHub sends at most, and nobody is known to send more.
  @default_max_bytes 26_214_400
  @most_bytes 268_435_456

  @enforce_keys [:secret]
  @derive {Inspect, except: [:secret]}
  defstruct [:secret, :header, :deliveries, max_bytes: @default_max_bytes]

  @type t :: %__MODULE__{
          secret: term,
          header: String.t() | nil,
          deliveries: GenServer.server() | nil,
          max_bytes: pos_integer
        }

  @spec known() :: [atom]
  def known, do: @known

  @spec new!(term, String.t(), [atom]) :: t
  def new!(options, function, known \\ @known) do
    if not Keyword.keyword?(options),
      do: raise(ArgumentError, "the options of #{function} must be a keyword list")

    for {key, _value} <- options, key not in known do
      raise ArgumentError,
            "unknown option #{inspect(key)} of #{function}; the known ones are " <>
              Enum.map_join(known, ", ", &inspect/1)
    end

    secret!(Keyword.get(options, :secret))
    for {key, value} <- options, do: check!(key, value)
    # The first of two counts, as everywhere with keywords.
    struct!(__MODULE__, options |> Keyword.take(@known) |> Enum.reverse() |> Map.new())
  end

  @doc "The secrets of which one must be right, or `:none`. A function is called now."
  @spec secrets(t) :: [String.t(), ...] | :none
  def secrets(%__MODULE__{secret: :none}), do: :none

  def secrets(%__MODULE__{secret: secret}) do
    secret = resolve(secret)

    if not secrets?(secret) do
      raise ArgumentError,
            "the function given as :secret must return a string that is not empty, or a list " <>
              "of such strings"
    end

    List.wrap(secret)
  end

  defp resolve(function) when is_function(function, 0), do: quietly(function)
  defp resolve({m, f, a}), do: quietly(fn -> apply(m, f, a) end)
  defp resolve(secret), do: secret

  # The arguments of a call that fails are in its trace, and what a closure holds.
  defp quietly(function) do
    function.()
  catch
    kind, reason -> :erlang.raise(kind, reason, Stacktrace.without_arguments(__STACKTRACE__))
  end

  defp secret!(:none), do: :ok
  defp secret!(function) when is_function(function, 0), do: :ok
  defp secret!({m, f, a}) when is_atom(m) and is_atom(f) and is_list(a), do: :ok

  defp secret!(secret) do
    if not secrets?(secret) do
      # Not what it is, beside that it is not there.
      raise ArgumentError,
            "option :secret must be a string that is not empty, a list of such strings, or a " <>
              "function of no arguments or {module, function, arguments} that returns one of " <>
              "these#{if secret == nil, do: "; it is not given"}. To take what anybody sends, " <>
              "say secret: :none"
    end
  end

  defp secrets?(list) when is_list(list), do: list != [] and Enum.all?(list, &one?/1)
  defp secrets?(secret), do: one?(secret)
  defp one?(secret), do: is_binary(secret) and secret != ""

  defp check!(:max_bytes, value), do: Value.positive!(:max_bytes, value, @most_bytes)

  defp check!(:header, value) do
    if value != nil and not (is_binary(value) and value =~ ~r/\A[A-Za-z0-9_-]+\z/),
      do: Value.wrong!(:header, "the name of a header", value)
  end

  defp check!(:deliveries, value) do
    if not (is_pid(value) or is_atom(value) or match?({_a, _b}, value) or
              match?({:via, _m, _t}, value)),
       do: Value.wrong!(:deliveries, "a pid or a name", value)
  end

  defp check!(_key, _value), do: :ok
end
