defmodule Alumiini.Git.WebhookPlugTest do
  # Without a web server, by the functions that Plug has for that.
  use ExUnit.Case, async: true

  alias Alumiini.Git.Test.Webhooks
  alias Alumiini.Git.Webhook.{Deliveries, Push}

  @secret "s3cr3t"
  @one String.duplicate("1", 40)
  @two String.duplicate("2", 40)

  defp plug(options \\ []) do
    me = self()
    poke = fn push -> send(me, {:poked, push}) && 3 end
    Alumiini.Git.Webhook.Plug.init(Keyword.merge([secret: @secret, poke: poke], options))
  end

  defp call(conn, options), do: Alumiini.Git.Webhook.Plug.call(conn, options)

  defp request(headers, body, method \\ :post, path \\ "/") do
    Enum.reduce(headers, Plug.Test.conn(method, path, body), fn {name, value}, conn ->
      Plug.Conn.put_req_header(conn, String.downcase(name), value)
    end)
  end

  defp push(forge \\ :github) do
    {headers, body} = Webhooks.push(forge, "refs/heads/main", @one, @two)
    {Webhooks.proven(forge, headers, body, @secret), body}
  end

  defp answer(conn), do: {conn.status, conn.resp_body}

  test "a push is told, and answered with how many were" do
    for forge <- Webhooks.forges() do
      {headers, body} = push(forge)
      conn = headers |> request(body) |> call(plug())
      assert answer(conn) == {202, "a push; told 3\n"}
      assert conn.halted
      assert ["text/plain" <> _charset] = Plug.Conn.get_resp_header(conn, "content-type")
      assert_received {:poked, %Push{forge: ^forge, ref: "refs/heads/main", after: @two}}
    end
  end

  test "what the function returns is told only if it is a number" do
    {headers, body} = push()
    conn = headers |> request(body) |> call(plug(poke: fn _push -> {:ok, @secret} end))
    assert answer(conn) == {202, "a push\n"}
  end

  test "another event, and one that tries the webhook, tell nobody" do
    for {event, status} <- [{:ping, 200}, {"star", 204}] do
      headers = Webhooks.proven(:github, Webhooks.headers(:github, event), "{}", @secret)
      conn = headers |> request("{}") |> call(plug())
      assert conn.status == status and conn.halted
    end

    refute_received {:poked, _push}
  end

  test "what is refused is answered with the reason" do
    {headers, body} = push()
    unsigned = Webhooks.headers(:github, :push)
    form = Enum.map(headers, fn {n, v} -> {n, if(n == "Content-Type", do: "text/xml", else: v)} end)
    none = Webhooks.proven(:github, unsigned, "x", @secret)

    for {headers, body, status, text} <- [
          {headers, body <> " ", 401, "the signature of the delivery is not that of :secret"},
          {unsigned, body, 401, "the header x-hub-signature-256 is missing"},
          {[], body, 400, "no webhook of a forge that is known"},
          {none, "x", 400, "the payload is not JSON"},
          {form, body, 415, "neither JSON nor a form"},
          {headers, String.duplicate("x", 26_214_401), 413, "more than 26214400 bytes"},
          {[{"Content-Length", "26214401"} | headers], "", 413, "more than 26214400 bytes"}
        ] do
      conn = headers |> request(body) |> call(plug())
      assert {conn.status, conn.resp_body =~ text, conn.halted} == {status, true, true}
      refute conn.resp_body =~ @secret
      assert byte_size(conn.resp_body) < 300
    end

    refute_received {:poked, _push}
  end

  test "another method is refused, with the one that is right" do
    for method <- [:get, :put, :head, :options, :delete] do
      conn = [] |> request("", method) |> call(plug())
      assert {conn.status, conn.halted} == {405, true}
      assert Plug.Conn.get_resp_header(conn, "allow") == ["POST"]
    end
  end

  test "a body comes in as many pieces as it takes, up to the limit" do
    {_headers, body} = push()
    padding = String.duplicate(" ", 2_500_000)
    body = body <> padding
    headers = Webhooks.proven(:github, Webhooks.headers(:github, :push), body, @secret)
    assert {202, _text} = headers |> request(body) |> call(plug()) |> answer()

    limit = byte_size(body)
    assert {202, _text} = headers |> request(body) |> call(plug(max_bytes: limit)) |> answer()
    assert {413, _text} = headers |> request(body) |> call(plug(max_bytes: limit - 1)) |> answer()
    assert {413, _text} = headers |> request(body) |> call(plug(max_bytes: 10)) |> answer()
  end

  defmodule Reads do
    # An adapter that says what it is asked, and answers as it is told.
    def read_req_body(%{test: test, answer: answer} = state, options) do
      send(test, {:read, options})
      if is_atom(answer), do: {:error, answer}, else: {:ok, answer, state}
    end

    def send_resp(state, _status, _headers, body), do: {:ok, body, state}
    def get_http_protocol(_state), do: :"HTTP/1.1"
  end

  defp by_adapter(conn, answer), do: %{conn | adapter: {Reads, %{test: self(), answer: answer}}}

  test "nothing is read of what the headers refuse" do
    {headers, body} = push(:gitlab)
    wrong = Webhooks.proven(:gitlab, Webhooks.headers(:gitlab, :push), body, "another")

    for headers <- [
          [],
          Webhooks.headers(:github, :push),
          wrong,
          [{"content-length", "30000000"} | headers]
        ] do
      conn = headers |> request(nil) |> by_adapter(body) |> call(plug())
      assert conn.status in [400, 401, 413]
      refute_received {:read, _options}
    end

    conn = headers |> request(nil) |> by_adapter(body) |> call(plug())
    assert conn.status == 202
    assert_received {:read, options}
    # So that a sender that stalls holds nothing for long.
    assert options[:read_timeout] <= 15_000 and options[:length] <= 1_000_000
  end

  test "a body that does not come is told" do
    {headers, _body} = push()
    conn = headers |> request(nil) |> by_adapter(:timeout) |> call(plug())
    assert {408, "the body of the request did not come\n"} = answer(conn)
    assert conn.halted
  end

  test "a body that was read already is the mistake of whoever built the pipeline" do
    {headers, body} = push()
    conn = %{request(headers, body) | body_params: %{}}

    assert_raise ArgumentError, ~r/has to stand before Plug.Parsers/, fn ->
      call(conn, plug())
    end
  end

  test "with :at, other paths go on" do
    {headers, body} = push()
    options = plug(at: "/hooks/git")

    for path <- ["/", "/hooks", "/hooks/git/x", "/hooks/gits"] do
      conn = request(headers, body, :post, path)
      assert call(conn, options) == conn
      # Also where others would be refused, or have been read.
      conn = %{request([], "", :get, path) | body_params: %{}}
      assert call(conn, options) == conn
    end

    for path <- ["/hooks/git", "/hooks/git/"] do
      assert {202, _text} = headers |> request(body, :post, path) |> call(options) |> answer()
    end
  end

  describe "a delivery that comes a second time" do
    setup do
      %{deliveries: start_supervised!({Deliveries, name: nil})}
    end

    test "is refused", %{deliveries: deliveries} do
      {headers, body} = push()
      options = plug(deliveries: deliveries)
      assert {202, _text} = headers |> request(body) |> call(options) |> answer()
      assert_received {:poked, _push}
      assert {409, text} = headers |> request(body) |> call(options) |> answer()
      assert text =~ "was received before"
      refute_received {:poked, _push}
    end

    test "is welcome where telling it failed", %{deliveries: deliveries} do
      {headers, body} = push()

      for {poke, kind} <- [
            {fn _push -> raise "no" end, :error},
            {fn _push -> throw(:no) end, :throw},
            {fn _push -> exit(:no) end, :exit}
          ] do
        options = plug(deliveries: deliveries, poke: poke)

        assert {^kind, _reason} =
                 (try do
                    headers |> request(body) |> call(options)
                  catch
                    kind, reason -> {kind, reason}
                  end)
      end

      options = plug(deliveries: deliveries)
      assert {202, _text} = headers |> request(body) |> call(options) |> answer()
    end

    test "cannot be told where the process does not run", %{deliveries: deliveries} do
      stop_supervised!(Deliveries)
      {headers, body} = push()
      conn = headers |> request(body) |> call(plug(deliveries: deliveries))
      assert {503, text} = answer(conn)
      assert text =~ "start Alumiini.Git.Webhook.Deliveries"
      refute_received {:poked, _push}
    end
  end

  test "the secret is asked for each delivery" do
    {headers, body} = push()
    me = self()
    options = plug(secret: fn -> send(me, :asked) && @secret end)
    refute_received :asked

    for _ <- 1..2 do
      assert {202, _text} = headers |> request(body) |> call(options) |> answer()
      assert_received :asked
    end
  end

  test "options that are wrong raise when it is made" do
    for {options, message} <- [
          {[], ~r/option :secret must be a string/},
          {[secret: "x", ats: "/"], ~r/unknown option :ats of Alumiini.Git.Webhook.Plug/},
          {[secret: "x", at: "hooks"], ~r/option :at must be a path that begins with/},
          {[secret: "x", poke: fn -> 1 end], ~r/option :poke must be a function of one argument/},
          {[secret: "x", server: "x"], ~r/option :server must be a pid or a name/},
          {[secret: "x", server: :x, poke: &hd/1], ~r/option :server is of no use with :poke/},
          {[secret: "x", max_bytes: -1], ~r/option :max_bytes must be a positive integer/}
        ] do
      assert_raise ArgumentError, message, fn -> Alumiini.Git.Webhook.Plug.init(options) end
    end
  end

  test "what it is made of can be compiled into a module" do
    options =
      Alumiini.Git.Webhook.Plug.init(
        secret: {String, :trim, [@secret]},
        poke: &Function.identity/1,
        at: "/hooks"
      )

    {again, _bindings} = options |> Macro.escape() |> Code.eval_quoted()
    assert again == options
  end
end
