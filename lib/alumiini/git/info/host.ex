defmodule Alumiini.Git.Info.Host do
  @moduledoc """
  A host that a worker asks or may not ask for now, that it could not reach, or of which
  repositories fail. See `Alumiini.Git.Info`, and "Requests to one host" in `Alumiini.Git.Options`
  for how it is shared.

  | field | |
  | --- | --- |
  | `host` | scheme, name and port, such as `https://git.example.com` |
  | `proxy` | the proxy through which it is reached, without credentials, or `nil` |
  | `running`, `waiting` | requests that are under way, and that wait for their turn |
  | `limit` | how many may be under way now: `:max_requests_per_host`, a quarter of it before the host has answered, one while it cannot be reached |
  | `per_second` | `:max_requests_per_second_per_host`, or `nil` |
  | `tokens` | how many may begin at once within that, a float; `nil` where there is no such limit |
  | `circuit` | `:closed` (it answers), `:half_open` (it has not answered yet, or not since it asked to be left alone) or `:open` (it could not be reached) |
  | `held_for` | for how many milliseconds nothing is asked of it, since it said so; `nil` if that is not so. Where it said that to some credentials, it is for those only |
  | `failing` | how many repositories are remembered of which the last request failed |
  | `repositories` | at most 8 of the repositories that wait, by whose turn it is: maps of `url` (without secrets) and `waiting` |
  """

  @enforce_keys [:host, :running, :waiting, :limit, :circuit, :failing, :repositories]
  defstruct [
    :host,
    :proxy,
    :running,
    :waiting,
    :limit,
    :per_second,
    :tokens,
    :circuit,
    :held_for,
    :failing,
    :repositories
  ]

  @type t :: %__MODULE__{
          host: String.t(),
          proxy: String.t() | nil,
          running: non_neg_integer,
          waiting: non_neg_integer,
          limit: pos_integer,
          per_second: number | nil,
          tokens: float | nil,
          circuit: :closed | :half_open | :open,
          held_for: non_neg_integer | nil,
          failing: non_neg_integer,
          repositories: [%{url: String.t(), waiting: pos_integer}]
        }

  @circuits %{"closed" => :closed, "half_open" => :half_open, "open" => :open}

  # `nil` for what is not of the form that this library knows.
  @doc false
  @spec from_wire(term) :: [t] | nil
  def from_wire(hosts) when is_list(hosts) do
    hosts = Enum.map(hosts, &host/1)
    if nil in hosts, do: nil, else: hosts
  end

  def from_wire(_other), do: nil

  defp host(
         %{
           "host" => host,
           "running" => running,
           "waiting" => waiting,
           "limit" => limit,
           "circuit" => circuit,
           "failing" => failing,
           "repositories" => repositories
         } = wire
       )
       when is_map_key(@circuits, circuit) and is_list(repositories) do
    %__MODULE__{
      host: host,
      proxy: wire["proxy"],
      running: running,
      waiting: waiting,
      limit: limit,
      per_second: wire["per_second"],
      tokens: wire["tokens"],
      circuit: Map.fetch!(@circuits, circuit),
      held_for: wire["held_for"],
      failing: failing,
      repositories:
        for(
          %{"url" => url, "waiting" => waiting} <- repositories,
          do: %{url: url, waiting: waiting}
        )
    }
  end

  defp host(_not_as_documented), do: nil
end
