defmodule Alumiini.Git.Webhook.Deliveries do
  @moduledoc """
  Remembers the last deliveries of webhooks, so that none is taken twice.

      children = [
        Alumiini.Git,
        {Alumiini.Git.Webhook.Deliveries, name: MyApp.Deliveries}
      ]

  Give its name as the option `:deliveries` of `Alumiini.Git.Webhook.parse/3` or
  `Alumiini.Git.Webhook.Plug`. A push that was taken before is refused then.

  Without it nothing bad happens: a push that comes again makes a follower ask its remote once more.
  It is for those who do more than that with a push.

  What is remembered of a delivery are 32 bytes, the hash of its body. With forges that do not sign
  the body (GitLab with a secret token, Azure DevOps) it is that of the body and the delivery's id.
  A signed delivery cannot be sent again under another id: the signature is over the body alone.

  ## Options

    * `:name` - what to register it as. Default: this module
    * `:max` - how many are remembered; of more, the oldest are forgotten. Default: 10,000
  """

  use GenServer

  alias Alumiini.Git.Options.Value

  @timeout 5_000

  @doc "Starts it, linked to the caller."
  @spec start_link(name: GenServer.name() | nil, max: pos_integer) :: GenServer.on_start()
  def start_link(options \\ []) do
    if not Keyword.keyword?(options) or Keyword.keys(options) -- [:name, :max] != [] do
      raise ArgumentError,
            "the options of Alumiini.Git.Webhook.Deliveries are a keyword list of :name and :max"
    end

    max = Keyword.get(options, :max, 10_000)
    Value.positive!(:max, max, 10_000_000)

    case Keyword.get(options, :name, __MODULE__) do
      nil -> GenServer.start_link(__MODULE__, max)
      name -> GenServer.start_link(__MODULE__, max, name: name)
    end
  end

  @doc false
  @spec remember(GenServer.server(), binary) :: :new | :seen | :unavailable
  def remember(server, key), do: ask(server, {:remember, key})

  @doc false
  @spec forget(GenServer.server(), binary) :: :ok
  def forget(server, key) do
    _answer = ask(server, {:forget, key})
    :ok
  end

  defp ask(server, question) do
    GenServer.call(server, question, @timeout)
  catch
    :exit, _not_there -> :unavailable
  end

  # The oldest first. A key that was forgotten stays in the order until it is its turn.
  @impl true
  def init(max), do: {:ok, %{max: max, seen: %{}, order: :queue.new(), count: 0, next: 0}}

  @impl true
  def handle_call({:remember, key}, _from, state) do
    if is_map_key(state.seen, key),
      do: {:reply, :seen, state},
      else: {:reply, :new, state |> add(key) |> trim()}
  end

  def handle_call({:forget, key}, _from, state),
    do: {:reply, :ok, %{state | seen: Map.delete(state.seen, key)}}

  defp add(state, key) do
    %{
      state
      | seen: Map.put(state.seen, key, state.next),
        order: :queue.in({state.next, key}, state.order),
        count: state.count + 1,
        next: state.next + 1
    }
  end

  defp trim(%{count: count, max: max} = state) when count <= max, do: state

  defp trim(state) do
    {{:value, {n, key}}, order} = :queue.out(state.order)
    # Remembered anew since, it is younger than this.
    seen = if state.seen[key] == n, do: Map.delete(state.seen, key), else: state.seen
    %{state | seen: seen, order: order, count: state.count - 1}
  end
end
