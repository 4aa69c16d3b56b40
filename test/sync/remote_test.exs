defmodule Alumiini.Git.RemoteTest do
  # How calls reach their remotes, by what goes over the wire. Not async: some of it is in the
  # environment, which all share.
  use ExUnit.Case, async: false

  alias Alumiini.Git
  alias Alumiini.Git.{Auth, Error, Telemetry}
  alias Alumiini.Git.Test.{ScriptedWorker, Vm}

  import ScriptedWorker, only: [hello: 0]

  @moduletag :tmp_dir
  @moduletag timeout: 30_000

  @ca "-----BEGIN CERTIFICATE-----\nCA\n-----END CERTIFICATE-----\n"
  @cert "-----BEGIN CERTIFICATE-----\nCERT\n-----END CERTIFICATE-----\n"
  @key "-----BEGIN PRIVATE KEY-----\nKEY\n-----END PRIVATE KEY-----\n"

  @refusal %{"id" => :last, "err" => "no", "kind" => "auth", "detail" => %{"status" => 401}}

  # A worker that writes down each frame that it gets and answers it. Returns the server and what
  # was taken so far.
  defp start!(%{tmp_dir: directory}, options \\ [], answers \\ [{:answer, "sha"}]) do
    out = Path.join(directory, "frames-#{System.unique_integer([:positive])}")
    note = {:shell, ~s(echo $frame >> "#{out}")}
    steps = Enum.flat_map(answers, &[:read, note, &1])
    script = [:read, note, Enum.at(hello(), 1)] ++ steps ++ [:serve]
    binary = ScriptedWorker.write!(directory, [script])
    server = start_supervised!({Git, [name: nil, binary: binary] ++ options}, id: make_ref())
    {server, fn -> out |> File.read!() |> String.split("\n", trim: true) |> Enum.map(&unpack/1) end}
  end

  defp unpack(hex), do: hex |> Base.decode16!(case: :lower) |> Msgpax.unpack!()

  # The one request of a call.
  defp request(context, start, call, url \\ "https://h/x") do
    {server, frames} = start!(context, start)
    assert {:ok, "sha"} = Git.ls_remote(url, "HEAD", [server: server] ++ call)
    [_hello, request] = frames.()
    request
  end

  defp put_env(variables) do
    known = ~w(http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY)
    Vm.put_env!(for name <- known, do: {name, variables[name]})
  end

  describe "the limits of a server" do
    test "are told to each worker, with or without being given", context do
      {server, frames} = start!(context)
      assert {:ok, "sha"} = Git.ls_remote("https://h/x", "HEAD", server: server)

      assert [%{"op" => "hello", "max_requests" => 256, "max_requests_per_host" => 32}, _request] =
               frames.()

      refute Map.has_key?(hd(frames.()), "max_requests_per_second_per_host")

      {server, frames} =
        start!(context,
          max_requests: 7,
          max_requests_per_host: 3,
          max_requests_per_second_per_host: 2.5
        )

      assert {:ok, "sha"} = Git.ls_remote("https://h/x", "HEAD", server: server)

      assert [%{"op" => "hello", "max_requests" => 7, "max_requests_per_host" => 3} = hello, _] =
               frames.()

      assert hello["max_requests_per_second_per_host"] == 2.5
    end

    test "are told to a suspect's worker", %{tmp_dir: directory} do
      out = Path.join(directory, "hello")
      start = [:read, {:shell, ~s(echo $frame >> "#{out}")}, Enum.at(hello(), 1)]
      binary = ScriptedWorker.write!(directory, [start ++ [:serve]])

      server =
        start_supervised!(
          {Git, name: nil, binary: binary, max_requests: 7, backoff_initial: 1, backoff_max: 1}
        )

      assert {:error, %Error{reason: :worker_exited}} =
               Git.ls_remote("https://h/poison", "HEAD", server: server)

      # The third of them is the suspect's own; a fourth may be on its way.
      assert [_, _, _ | _] =
               hellos = out |> File.read!() |> String.split("\n", trim: true) |> Enum.map(&unpack/1)

      assert Enum.all?(hellos, &(&1["max_requests"] == 7))
    end
  end

  describe "TLS" do
    test "is on no wire where nobody asked for it", context do
      request = request(context, [], [])
      for field <- ["tls", "proxy", "no_proxy", "auth"], do: refute(Map.has_key?(request, field))
    end

    test "of the call, the credentials and the server add up, the nearest first", context do
      from = fn name -> @ca <> name end
      auth = Auth.from_secret(%{"ca.crt" => from.("auth"), "tls.crt" => @cert, "tls.key" => @key})
      pair = %{"cert" => @cert, "key" => @key}

      for {start, call, tls} <- [
            {[], [tls: [ca: from.("call")]], %{"ca" => from.("call")}},
            {[], [tls: %{cert: @cert, key: @key}], pair},
            {[], [auth: auth], Map.put(pair, "ca", from.("auth"))},
            {[], [auth: auth, tls: [ca: from.("call")]], Map.put(pair, "ca", from.("call"))},
            {[tls: [ca: from.("server")]], [], %{"ca" => from.("server")}},
            {[tls: [ca: from.("server")]], [auth: auth], Map.put(pair, "ca", from.("auth"))},
            {[tls: [ca: from.("server")]], [tls: [cert: @cert, key: @key]],
             Map.put(pair, "ca", from.("server"))}
          ] do
        assert request(context, start, call)["tls"] == tls
      end
    end

    test "and proxies are for remotes only", context do
      {server, frames} = start!(context, tls: [ca: @ca], proxy: "http://proxy:3128", no_proxy: "x")
      assert {:ok, "sha"} = Git.checkout("/x", "main", server: server)
      [_hello, request] = frames.()
      assert Enum.sort(Map.keys(request)) == ["force", "id", "op", "path", "rev", "timeout"]
    end
  end

  describe "a proxy" do
    test "is that of the call, else of the server", context do
      put_env(%{})

      for {start, call, proxy, no_proxy} <- [
            {[], [proxy: "http://u:p@proxy:3128"], "http://u:p@proxy:3128", nil},
            {[], [proxy: "socks5h://proxy:1080", no_proxy: "a.example,10.0.0.0/8"],
             "socks5h://proxy:1080", "a.example,10.0.0.0/8"},
            {[], [no_proxy: ["a", "b"]], nil, "a,b"},
            {[], [proxy: :none], "", nil},
            {[], [proxy: :environment], "", ""},
            {[proxy: "https://server:1", no_proxy: ["c"]], [], "https://server:1", "c"},
            {[proxy: "https://server:1", no_proxy: ["c"]], [proxy: "HTTP://call:2"],
             "HTTP://call:2", "c"},
            {[proxy: "https://server:1", no_proxy: ["c"]], [no_proxy: "d"], "https://server:1",
             "d"},
            {[proxy: "https://server:1"], [proxy: :none], "", nil},
            {[proxy: "https://server:1"], [proxy: :environment], "", ""},
            {[proxy: :none], [], "", nil},
            {[proxy: :none], [proxy: "http://call:2"], "http://call:2", nil}
          ] do
        request = request(context, start, call)

        assert {start, call, request["proxy"], request["no_proxy"]} ==
                 {start, call, proxy, no_proxy}
      end
    end

    test "is looked for in the environment, by the scheme of the URL", context do
      [small, large, all, all_large] =
        for name <- ["small", "large", "all", "ALL"], do: "http://u:p@#{name}:1"

      for {variables, url, proxy, no_proxy} <- [
            {%{
               "https_proxy" => small,
               "HTTPS_PROXY" => large,
               "no_proxy" => "a",
               "NO_PROXY" => "b"
             }, "https://h/x", small, "a"},
            {%{"HTTPS_PROXY" => large, "ALL_PROXY" => all_large, "NO_PROXY" => "b"}, "HTTPS://h/x",
             large, "b"},
            {%{"all_proxy" => all, "ALL_PROXY" => all_large}, "https://h/x", all, ""},
            {%{"ALL_PROXY" => all_large}, "http://h/x", all_large, ""},
            {%{"http_proxy" => small, "all_proxy" => all}, "http://h/x", small, ""},
            {%{"http_proxy" => "", "all_proxy" => all}, "http://h/x", all, ""},
            {%{"http_proxy" => "proxy:3128"}, "http://h/x", "http://proxy:3128", ""},
            # httpoxy
            {%{"HTTP_PROXY" => large}, "http://h/x", "", ""},
            {%{"http_proxy" => small}, "https://h/x", "", ""},
            {%{"https_proxy" => small, "all_proxy" => all, "no_proxy" => "a"}, "ssh://h/x", "", ""},
            {%{"https_proxy" => small, "all_proxy" => all}, "git@h:x.git", "", ""}
          ] do
        put_env(variables)

        for {start, call} <- [
              {[proxy: :environment], []},
              {[proxy: "http://other"], [proxy: :environment]}
            ] do
          request = request(context, start, call, url)

          assert {url, variables, request["proxy"], request["no_proxy"]} ==
                   {url, variables, proxy, no_proxy}
        end

        assert request(context, [], [proxy: :environment, no_proxy: "mine"], url)["no_proxy"] ==
                 "mine"
      end
    end

    test "is looked for at each request", context do
      {server, frames} = start!(context, [proxy: :environment], [{:answer, 1}, {:answer, 2}])
      put_env(%{})
      {:error, _not_a_sha} = Git.ls_remote("https://h/x", "HEAD", server: server)
      put_env(%{"https_proxy" => "http://now:1"})
      {:error, _not_a_sha} = Git.ls_remote("https://h/x", "HEAD", server: server)
      assert [_hello, %{"proxy" => ""}, %{"proxy" => "http://now:1"}] = frames.()
    end
  end

  describe "credentials by the URL's scheme" do
    test "are those that fit, for each call", context do
      auth = Auth.from_secret(%{"username" => "u", "password" => "p", "identity" => @key})
      assert %{"type" => "basic"} = request(context, [], auth: auth)["auth"]
      assert %{"type" => "ssh_key"} = request(context, [], [auth: auth], "ssh://git@h/x")["auth"]
      assert %{"type" => "ssh_key"} = request(context, [], [auth: auth], "git@h:x")["auth"]
    end

    test "are sent if they do not fit, for the worker to say so", context do
      assert %{"type" => "ssh_agent"} = request(context, [], auth: Auth.ssh_agent())["auth"]

      assert %{"type" => "bearer"} =
               request(context, [], [auth: Auth.bearer("t")], "ssh://h/x")["auth"]
    end

    test "are those of the URL where the option has certificates only", context do
      auth = Auth.from_secret(%{"ca.crt" => @ca})
      request = request(context, [], [auth: auth], "https://u:p@h/x")
      assert %{"auth" => %{"username" => "u", "password" => "p"}, "tls" => %{"ca" => @ca}} = request
    end
  end

  describe "credentials from a function" do
    def token(counter, token) do
      n = :counters.get(counter, 1) + 1
      :counters.add(counter, 1, 1)
      Process.put(:asked_in, self())
      Auth.bearer("#{token} #{n}")
    end

    defp tokens(frames), do: for(%{"auth" => %{"token" => token}} <- frames, do: token)

    test "are asked for once, in the calling process", context do
      {server, frames} =
        start!(context, [], [{:answer, "sha"}, {:answer, ScriptedWorker.synced("sha")}])

      counter = :counters.new(1, [])
      by_mfa = {__MODULE__, :token, [counter, "t"]}
      assert {:ok, "sha"} = Git.ls_remote("https://h/x", "HEAD", server: server, auth: by_mfa)
      assert Process.delete(:asked_in) == self()
      by_function = fn -> token(counter, "f") end
      assert {:ok, "sha"} = Git.sync("https://h/x", "main", "/x", server: server, auth: by_function)
      assert Process.delete(:asked_in) == self()
      assert tokens(frames.()) == ["t 1", "f 2"]
    end

    test "are asked for once more after a 401, in what is left of the time and within one span",
         context do
      {server, frames} = start!(context, [], [{:reply, @refusal}, {:answer, "sha"}])
      id = make_ref()
      :ok = :telemetry.attach_many(id, Telemetry.events(), &__MODULE__.tell/4, {self(), server})
      on_exit(fn -> :telemetry.detach(id) end)
      counter = :counters.new(1, [])

      assert {:ok, "sha"} =
               Git.ls_remote("https://h/x", "HEAD",
                 server: server,
                 auth: {__MODULE__, :token, [counter, "t"]},
                 timeout: 10_000
               )

      assert [_hello, first, second] = frames.()
      assert tokens([first, second]) == ["t 1", "t 2"]

      assert Map.drop(first, ["id", "auth", "timeout"]) ==
               Map.drop(second, ["id", "auth", "timeout"])

      assert second["timeout"] <= first["timeout"]
      assert_received {:event, [:alumiini_git, :ls_remote, :start], _}
      assert_received {:event, [:alumiini_git, :ls_remote, :stop], %{result: :ok}}
      refute_received {:event, _, _}
    end

    def tell([_, op, _] = event, _measurements, %{server: server} = metadata, {test, server})
        when op != :worker,
        do: send(test, {:event, event, metadata})

    def tell(_event, _measurements, _metadata, _config), do: :ok

    test "are not asked for a third time", context do
      {server, frames} =
        start!(context, [], [{:reply, @refusal}, {:reply, @refusal}, {:answer, "sha"}])

      auth = {__MODULE__, :token, [:counters.new(1, []), "t"]}

      assert {:error, %Error{reason: :auth, detail: %{status: 401}}} =
               Git.refs("https://h/x", server: server, auth: auth)

      assert tokens(frames.()) == ["t 1", "t 2"]
    end

    test "are not asked for again after another error, nor where they were given", context do
      for {refusal, auth} <- [
            {put_in(@refusal["detail"]["status"], 403),
             {__MODULE__, :token, [:counters.new(1, []), "t"]}},
            {%{@refusal | "kind" => "network"}, {__MODULE__, :token, [:counters.new(1, []), "t"]}},
            {Map.delete(@refusal, "detail"), {__MODULE__, :token, [:counters.new(1, []), "t"]}},
            {@refusal, Auth.bearer("t 1")}
          ] do
        {server, frames} = start!(context, [], [{:reply, refusal}, {:answer, "sha"}])
        assert {:error, %Error{}} = Git.ls_remote("https://h/x", "HEAD", server: server, auth: auth)
        assert tokens(frames.()) == ["t 1"]
      end
    end

    test "count towards the time of the call", context do
      {server, frames} = start!(context)
      test = self()

      slow = fn ->
        send(test, :asked)
        receive do: (:never -> :ok), after: (60 -> Auth.bearer("t"))
      end

      assert {:error, %Error{reason: :timeout, op: :ls_remote} = error} =
               Git.ls_remote("https://h/x", "HEAD", server: server, auth: slow, timeout: 50)

      assert error.message =~ ":auth took all of 50 ms"
      assert_received :asked
      # Nothing was sent: the next request is the first one.
      assert {:ok, "sha"} =
               Git.ls_remote("https://h/x", "HEAD", server: server, auth: slow, timeout: 5_000)

      assert [_hello, %{"timeout" => left}] = frames.()
      assert left <= 4_940
    end

    test "raise what the function raises, and ArgumentError for anything but credentials",
         context do
      {server, frames} = start!(context)
      call = fn auth -> Git.ls_remote("https://h/x", "HEAD", server: server, auth: auth) end
      assert_raise RuntimeError, "no token today", fn -> call.(fn -> raise "no token today" end) end
      assert catch_throw(call.(fn -> throw(:no) end)) == :no

      for wrong <- ["s3cr3t", {:ok, Auth.bearer("s3cr3t")}, nil, fn -> Auth.bearer("s3cr3t") end] do
        error =
          assert_raise ArgumentError, ~r/function given as :auth must return/, fn ->
            call.(fn -> wrong end)
          end

        refute Exception.message(error) =~ "s3cr3t"
      end

      assert {:ok, "sha"} = call.(Auth.bearer("t"))
      assert tokens(frames.()) == ["t"]
    end
  end
end
