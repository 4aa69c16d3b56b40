defmodule Alumiini.Git.Test.HttpServer.Rules do
  @moduledoc """
  How a server misbehaves: rules that tests add and remove while it runs, and the plan that they
  make for one request.

  All rules that match a request apply. Where two set the same thing, the one added later wins.
  `HttpServer.rule/3` lists them.
  """

  alias Alumiini.Git.Test.HttpServer.Request

  defmodule Plan do
    @moduledoc "What the rules make of one request; the defaults are a well-behaved server."

    defstruct credentials: [],
              hold: nil,
              silent: false,
              cut: nil,
              reply: nil,
              redirect: nil,
              protocol: :as_asked,
              config: [],
              stop: nil,
              corrupt: nil,
              trickle: nil,
              chunk: nil,
              framing: :chunked,
              headers: [],
              drop_next: nil,
              close: false
  end

  @type id :: pos_integer
  @type rule :: %{
          id: id,
          action: term,
          path: nil | String.t() | Regex.t(),
          on: nil | Request.service(),
          first: nil | pos_integer,
          skip: non_neg_integer,
          matched: :atomics.atomics_ref()
        }

  @spec build(id, term, keyword) :: rule
  def build(id, action, options) do
    # Checked where the rule is made, so that a typing error is the test's and not a silent
    # connection's.
    apply_action(action, id, %Plan{})
    options = Keyword.validate!(options, [:path, :on, :first, skip: 0])

    %{
      id: id,
      action: action,
      path: options[:path],
      on: options[:on],
      first: options[:first],
      skip: options[:skip],
      matched: :atomics.new(1, [])
    }
  end

  @spec plan(:ets.table(), Request.t()) :: %Plan{}
  def plan(table, request) do
    case :ets.lookup(table, :rules) do
      [rules: []] -> %Plan{}
      [rules: rules] -> Enum.reduce(rules, %Plan{}, &add(&1, &2, request))
    end
  end

  defp add(rule, plan, request) do
    if matches?(rule, request) and in_turn?(rule) do
      apply_action(rule.action, rule.id, plan)
    else
      plan
    end
  end

  @spec matches?(%{path: term, on: term}, %{repository: String.t(), service: atom}) :: boolean
  def matches?(%{path: path, on: on}, %{repository: repository, service: service}) do
    (on == nil or on == service) and path?(path, repository)
  end

  defp path?(nil, _), do: true
  defp path?(%Regex{} = regex, repository), do: repository =~ regex

  defp path?(path, repository),
    do: String.trim_leading(repository, "/") == String.trim_leading(path, "/")

  # Counts every match, so that `skip` and `first` mean the N-th requests whatever connection they
  # come on.
  defp in_turn?(%{first: nil, skip: 0}), do: true

  defp in_turn?(rule) do
    turn = :atomics.add_get(rule.matched, 1, 1) - rule.skip
    turn >= 1 and (rule.first == nil or turn <= rule.first)
  end

  defp apply_action({:require, {:basic, _, _} = c}, _, plan), do: credential(plan, c)
  defp apply_action({:require, {:bearer, _} = c}, _, plan), do: credential(plan, c)
  defp apply_action({:status, code}, id, plan), do: apply_action({:status, code, ""}, id, plan)

  defp apply_action({:status, code, body}, id, plan),
    do: apply_action({:status, code, [], body}, id, plan)

  defp apply_action({:status, code, headers, body}, _, plan),
    do: %{plan | reply: {code, headers, body}}

  defp apply_action(:html, id, plan),
    do: apply_action({:status, 200, html_type(), html()}, id, plan)

  defp apply_action({:redirect, code, url}, _, plan) when code in [301, 302, 303, 307, 308],
    do: %{plan | redirect: {code, url}}

  defp apply_action(:silent, _, plan), do: %{plan | silent: true}
  defp apply_action(:hold, id, plan), do: %{plan | hold: id}
  defp apply_action({:cut, how}, _, plan) when how in [:close, :reset], do: %{plan | cut: how}
  defp apply_action(:no_v2, _, plan), do: %{plan | protocol: :v0}

  defp apply_action({:config, pairs}, _, plan) when is_list(pairs),
    do: %{plan | config: plan.config ++ pairs}

  defp apply_action({:stop, {unit, n}, then}, id, plan)
       when unit in [:pack, :body] and n >= 0 and then in [:stall, :hold, :close, :reset, :finish],
       do: %{plan | stop: {unit, n, then, id}}

  defp apply_action({:corrupt, n}, _, plan) when n >= 0, do: %{plan | corrupt: n}

  defp apply_action({:trickle, unit, bytes, ms}, _, plan)
       when unit in [:head, :body, :pack] and bytes > 0,
       do: %{plan | trickle: {unit, bytes, ms}}

  defp apply_action({:chunks, n}, _, plan) when n > 0, do: %{plan | chunk: n}

  defp apply_action({:framing, f}, _, plan) when f in [:chunked, :content_length],
    do: %{plan | framing: f}

  defp apply_action({:header, name, value}, _, plan),
    do: %{plan | headers: [{name, value} | plan.headers]}

  defp apply_action(:close_after, _, plan), do: %{plan | close: true}

  defp apply_action({:drop_next, how}, _, plan) when how in [:close, :reset],
    do: %{plan | drop_next: how}

  defp credential(plan, credential), do: %{plan | credentials: [credential | plan.credentials]}

  defp html_type, do: [{"content-type", "text/html; charset=utf-8"}]

  defp html do
    "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in to " <>
      "continue</h1></body></html>\n"
  end
end
