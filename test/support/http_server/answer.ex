defmodule Alumiini.Git.Test.HttpServer.Answer do
  @moduledoc """
  Answers one request as its plan says: refuses, redirects, or runs Git and streams what it prints,
  with whatever is to go wrong on the way.
  """

  alias Alumiini.Git.Test.HttpServer.{Backend, Connection, Counters, PackScan, Request, Rules}

  # An answer on its way. `head` is the response's head until it has left, together with the first
  # bytes of the body.
  defstruct [:connection, :plan, :head, :scan, framing: :chunked, pack: 0, body: 0]

  @doc "Answers, and says whether the connection lives on. Throws `:closed` where it ended."
  @spec give(Connection.t(), Request.t(), %Rules.Plan{}) :: :keep | :close
  def give(connection, request, plan) do
    if plan.hold, do: Connection.park!(connection, plan.hold)

    cond do
      plan.cut -> Connection.drop!(connection, plan.cut)
      plan.silent -> Connection.park!(connection, :forever)
      not authorized?(request, plan.credentials) -> fixed(connection, plan, unauthorized(plan))
      plan.redirect -> fixed(connection, plan, redirect(request, plan.redirect))
      plan.reply -> fixed(connection, plan, plan.reply)
      true -> run_git(connection, request, plan)
    end

    if plan.close or request.headers["connection"] == "close" or request.version == {1, 0},
      do: :close,
      else: :keep
  end

  ## Answers without Git

  defp authorized?(_request, []), do: true

  defp authorized?(request, credentials) do
    given = request.headers["authorization"]
    Enum.any?(credentials, &(header(&1) == given))
  end

  defp header({:basic, user, password}), do: "Basic " <> Base.encode64("#{user}:#{password}")
  defp header({:bearer, token}), do: "Bearer " <> token

  defp unauthorized(plan) do
    challenge =
      case hd(plan.credentials) do
        {:basic, _, _} -> "Basic realm=\"git\""
        {:bearer, _} -> "Bearer realm=\"git\""
      end

    {401, [{"www-authenticate", challenge}], "Authentication required\n"}
  end

  defp redirect(request, {code, url}) do
    rest = String.replace_prefix(request.target, request.repository, "")
    {code, [{"location", url <> rest}], "Moved\n"}
  end

  defp fixed(connection, plan, {code, headers, body}) do
    headers =
      if has?(headers, "content-type"),
        do: headers,
        else: [{"content-type", "text/plain"} | headers]

    body = IO.iodata_to_binary(body)

    connection
    |> start(plan, code, headers, {:content_length, byte_size(body)}, :opaque)
    |> push(body)
    |> finish()
  end

  defp has?(headers, name), do: Enum.any?(headers, fn {n, _} -> String.downcase(n) == name end)

  ## Answers by Git

  defp run_git(connection, request, plan) do
    scan = if request.service == :upload_pack, do: PackScan.new(), else: :opaque
    backend = Backend.start(connection.shared, request, plan)

    case Backend.head(backend) do
      {:ok, code, headers, first} when plan.framing == :chunked ->
        answer = connection |> start(plan, code, headers, :chunked, scan) |> push(first)
        backend |> Backend.each(answer, &push(&2, &1)) |> finish()

      {:ok, code, headers, first} ->
        rest = Backend.each(backend, [], &[&2, &1])
        body = IO.iodata_to_binary([first, rest])

        connection
        |> start(plan, code, headers, {:content_length, byte_size(body)}, scan)
        |> push(body)
        |> finish()

      :error ->
        fixed(connection, plan, {500, [], "git http-backend ended without an answer\n"})
    end
  end

  ## The answer's bytes

  defp start(connection, plan, code, headers, framing, scan) do
    framing_header =
      case framing do
        :chunked -> {"transfer-encoding", "chunked"}
        {:content_length, length} -> {"content-length", Integer.to_string(length)}
      end

    lines =
      for {name, value} <- plan.headers ++ headers ++ [framing_header],
          do: [name, ": ", value, "\r\n"]

    head = ["HTTP/1.1 ", Integer.to_string(code), " ", reason(code), "\r\n", lines, "\r\n"]

    answer = %__MODULE__{
      connection: connection,
      plan: plan,
      head: head,
      scan: scan,
      framing: framing
    }

    if match?({:head, _, _}, plan.trickle), do: drip_head(answer), else: answer
  end

  defp drip_head(%{plan: %{trickle: {:head, bytes, ms}}} = answer) do
    drip(answer.connection, IO.iodata_to_binary(answer.head), bytes, ms, & &1)
    %{answer | head: []}
  end

  defp push(answer, ""), do: answer

  defp push(answer, data) do
    {parts, scan} = PackScan.scan(answer.scan, data)
    answer = %{answer | scan: scan}

    if plain?(answer.plan) do
      answer |> emit(data) |> count(pack_size(parts))
    else
      Enum.reduce(parts, answer, &part/2)
    end
  end

  defp plain?(plan),
    do: plan.stop == nil and plan.corrupt == nil and plan.trickle == nil and plan.chunk == nil

  defp pack_size(parts), do: Enum.reduce(parts, 0, &pack_size/2)
  defp pack_size({:pack, data}, sum), do: sum + byte_size(data)
  defp pack_size({:other, _data}, sum), do: sum

  defp count(answer, 0), do: answer

  defp count(answer, bytes) do
    %{server: server, shared: %{counters: counters}} = answer.connection
    Counters.add(counters, :pack_bytes, bytes)
    if Counters.get(counters, :pack_watchers) > 0, do: send(server, :pack_bytes)
    answer
  end

  defp part({kind, data}, answer) do
    data = corrupt(kind, data, answer)

    case before_stop(kind, data, answer) do
      {:stop, now, later} -> answer |> pace(kind, now) |> stop() |> pace(kind, later)
      :go_on -> pace(answer, kind, data)
    end
  end

  defp corrupt(:pack, data, %{plan: %{corrupt: at}, pack: pack})
       when is_integer(at) and at >= pack and at < pack + byte_size(data) do
    before = at - pack
    {head, <<byte, tail::binary>>} = :erlang.split_binary(data, before)
    <<head::binary, Bitwise.bxor(byte, 0x10), tail::binary>>
  end

  defp corrupt(_kind, data, _answer), do: data

  defp before_stop(kind, data, %{plan: %{stop: {unit, n, _, _}}} = answer)
       when unit == :body or (unit == :pack and kind == :pack) do
    left = n - if(unit == :pack, do: answer.pack, else: answer.body)

    if left in 0..byte_size(data) do
      {now, later} = :erlang.split_binary(data, left)
      {:stop, now, later}
    else
      :go_on
    end
  end

  defp before_stop(_kind, _data, _answer), do: :go_on

  defp stop(%{plan: %{stop: {_unit, _n, then, rule}}, connection: connection} = answer) do
    # A head that waits for its body must have left when the client is told to wait.
    answer = flush(answer)

    case then do
      :stall -> Connection.park!(connection, :forever)
      :hold -> Connection.park!(connection, rule)
      :finish -> finish_early(answer)
      how -> Connection.drop!(connection, how)
    end

    %{answer | plan: %{answer.plan | stop: nil}}
  end

  # A clean end of the HTTP answer around half of Git's.
  defp finish_early(answer) do
    finish(answer)
    Connection.drop!(answer.connection, :close)
  end

  defp pace(answer, _kind, ""), do: answer

  defp pace(%{plan: plan} = answer, kind, data) do
    answer =
      case plan.trickle do
        {unit, bytes, ms} when unit in [:head, :body] or kind == :pack ->
          answer = flush(answer)
          drip(answer.connection, data, bytes, ms, &frame(answer, &1))
          answer

        _ ->
          Enum.reduce(pieces(data, plan.chunk), answer, &emit(&2, &1))
      end

    pack = if kind == :pack, do: byte_size(data), else: 0
    answer = %{answer | body: answer.body + byte_size(data), pack: answer.pack + pack}
    count(answer, pack)
  end

  defp drip(connection, data, bytes, ms, frame) do
    for piece <- pieces(data, bytes) do
      Connection.send!(connection, frame.(piece))
      Connection.pause!(connection, ms)
    end
  end

  defp pieces(data, nil), do: [data]
  defp pieces(data, size) when byte_size(data) <= size, do: [data]

  defp pieces(data, size) do
    {piece, rest} = :erlang.split_binary(data, size)
    [piece | pieces(rest, size)]
  end

  defp emit(answer, data) do
    Connection.send!(answer.connection, [answer.head | frame(answer, data)])
    %{answer | head: []}
  end

  defp flush(%{head: []} = answer), do: answer

  defp flush(answer) do
    Connection.send!(answer.connection, answer.head)
    %{answer | head: []}
  end

  defp frame(%{framing: :chunked}, data) do
    [data |> byte_size() |> Integer.to_string(16), "\r\n", data, "\r\n"]
  end

  defp frame(_answer, data), do: [data]

  defp finish(%{framing: :chunked} = answer),
    do: Connection.send!(answer.connection, [answer.head, "0\r\n\r\n"])

  defp finish(answer), do: flush(answer)

  defp reason(200), do: "OK"
  defp reason(401), do: "Unauthorized"
  defp reason(403), do: "Forbidden"
  defp reason(404), do: "Not Found"
  defp reason(429), do: "Too Many Requests"
  defp reason(500), do: "Internal Server Error"
  defp reason(503), do: "Service Unavailable"
  # Clients must not look at it.
  defp reason(_code), do: "Status"
end
