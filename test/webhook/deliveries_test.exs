defmodule Alumiini.Git.WebhookDeliveriesTest do
  # A delivery that comes a second time.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Error, Webhook}
  alias Alumiini.Git.Test.Webhooks
  alias Alumiini.Git.Webhook.{Deliveries, Push}

  @secret "s3cr3t"
  @one String.duplicate("1", 40)
  @two String.duplicate("2", 40)

  defp options(deliveries), do: [secret: @secret, deliveries: deliveries]

  defp refused!(headers, body, deliveries) do
    assert {:error, %Error{reason: :invalid} = error} =
             Webhook.parse(headers, body, options(deliveries))

    assert error.detail == %{status: 409}
    assert error.message =~ "was received before"
  end

  for forge <- Webhooks.forges() do
    test "#{forge}: is refused" do
      forge = unquote(forge)
      deliveries = start_supervised!({Deliveries, name: nil})
      {headers, body} = Webhooks.push(forge, "refs/heads/main", @one, @two)
      headers = Webhooks.proven(forge, headers, body, @secret)

      # One that is no good is not remembered.
      assert {:error, %Error{reason: reason}} =
               Webhook.parse(headers, body, secret: "another", deliveries: deliveries)

      assert reason == :auth
      assert {:ok, %Push{}} = Webhook.parse(headers, body, options(deliveries))
      refused!(headers, body, deliveries)

      {headers, body} = Webhooks.push(forge, "refs/heads/main", @two, @one)
      headers = Webhooks.proven(forge, headers, body, @secret)
      assert {:ok, %Push{}} = Webhook.parse(headers, body, options(deliveries))

      # Without that option nothing is.
      assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)
    end
  end

  test "that is signed is refused under another id, too: the id is not signed" do
    deliveries = start_supervised!({Deliveries, name: nil})
    {headers, body} = Webhooks.push(:github, "refs/heads/main", @one, @two)
    headers = Webhooks.proven(:github, headers, body, @secret)
    assert {:ok, %Push{}} = Webhook.parse(headers, body, options(deliveries))
    refused!([{"X-GitHub-Delivery", "another"} | headers], body, deliveries)
  end

  test "that is not signed is another one under another id: the same push may come again" do
    deliveries = start_supervised!({Deliveries, name: nil})
    {headers, body} = Webhooks.push(:gitlab, "refs/heads/main", @one, @two)
    headers = Webhooks.proven(:gitlab, headers, body, @secret)
    assert {:ok, %Push{}} = Webhook.parse(headers, body, options(deliveries))
    again = [{"Idempotency-Key", "another"} | headers]
    assert {:ok, %Push{delivery: "another"}} = Webhook.parse(again, body, options(deliveries))
    refused!(again, body, deliveries)
  end

  test "is of no interest where it is no push" do
    deliveries = start_supervised!({Deliveries, name: nil})
    headers = Webhooks.proven(:github, Webhooks.headers(:github, :ping), "{}", @secret)
    for _ <- 1..2, do: assert(Webhook.parse(headers, "{}", options(deliveries)) == {:ok, :ping})
  end

  test "of many, the last are remembered" do
    deliveries = start_supervised!({Deliveries, name: nil, max: 3})
    for key <- ["a", "b", "c"], do: assert(Deliveries.remember(deliveries, key) == :new)
    assert Deliveries.remember(deliveries, "a") == :seen
    assert Deliveries.remember(deliveries, "d") == :new
    for key <- ["b", "c", "d"], do: assert(Deliveries.remember(deliveries, key) == :seen)
    assert Deliveries.remember(deliveries, "a") == :new
    assert Deliveries.remember(deliveries, "b") == :new

    # As many as 3 of them, however many come.
    for n <- 1..1_000, do: assert(Deliveries.remember(deliveries, "#{n}") == :new)
    state = :sys.get_state(deliveries)
    assert {map_size(state.seen), :queue.len(state.order)} == {3, 3}
  end

  test "that was forgotten is new, and is remembered as such" do
    deliveries = start_supervised!({Deliveries, name: nil, max: 3})
    for key <- ["a", "b"], do: assert(Deliveries.remember(deliveries, key) == :new)
    assert Deliveries.forget(deliveries, "a") == :ok
    assert Deliveries.forget(deliveries, "never seen") == :ok
    assert Deliveries.remember(deliveries, "a") == :new
    # The place of the first "a" is taken, and "a" is still known.
    assert Deliveries.remember(deliveries, "c") == :new
    assert Deliveries.remember(deliveries, "a") == :seen
  end

  test "and no process that could know it" do
    {headers, body} = Webhooks.push(:github, "refs/heads/main", @one, @two)
    headers = Webhooks.proven(:github, headers, body, @secret)

    assert {:error, %Error{reason: :worker_unavailable, retryable?: true} = error} =
             Webhook.parse(headers, body, options(:there_is_no_such_process))

    assert error.detail == %{status: 503}
    assert error.message =~ "start Alumiini.Git.Webhook.Deliveries"
  end

  test "the process has a name of its own, or another, or none" do
    assert {:ok, pid} = start_supervised(Deliveries)
    assert Process.whereis(Deliveries) == pid
    assert {:ok, _another} = start_supervised({Deliveries, name: __MODULE__}, id: :named)
    assert Deliveries.remember(__MODULE__, "a") == :new

    for options <- [:x, [names: 1], [max: 0], [max: "1"]] do
      assert_raise ArgumentError, fn -> Deliveries.start_link(options) end
    end
  end
end
