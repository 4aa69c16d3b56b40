if Code.ensure_loaded?(Plug) do
  defmodule Alumiini.Git.Webhook.Plug do
    @moduledoc """
    A plug that takes the webhooks of forges, and has each `Alumiini.Git.Follower` ask its remote
    whose repository was pushed to, at once (`Alumiini.Git.Follower.poke_all/2`).

    It is there where `Plug` is among your dependencies. (If you add that later, compile this
    library anew: `mix deps.compile alumiini_git --force`.)

    In a `Plug.Router` without `Plug.Parsers`:

        forward "/webhook",
          to: Alumiini.Git.Webhook.Plug,
          init_opts: [secret: {MyApp.Secrets, :webhook, []}]

    It reads the body itself, since the signature is over its bytes. So it has to stand before
    `Plug.Parsers`. Phoenix has that in its endpoint; there, `:at` says which path is the webhook's:

        plug Alumiini.Git.Webhook.Plug, at: "/webhook", secret: {MyApp.Secrets, :webhook, []}
        plug Plug.Parsers, …

    ## Options

    Those of `Alumiini.Git.Webhook.parse/3`: `:secret`, which has to be given, `:max_bytes`,
    `:header` and `:deliveries`. And:

      * `:at` - the path that it answers at, `"/webhook"` for one; requests to others go on to the
        next plug. Default: it answers each request
      * `:server` - the server whose followers are told. Default: `Alumiini.Git`
      * `:poke` - a function of the `Alumiini.Git.Webhook.Push`, in place of telling the followers.
        What it returns is ignored, but for a number, which the answer has in it. It runs before the
        request is answered, so let it not take long; if it raises, the delivery may come again

    A plug is often made when its module is compiled, and a function in its options has to be one
    that can be: `&MyApp.Hooks.pushed/1`, not `fn push -> … end`. A secret should not be compiled
    into a module: give `{module, function, arguments}`, which is asked for each delivery.

    ## Answers

    | status | |
    | --- | --- |
    | 202 | a push; the text says how many followers were told |
    | 200 | the forge tries the webhook |
    | 204 | another event, of which nothing comes |
    | 400 | no JSON, not what a forge sends, or no forge that is known |
    | 401 | no signature, or a wrong one |
    | 405 | another method than POST |
    | 408 | the body did not come in time |
    | 409 | received before, with `:deliveries` |
    | 413 | longer than `:max_bytes` |
    | 415 | neither JSON nor a form |
    | 500 | nothing that decodes JSON |
    | 503 | the process given as `:deliveries` does not run |

    All but 204 have a sentence in plain text, which says what to do, and holds no secret. What has
    no signature, or says that it is too long, is refused before its body is read.
    """

    @behaviour Plug

    alias Alumiini.Git.Follower
    alias Alumiini.Git.Options.Value
    alias Alumiini.Git.Stacktrace
    alias Alumiini.Git.Webhook.{Options, Push, Request}

    @own [:at, :server, :poke]
    @chunk 1_000_000
    @read_timeout 15_000

    @impl true
    def init(options) do
      webhook = Options.new!(options, inspect(__MODULE__), Options.known() ++ @own)
      own = Keyword.take(options, @own)
      for {key, value} <- own, do: check!(key, value)

      if Keyword.has_key?(own, :server) and Keyword.has_key?(own, :poke) do
        raise ArgumentError, "option :server is of no use with :poke, which tells nobody but you"
      end

      %{
        webhook: webhook,
        at: own[:at] && path(own[:at]),
        server: Keyword.get(own, :server, Alumiini.Git),
        poke: own[:poke]
      }
    end

    @impl true
    def call(%Plug.Conn{} = conn, %{at: at} = options) do
      cond do
        at != nil and conn.path_info != at -> conn
        conn.method != "POST" -> not_allowed(conn)
        true -> receive_delivery(conn, options)
      end
    end

    defp check!(:at, value) do
      if not (is_binary(value) and String.starts_with?(value, "/")),
        do: Value.wrong!(:at, "a path that begins with /", value)
    end

    defp check!(:poke, value) do
      if not is_function(value, 1), do: Value.wrong!(:poke, "a function of one argument", value)
    end

    defp check!(:server, value) do
      if not (is_pid(value) or (is_atom(value) and value != nil) or is_tuple(value)),
        do: Value.wrong!(:server, "a pid or a name", value)
    end

    defp path(path), do: String.split(path, "/", trim: true)

    defp receive_delivery(conn, %{webhook: webhook} = options) do
      not_read!(conn)

      case Request.open(conn.req_headers, webhook) do
        {:ok, request} -> read(conn, request, options)
        {:error, error} -> refuse(conn, error)
      end
    end

    defp read(conn, request, options) do
      case body(conn, options.webhook, [], 0) do
        {:ok, body, conn} -> taken(conn, request, body, options)
        {:too_large, error, conn} -> refuse(conn, error)
        :not_there -> answer(conn, 408, "the body of the request did not come")
      end
    end

    defp taken(conn, request, body, options) do
      with {:ok, outcome, fingerprint} <- Request.read(request, body),
           :ok <- Request.remember(request, outcome, fingerprint) do
        told(conn, outcome, fn push -> poke(push, options, request, fingerprint) end)
      else
        {:error, error} -> refuse(conn, error)
      end
    end

    defp told(conn, %Push{} = push, poke) do
      case poke.(push) do
        n when is_integer(n) -> answer(conn, 202, "a push; told #{n}")
        _other -> answer(conn, 202, "a push")
      end
    end

    defp told(conn, :ping, _poke), do: answer(conn, 200, "the webhook works")
    defp told(conn, {:ignored, _event}, _poke), do: answer(conn, 204, nil)

    # What failed may come again. The trace goes into a log.
    defp poke(push, options, request, fingerprint) do
      poke_by(push, options)
    catch
      kind, reason ->
        Request.forget(request, fingerprint)
        :erlang.raise(kind, reason, Stacktrace.without_arguments(__STACKTRACE__))
    end

    # A follower's commit is never the object of a tag, which a forge tells in its place.
    defp poke_by(push, %{poke: nil, server: server}) do
      push.changes
      |> Enum.map(fn %{ref: ref, after: oid} ->
        commit = if String.starts_with?(ref, "refs/tags/"), do: nil, else: oid
        Follower.poke_all(%{urls: push.urls, ref: ref, after: commit}, server: server)
      end)
      |> Enum.sum()
    end

    defp poke_by(push, %{poke: poke}), do: poke.(push)

    # Of a body that somebody else has read, nothing is left to verify.
    defp not_read!(%{body_params: %Plug.Conn.Unfetched{}}), do: :ok

    defp not_read!(_conn) do
      raise ArgumentError,
            "#{inspect(__MODULE__)} has to stand before Plug.Parsers: the body was read " <>
              "already, and the signature is over its bytes. In a project of Phoenix, put it " <>
              "into the endpoint, with the option :at"
    end

    defp body(conn, webhook, chunks, bytes) do
      # One byte more than there may be, so that it is seen.
      length = min(@chunk, webhook.max_bytes - bytes + 1)
      options = [length: length, read_length: length, read_timeout: @read_timeout]

      case Plug.Conn.read_body(conn, options) do
        {_done, chunk, conn} when bytes + byte_size(chunk) > webhook.max_bytes ->
          {:error, error} = Request.too_large(webhook)
          {:too_large, error, conn}

        {:ok, chunk, conn} ->
          {:ok, IO.iodata_to_binary([chunks, chunk]), conn}

        {:more, chunk, conn} ->
          body(conn, webhook, [chunks, chunk], bytes + byte_size(chunk))

        {:error, _reason} ->
          :not_there
      end
    end

    defp not_allowed(conn) do
      conn
      |> Plug.Conn.put_resp_header("allow", "POST")
      |> answer(405, "webhooks are sent by POST")
    end

    defp refuse(conn, error), do: answer(conn, error.detail.status, error.message)

    defp answer(conn, 204, nil), do: conn |> Plug.Conn.send_resp(204, "") |> Plug.Conn.halt()

    defp answer(conn, status, text) do
      conn
      |> Plug.Conn.put_resp_content_type("text/plain")
      |> Plug.Conn.send_resp(status, text <> "\n")
      |> Plug.Conn.halt()
    end
  end
end
