defmodule Alumiini.Git.ProtocolTest do
  use ExUnit.Case, async: true

  import Bitwise

  alias Alumiini.Git.{Auth, Error, Secret}
  alias Alumiini.Git.Server.Protocol

  defmodule Json do
    # As much of JSON as the golden frames use.
    def parse!(text) do
      {value, rest} = value(String.trim_leading(text))
      "" = String.trim(rest)
      value
    end

    defp value("{" <> rest), do: rest |> skip() |> object([])
    defp value("[" <> rest), do: rest |> skip() |> array([])
    defp value("\"" <> rest), do: string(rest, "")
    defp value("true" <> rest), do: {true, rest}
    defp value("false" <> rest), do: {false, rest}
    defp value("null" <> rest), do: {nil, rest}

    defp value(number) do
      [digits] = Regex.run(~r/^-?\d+(?:\.\d+)?/, number)

      {value, ""} = if digits =~ ".", do: Float.parse(digits), else: Integer.parse(digits)

      {value, String.replace_prefix(number, digits, "")}
    end

    defp object("}" <> rest, pairs), do: {Map.new(pairs), rest}

    defp object("\"" <> rest, pairs) do
      {key, rest} = string(rest, "")
      ":" <> rest = skip(rest)
      {value, rest} = value(skip(rest))
      rest |> skip() |> comma() |> object([{key, value} | pairs])
    end

    defp array("]" <> rest, items), do: {Enum.reverse(items), rest}

    defp array(rest, items) do
      {item, rest} = value(rest)
      rest |> skip() |> comma() |> array([item | items])
    end

    defp string("\"" <> rest, text), do: {text, rest}
    defp string("\\n" <> rest, text), do: string(rest, text <> "\n")
    defp string("\\\"" <> rest, text), do: string(rest, text <> "\"")

    defp string(<<char::utf8, rest::binary>>, text) when char != ?\\,
      do: string(rest, <<text::binary, char::utf8>>)

    defp comma("," <> rest), do: skip(rest)
    defp comma(rest), do: rest
    defp skip(rest), do: String.trim_leading(rest)
  end

  @root Path.expand("../..", __DIR__)

  defp golden(kind) do
    for path <- Path.wildcard(Path.join(@root, "protocol/golden/*.#{kind}.hex")) do
      ["# " <> comment, json | hex] = path |> File.read!() |> String.split("\n", trim: true)
      assert String.starts_with?(comment, "#{kind}: "), "#{path} begins with `# #{comment}`"
      <<size::32, body::binary>> = hex |> Enum.join() |> Base.decode16!(case: :lower)
      assert byte_size(body) == size, "the length in #{path} is wrong"
      {Path.basename(path), json |> Json.parse!() |> bin(), body}
    end
  end

  defp bin(%{"bin" => hex} = map) when map_size(map) == 1,
    do: Msgpax.Bin.new(Base.decode16!(hex, case: :lower))

  defp bin(map) when is_map(map), do: Map.new(map, fn {key, value} -> {key, bin(value)} end)
  defp bin(list) when is_list(list), do: Enum.map(list, &bin/1)
  defp bin(other), do: other

  # What a caller passes: plain binaries, whether the wire has `str` or `bin`.
  defp plain(%Msgpax.Bin{data: data}), do: data
  defp plain(map) when is_map(map), do: Map.new(map, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(other), do: other

  defp without_nil(map) when is_map(map) and not is_struct(map) do
    for {key, value} <- map, value != nil, into: %{}, do: {key, without_nil(value)}
  end

  defp without_nil(other), do: other

  describe "the golden frames" do
    test "are there" do
      assert length(golden("request")) >= 15
      assert length(golden("reply")) >= 20
    end

    test "hold what they say" do
      for kind <- ["request", "reply"], {name, map, body} <- golden(kind) do
        assert {name, Msgpax.unpack!(body, binary: true)} == {name, map}
      end
    end

    test "requests are what is sent for the same map, text and bytes told apart" do
      for {name, map, _body} <- golden("request") do
        {:ok, packed} = Protocol.encode(plain(map))
        assert {name, Msgpax.unpack!(packed, binary: true)} == {name, without_nil(map)}
      end
    end

    test "replies and events are understood" do
      for {name, map, body} <- golden("reply") do
        plain = map |> plain() |> Map.delete("id")

        expected =
          if map["event"],
            do: {:event, map["id"], map["event"], plain},
            else: {:reply, map["id"], plain}

        assert {name, Protocol.decode(body)} == {name, {:ok, expected}}
      end
    end

    test "errors, commits and refs become structs" do
      for {name, %{"err" => message, "kind" => kind} = map, _body} <- golden("reply") do
        error = Error.from_reply(map, :sync)

        assert {name, error.reason, error.message, error.retryable?} ==
                 {name, String.to_existing_atom(kind), message, map["retryable"]}
      end

      for {_name, %{"ok" => %{"sha" => sha, "author" => _} = commit}, _body} <- golden("reply") do
        assert {:ok, %Alumiini.Git.Commit{sha: ^sha}} = Alumiini.Git.Commit.from_wire(plain(commit))
      end

      [synced] = for {"sync-details.reply.hex", map, _body} <- golden("reply"), do: plain(map["ok"])

      assert {:ok,
              %Alumiini.Git.Update{
                ref: "refs/heads/main",
                changed?: true,
                cloned?: true,
                bytes: 1234,
                objects: 12
              }} = Alumiini.Git.Update.from_wire(synced, %{"default" => true})

      [refs] = for {"refs.reply.hex", map, _body} <- golden("reply"), do: plain(map["ok"])

      assert {:ok, [%Alumiini.Git.Ref{symref_target: "refs/heads/main"} | _] = structs} =
               Alumiini.Git.Ref.from_wire(refs)

      assert Enum.map(structs, & &1.name) == Enum.map(refs, & &1["name"])
      assert Enum.map(structs, & &1.peeled) == Enum.map(refs, & &1["peeled"])
    end
  end

  describe "encode/1" do
    test "opens what is sealed" do
      request = %{
        "url" => Secret.seal("https://host/x"),
        "auth" => Auth.wire(Auth.basic("u", "päss"), "https://host/x")
      }

      {:ok, packed} = Protocol.encode(request)

      assert Msgpax.unpack!(packed) == %{
               "url" => "https://host/x",
               "auth" => %{"type" => "basic", "username" => "u", "password" => "päss"}
             }
    end

    test "refuses a frame over the limit, and one that cannot be packed, without showing what " <>
           "was in it" do
      assert Protocol.encode(%{"path" => String.duplicate("x", Protocol.max_request())}) ==
               {:error, :too_large}

      assert {:ok, _packed} =
               Protocol.encode(%{"path" => String.duplicate("x", Protocol.max_request() - 100)})

      assert Protocol.encode(%{"id" => 1 <<< 80}) == {:error, :not_encodable}
      assert Protocol.encode(%{"auth" => self()}) == {:error, :not_encodable}
      assert Protocol.encode(%{"auth" => {"user", "password"}}) == {:error, :not_encodable}
    end

    test "tells a closure that cannot be opened on this node" do
      # As one looks that was made by another version of the module.
      gone = :erlang.binary_to_term(closure_of_a_module_that_is_gone())
      assert Protocol.encode(%{"auth" => gone}) == {:error, :unreadable_secret}
    end
  end

  describe "decode/1" do
    test "takes any bytes" do
      for _ <- 1..2_000 do
        bytes = :crypto.strong_rand_bytes(:rand.uniform(40))
        assert match?({:ok, _message}, Protocol.decode(bytes)) or Protocol.decode(bytes) == :error
      end
    end

    test "refuses what is no message" do
      for term <- [
            1,
            [],
            %{},
            %{"id" => 1},
            %{"id" => 0, "ok" => 1},
            %{"id" => "1", "ok" => 1},
            %{"event" => "progress"},
            %{"event" => 1, "id" => 1}
          ] do
        assert Protocol.decode(Msgpax.pack!(term, iodata: false)) == :error
      end
    end

    test "refuses what follows the map, and half of one" do
      frame = Msgpax.pack!(%{"ok" => 1}, iodata: false)
      assert {:ok, {:reply, nil, %{"ok" => 1}}} = Protocol.decode(frame)
      assert Protocol.decode(frame <> "x") == :error
      assert Protocol.decode(binary_part(frame, 0, byte_size(frame) - 1)) == :error
    end
  end

  describe "the list of reasons" do
    test "is that of the protocol's page" do
      page = File.read!(Path.join(@root, "protocol/README.md"))
      [_before, section] = String.split(page, "### Kinds of error", parts: 2)

      [row] =
        for line <- String.split(section, "\n"),
            String.starts_with?(line, "| `"),
            do: String.split(line, "|", trim: true)

      [retryable, final] = for cell <- row, do: kinds(cell)
      reasons = Error.reasons()

      ours = fn list ->
        list |> Kernel.--(reasons.never_on_the_wire) |> Enum.map(&Atom.to_string/1) |> Enum.sort()
      end

      assert ours.(reasons.retryable) == Enum.sort(retryable)
      assert ours.(reasons.final) == Enum.sort(final)
      assert reasons.never_on_the_wire == [:worker_unavailable, :worker_exited]

      assert String.replace(section, ~r/\s+/, " ") =~
               "`worker_unavailable` (retryable where something changes by itself) and " <>
                 "`worker_exited` (not)"
    end

    test "is the one in the documentation" do
      {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Error)
      reasons = Error.reasons()

      [_before, retryable, rest] = String.split(doc, ~r/^### (?:Not r|R)etryable$/m)
      [final, _details] = String.split(rest, "## Details")

      documented =
        for {list, retryable?} <- [{retryable, true}, {final, false}],
            [_all, reason] <- Regex.scan(~r/^  \* `:(\w+)` - /m, list),
            do: {String.to_existing_atom(reason), retryable?}

      assert Enum.sort(documented) ==
               Enum.sort(
                 for(r <- reasons.retryable, do: {r, true}) ++
                   for(r <- reasons.final, do: {r, false})
               )
    end

    test "takes an unknown kind for internal, and knows itself what is retryable" do
      assert %Error{reason: :internal, retryable?: false, message: "x"} =
               Error.from_reply(%{"err" => "x", "kind" => "brand_new", "retryable" => true}, :sync)

      assert %Error{reason: :internal} = Error.from_reply(%{"err" => "x"}, :sync)

      assert %Error{reason: :network, retryable?: true} =
               Error.from_reply(%{"err" => "x", "kind" => "network"}, :sync)

      # Not for a worker to say.
      assert %Error{reason: :internal} =
               Error.from_reply(%{"err" => "x", "kind" => "worker_exited"}, :sync)
    end
  end

  defp kinds(cell), do: for([_all, kind] <- Regex.scan(~r/`(\w+)`/, cell), do: kind)

  defp closure_of_a_module_that_is_gone do
    [{module, _code}] = Code.compile_string("defmodule Gone do\n def seal(x), do: fn -> x end\nend")
    term = :erlang.term_to_binary(apply(module, :seal, ["secret"]))
    :code.purge(module)
    :code.delete(module)
    :code.purge(module)
    term
  end
end
