defmodule Alumiini.Git.WebhookParseTest do
  # What is refused, and why; what proves a delivery; what one may cost.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Error, Webhook}
  alias Alumiini.Git.Test.Webhooks
  alias Alumiini.Git.Webhook.{Payload, Push}

  doctest Alumiini.Git.Webhook

  @secret "s3cr3t"
  @one String.duplicate("1", 40)
  @two String.duplicate("2", 40)

  defp push(forge), do: Webhooks.push(forge, "refs/heads/main", @one, @two)

  defp proven(forge, secret \\ @secret) do
    {headers, body} = push(forge)
    {Webhooks.proven(forge, headers, body, secret), body}
  end

  defp refused(reason, status, headers, body, options \\ []) do
    assert {:error, %Error{reason: ^reason, op: :webhook} = error} =
             Webhook.parse(headers, body, Keyword.merge([secret: @secret], options))

    assert error.detail.status == status
    refute inspect(error, structs: false, limit: :infinity) =~ @secret
    error
  end

  defp change(headers, name, function) do
    Enum.map(headers, fn {key, value} ->
      if String.downcase(key) == name, do: {key, function.(value)}, else: {key, value}
    end)
  end

  # A part of a binary keeps all of it.
  defp kept!(texts) do
    for text <- texts,
        do: assert({text, :binary.referenced_byte_size(text) < 1_000} == {text, true})
  end

  defp without(headers, names),
    do: Enum.reject(headers, fn {key, _value} -> String.downcase(key) in names end)

  @signed %{
    github: ["x-hub-signature-256"],
    gitea: ["x-gitea-signature", "x-hub-signature-256"],
    forgejo: ["x-forgejo-signature", "x-gitea-signature"],
    gogs: ["x-gogs-signature"],
    bitbucket_cloud: ["x-hub-signature"],
    bitbucket_data_center: ["x-hub-signature"]
  }

  describe "a signature" do
    for {forge, [name | _others] = names} <- @signed do
      test "#{forge}: of another secret, of another body, or of none is refused" do
        {forge, name} = {unquote(forge), unquote(name)}
        {headers, body} = proven(forge)
        assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)

        {others, _body} = proven(forge, "another")
        refused(:auth, 401, others, body)
        refused(:auth, 401, headers, String.replace(body, @two, @one))
        refused(:auth, 401, headers, body <> " ")

        for wrong <- [
              &String.replace(&1, ~r/[0-9a-f]{2}\z/, ""),
              &(&1 <> "00"),
              &(&1 <> "x"),
              fn _value -> "x" end,
              fn value -> String.replace(value, ~r/[0-9a-f]{64}/, String.duplicate("0", 64)) end,
              fn value -> String.replace(value, ~r/[0-9a-f]{64}/, @secret) end
            ] do
          refused(:auth, 401, change(headers, name, wrong), body)
        end

        upcase =
          change(
            headers,
            name,
            &String.replace(&1, ~r/[0-9a-f]{64}/, fn mac -> String.upcase(mac) end)
          )

        assert {:ok, %Push{}} = Webhook.parse(upcase, body, secret: @secret)
      end

      test "#{forge}: that is missing or empty is told by the name of its header" do
        {forge, name} = {unquote(forge), unquote(name)}
        {headers, body} = proven(forge)
        missing = without(headers, unquote(names))
        assert refused(:auth, 401, missing, body).message =~ "the header #{name} is missing"

        empty = change(headers, name, &String.replace(&1, ~r/[0-9a-f]{64}/, ""))
        empty = without(empty, unquote(names) -- [name])
        assert refused(:auth, 401, empty, body).message =~ "the header #{name} is missing"
      end
    end

    test "of the older kind, with SHA-1, does not do" do
      {headers, body} = push(:github)
      sha1 = :hmac |> :crypto.mac(:sha, @secret, body) |> Base.encode16(case: :lower)
      refused(:auth, 401, [{"X-Hub-Signature", "sha1=" <> sha1} | headers], body)
      refused(:auth, 401, [{"X-Hub-Signature-256", "sha1=" <> sha1} | headers], body)
      {headers, body} = push(:bitbucket_cloud)
      refused(:auth, 401, [{"X-Hub-Signature", "sha1=" <> sha1} | headers], body)
    end

    test "is looked at before the payload is" do
      {headers, _body} = proven(:github)
      refused(:auth, 401, headers, "not JSON")
      headers = Webhooks.proven(:github, Webhooks.headers(:github, :push), "not JSON", @secret)
      refused(:invalid, 400, headers, "not JSON")
    end
  end

  describe "a token" do
    test "of GitLab that is wrong or missing is refused" do
      {headers, body} = proven(:gitlab)
      refused(:auth, 401, change(headers, "x-gitlab-token", &(&1 <> "x")), body)
      refused(:auth, 401, change(headers, "x-gitlab-token", &binary_part(&1, 0, 3)), body)
      missing = without(headers, ["x-gitlab-token"])
      assert refused(:auth, 401, missing, body).message =~ "x-gitlab-token is missing"
    end

    test "of GitLab may be one that signs" do
      {headers, body} = push(:gitlab)
      key = :crypto.strong_rand_bytes(32)
      token = "whsec_" <> Base.encode64(key)
      mac = &Base.encode64(:crypto.mac(:hmac, :sha256, key, &1))

      signed = fn signature ->
        headers ++
          [
            {"webhook-id", "1"},
            {"webhook-timestamp", "1770000000"},
            {"webhook-signature", signature}
          ]
      end

      good = "v1," <> mac.("1.1770000000." <> body)
      assert {:ok, %Push{}} = Webhook.parse(signed.(good), body, secret: token)

      # Another one beside it, while one takes the place of the other.
      assert {:ok, %Push{}} = Webhook.parse(signed.("v1,AAAA " <> good), body, secret: [token])

      for wrong <- ["", "v1,", "v2," <> mac.("1.1770000000." <> body), "v1," <> mac.(body)] do
        refused(:auth, 401, signed.(wrong), body, secret: token)
      end

      refused(:auth, 401, signed.(good), body <> " ", secret: token)

      # With a secret token here, that is what counts.
      with_token = signed.("v1,AAAA") ++ [{"X-Gitlab-Token", @secret}]
      assert {:ok, %Push{}} = Webhook.parse(with_token, body, secret: @secret)
      refused(:auth, 401, with_token, body, secret: token)
      assert {:ok, %Push{}} = Webhook.parse(with_token, body, secret: [@secret])
    end

    test "of Azure DevOps is a password, one of a user, a bearer's, or in a header of one's own" do
      {headers, body} = push(:azure_devops)
      basic = &("Basic " <> Base.encode64(&1))

      for {name, value, secret, options} <- [
            {"authorization", basic.("hook:" <> @secret), @secret, []},
            {"Authorization", basic.(":" <> @secret), @secret, []},
            {"Authorization", basic.("ann:" <> @secret), "ann:" <> @secret, []},
            {"AUTHORIZATION", "bearer " <> @secret, @secret, []},
            {"X-My-Secret", @secret, @secret, [header: "x-my-secret"]},
            {"x-my-secret", @secret, @secret, [header: "X-My-Secret"]}
          ] do
        assert {:ok, %Push{}} =
                 Webhook.parse([{name, value} | headers], body, [secret: secret] ++ options)
      end

      for {name, value} <- [
            {"authorization", basic.("hook:" <> "another")},
            {"authorization", basic.(@secret <> ":x")},
            {"authorization", basic.("hook:")},
            {"authorization", "Bearer another"},
            {"x-my-secret", "another"}
          ] do
        refused(:auth, 401, [{name, value} | headers], body, header: "x-my-secret")
      end

      # Without the option, the header is one of many.
      for {name, value} <- [
            {"x-my-secret", @secret},
            {"authorization", "Digest x"},
            {"authorization", "Basic !"},
            {"authorization", "Basic"}
          ] do
        error = refused(:unsupported, 400, [{name, value} | headers], body)
        assert error.message =~ "Authorization"
      end
    end

    test "of Bitbucket Data Center may be a password, where it signs nothing" do
      {headers, body} = push(:bitbucket_data_center)
      basic = {"Authorization", "Basic " <> Base.encode64("ann:" <> @secret)}
      assert {:ok, %Push{}} = Webhook.parse([basic | headers], body, secret: @secret)
      signed = {"X-Hub-Signature", "sha256=" <> Webhooks.mac("another", body)}
      refused(:auth, 401, [signed, basic | headers], body)
    end

    test "of another forge is none" do
      {headers, body} = push(:github)

      for proof <- [
            {"Authorization", "Bearer " <> @secret},
            {"X-Gitlab-Token", @secret},
            {"X-Gitea-Signature", Webhooks.mac(@secret, body)}
          ] do
        refused(:auth, 401, [proof | headers], body)
      end
    end
  end

  describe "the secret" do
    test "may be one of several, a function, or the answer of one" do
      {headers, body} = proven(:github)

      for secret <- [
            @secret,
            ["older", @secret],
            [@secret, "newer"],
            fn -> @secret end,
            fn -> ["older", @secret] end,
            {String, :duplicate, [@secret, 1]}
          ] do
        assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: secret)
      end

      refused(:auth, 401, headers, body, secret: ["older", "newer"])
      refused(:auth, 401, headers, body, secret: fn -> "newer" end)
    end

    test "has to be given; :none is one, and takes anything" do
      {headers, body} = push(:github)

      for options <- [
            [],
            [secret: nil],
            [secret: ""],
            [secret: []],
            [secret: [""]],
            [secret: ["a", nil]],
            [secret: :some],
            [secret: ~c"s3cr3t"],
            [secret: fn _one -> "x" end],
            [secret: {"m", :f, []}]
          ] do
        error = assert_raise ArgumentError, fn -> Webhook.parse(headers, body, options) end
        assert error.message =~ "option :secret must be a string that is not empty"
      end

      for answer <- [nil, "", [], :none, [nil], {:ok, @secret}] do
        error =
          assert_raise ArgumentError, fn ->
            Webhook.parse(headers, body, secret: fn -> answer end)
          end

        assert error.message =~ "the function given as :secret must return a string"
        refute error.message =~ @secret
      end

      for forge <- Webhooks.forges() do
        {headers, body} = push(forge)
        assert {:ok, %Push{forge: ^forge}} = Webhook.parse(headers, body, secret: :none)
      end
    end
  end

  describe "the headers" do
    test "may be pairs or a map, in any case, with one value or several" do
      {headers, body} = proven(:github)
      downcase = for {name, value} <- headers, do: {String.downcase(name), value}

      for headers <- [
            headers,
            downcase,
            Map.new(headers),
            Map.new(downcase),
            Map.new(headers, fn {name, value} -> {String.upcase(name), [value]} end),
            [{"x-other", <<255>>}, {"x-none", nil} | headers]
          ] do
        assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)
      end
    end

    test "that are none raise" do
      for headers <- [nil, "x", [1], ["a"], [{:a, "b"}], %{a: "b"}] do
        assert_raise ArgumentError, ~r/the headers must be a list of pairs or a map/, fn ->
          Webhook.parse(headers, "{}", secret: @secret)
        end
      end
    end

    test "of no forge that is known are told so" do
      for headers <- [[], %{}, [{"content-type", "application/json"}], [{"x-event", "push"}]] do
        error = refused(:unsupported, 400, headers, "{}")
        assert error.message =~ "no webhook of a forge that is known"
      end
    end

    test "with bytes in them that are no text hurt nobody" do
      {headers, body} = proven(:github)

      for name <- ["x-github-event", "x-github-delivery", "x-hub-signature-256", "content-type"] do
        result = Webhook.parse(change(headers, name, fn _ -> <<255, 0>> end), body, secret: @secret)
        assert match?({:ok, _outcome}, result) or match?({:error, %Error{}}, result)
      end
    end
  end

  describe "the body" do
    test "over the limit is refused, by what it has and by what it says" do
      {headers, body} = proven(:github)
      large = String.duplicate(" ", 50_000_000)
      error = refused(:too_large, 413, headers, large)
      assert error.detail.limit == 26_214_400
      assert error.message =~ "more than 26214400 bytes"
      refused(:too_large, 413, [{"Content-Length", "50000000"} | headers], body)

      size = byte_size(body)
      assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret, max_bytes: size)
      refused(:too_large, 413, headers, body, max_bytes: size - 1)
    end

    test "of 5 MB is read, and nothing of it is kept" do
      {headers, body} = push(:github)
      filler = String.duplicate(~s("0123456789abcdef", ), 250_000)
      body = String.replace(body, ~s("added": []), ~s("added": [#{filler} 1]))
      assert byte_size(body) > 5_000_000
      headers = Webhooks.proven(:github, headers, body, @secret)
      assert {:ok, %Push{} = push} = Webhook.parse(headers, body, secret: @secret)

      kept!([push.ref, push.before, push.after, push.delivery | push.urls])
    end

    test "is not kept alive by what was taken out of it, whatever the decoder does" do
      # Shorter ones are copied anyway.
      long = String.duplicate("n", 80)
      {ref, url} = {"refs/heads/" <> long, "https://git.example.com/" <> long}
      body = String.duplicate("x", 100_000) <> ref <> url
      part = fn text -> body |> :binary.match(text) |> then(&:binary.part(body, &1)) end
      assert :binary.referenced_byte_size(part.(url)) > 100_000

      {:ok, change} = Payload.change(part.(ref), @one, @two)
      {:ok, urls} = Payload.urls([part.(url)])
      kept!([change.ref, Payload.name(part.(ref)) | urls])
    end

    test "that is no JSON, or no object, is refused" do
      no_json = ["", "x", "{", ~s({"a": }), ~s({"a": 1} x), <<255>>]

      for body <- no_json ++ ["[]", "1", "null", ~s("x")] do
        headers = Webhooks.proven(:github, Webhooks.headers(:github, :push), body, @secret)
        refused(:invalid, 400, headers, body)
      end
    end

    test "of many levels, or with a number of many digits, is refused at once" do
      headers = Webhooks.headers(:github, :push)

      for body <- [
            String.duplicate("[", 10_000_000),
            String.duplicate(~s({"a":), 2_000_000),
            ~s({"a": ) <> String.duplicate("[", 64) <> String.duplicate("]", 64) <> "}",
            ~s({"a": #{String.duplicate("9", 5_000_000)}}),
            ~s({"a": 1e#{String.duplicate("9", 1_000)}})
          ] do
        headers = Webhooks.proven(:github, headers, body, @secret)
        error = refused(:too_large, 400, headers, body)
        assert error.message =~ "64 levels"
      end

      # Within strings they are nothing.
      text = String.duplicate(~s([{\\"\\\\), 1_000) <> String.duplicate("9", 1_000)

      body =
        ~s({"a": "#{text}", "b": ) <> String.duplicate("[", 63) <> String.duplicate("]", 63) <> "}"

      headers = Webhooks.proven(:github, Webhooks.headers(:github, "star"), body, @secret)
      assert Webhook.parse(headers, body, secret: @secret) == {:ok, {:ignored, "star"}}
    end

    test "may be a form; GitHub signs the form, the others the JSON in it" do
      for forge <- [:github, :gitea, :forgejo, :gogs] do
        {headers, json} = push(forge)
        headers = change(headers, "content-type", fn _ -> "application/x-www-form-urlencoded" end)
        body = URI.encode_query(%{"payload" => json})
        signed = if forge == :github, do: body, else: json
        headers = Webhooks.proven(forge, headers, signed, @secret)
        assert {:ok, %Push{forge: ^forge}} = Webhook.parse(headers, body, secret: @secret)
        refused(:auth, 401, headers, String.replace(body, "main", "mine"))

        wrong = if forge == :github, do: json, else: body
        headers = Webhooks.proven(forge, without(headers, @signed[forge]), wrong, @secret)
        refused(:auth, 401, headers, body)
      end
    end

    test "that is a form without a payload is refused" do
      headers = [{"X-GitHub-Event", "push"}, {"Content-Type", "application/x-www-form-urlencoded"}]

      for body <- [
            "",
            "a=b",
            "payload",
            "payload=%zz",
            "xpayload=1",
            String.duplicate("&", 1_000_000)
          ] do
        headers = Webhooks.proven(:github, headers, body, @secret)
        refused(:invalid, 400, headers, body)
      end

      {_headers, json} = push(:github)
      body = "a=b&" <> URI.encode_query(%{"payload" => json}) <> "&c=d"
      headers = Webhooks.proven(:github, headers, body, @secret)
      assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)
    end

    test "of another type, or compressed, is refused" do
      {headers, body} = proven(:github)

      for type <- ["text/plain", "multipart/form-data; boundary=x", "application/xml"] do
        error = refused(:unsupported, 415, change(headers, "content-type", fn _ -> type end), body)
        assert error.message =~ "application/json"
      end

      refused(:unsupported, 415, [{"Content-Encoding", "gzip"} | headers], body)

      for type <- ["application/json", "Application/JSON; charset=UTF-8", ""] do
        headers = change(headers, "content-type", fn _ -> type end)
        assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)
      end
    end
  end

  test "no atom is made of what is sent" do
    for forge <- Webhooks.forges() do
      # Only put together here, so that it is no atom yet.
      name = "n#{System.unique_integer([:positive])}x#{:rand.uniform(1_000_000_000)}"
      {headers, body} = Webhooks.push(forge, "refs/heads/" <> name, @one, @two)
      body = String.replace(body, ~r/\{/, ~s({"#{name}k": "#{name}v", ), global: false)
      headers = [{"x-" <> name, name <> "h"} | Webhooks.proven(forge, headers, body, @secret)]
      assert {:ok, %Push{}} = Webhook.parse(headers, body, secret: @secret)

      headers =
        for {key, value} <- headers,
            do: if(key =~ ~r/event/i, do: {key, name <> "e"}, else: {key, value})

      _ignored = Webhook.parse(headers, body, secret: @secret)

      for text <- [name | for(one <- ~w(k v h e), do: name <> one)] ++ ["x-" <> name] do
        assert_raise ArgumentError, fn -> String.to_existing_atom(text) end
      end
    end
  end

  test "URLs in a payload are told without credentials" do
    {headers, body} = push(:gitlab)
    body = String.replace(body, "https://git.example.com", "https://ann:t0ken@git.example.com")
    headers = Webhooks.proven(:gitlab, headers, body, @secret)
    assert {:ok, %Push{urls: urls}} = Webhook.parse(headers, body, secret: @secret)
    assert urls == Webhooks.urls(:gitlab)
  end

  test "misuse raises" do
    for {options, message} <- [
          {%{secret: "x"}, ~r/must be a keyword list/},
          {[secret: "x", secrets: "y"], ~r/unknown option :secrets of Alumiini.Git.Webhook.parse/},
          {[secret: "x", max_bytes: 0], ~r/option :max_bytes must be a positive integer/},
          {[secret: "x", header: :a], ~r/option :header must be the name of a header/},
          {[secret: "x", header: "a b"], ~r/option :header must be the name of a header/},
          {[secret: "x", deliveries: "a"], ~r/option :deliveries must be a pid or a name/}
        ] do
      assert_raise ArgumentError, message, fn -> Webhook.parse([], "{}", options) end
    end

    assert_raise ArgumentError, ~r/the body must be a binary/, fn ->
      Webhook.parse([], ["{}"], secret: "x")
    end
  end
end
