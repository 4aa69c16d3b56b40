defmodule Alumiini.Git.MisuseTest do
  # What is wrong with a call is raised in the caller.
  use ExUnit.Case, async: true

  alias Alumiini.Git
  alias Alumiini.Git.Auth

  @pem "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"

  describe "misuse" do
    test "raises in the caller, and says what is right" do
      for {call, message} <- [
            {fn -> Git.sync("https://h/x", "main", "/x", prefix: "x") end,
             ~r/unknown option :prefix .*:depth/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: "x") end,
             ~r/:tls must be a keyword list or a map/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: [ca: "/etc/ca.pem"]) end,
             ~r/:tls: :ca must be PEM text/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: [cert: @pem]) end,
             ~r/:tls has only one of :cert and :key/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: %{key: @pem}) end,
             ~r/:tls has only one of :cert and :key/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: [verify: :none]) end,
             ~r/:tls: unknown key :verify; .*:ca, :cert and :key/},
            {fn -> Git.sync("https://h/x", "main", "/x", tls: %{"ca" => @pem}) end,
             ~r/:tls: a key that is no atom/},
            {fn -> Git.ls_remote("https://h/x", "HEAD", proxy: "x") end,
             ~r/:proxy must be a URL that begins with/},
            {fn -> Git.ls_remote("https://h/x", "HEAD", proxy: "ftp://x") end,
             ~r/:proxy must be a URL/},
            {fn -> Git.ls_remote("https://h/x", "HEAD", proxy: true) end,
             ~r/:proxy must be .* :environment/},
            {fn -> Git.ls_remote("https://h/x", "HEAD", no_proxy: [:x]) end,
             ~r/:no_proxy must be a string, or/},
            {fn -> Git.refs("https://h/x", prefix: :tags) end,
             ~r/:prefix must be a string, or a list/},
            {fn -> Git.refs("https://h/x", prefix: List.duplicate("refs/", 257)) end,
             ~r/:prefix must be .* at most 256 strings/},
            {fn -> Git.refs("https://h/x", progress: & &1) end,
             ~r/unknown option :progress .*:prefix/},
            {fn -> Git.refs("") end, ~r/the URL must be/},
            {fn -> Git.refs("https://h/x", auth: fn _ -> nil end) end,
             ~r/:auth must be made by .*function of no/},
            {fn -> Git.start_link(proxy: "proxy:3128") end, ~r/:proxy must be a URL/},
            {fn -> Git.start_link(tls: [ca: "x"]) end, ~r/:ca must be PEM text/},
            {fn -> Git.start_link(max_requests: 0) end,
             ~r/:max_requests must be a positive integer/},
            {fn -> Git.start_link(schemes: [:ftp]) end,
             ~r/:schemes must be a list of some of .*:https/},
            {fn -> Git.start_link(schemes: []) end, ~r/:schemes must be/},
            {fn -> Git.start_link(allow_local: ["x"]) end,
             ~r/:allow_local must be a list of absolute paths/},
            {fn -> Git.start_link(allow_local: "/x") end, ~r/:allow_local must be/},
            {fn -> Git.start_link(addresses: :private) end,
             ~r/:addresses must be :any, :public, or a keyword list/},
            {fn -> Git.start_link(addresses: []) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [only: ["10.0.0.0/8"]]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [default: :some]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [allow: "10.0.0.0/8"]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [deny: ["10.0.0.1/8"]]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [deny: ["::/129"]]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(addresses: [deny: ["example.com"]]) end, ~r/:addresses must be/},
            {fn -> Git.start_link(root: "data") end,
             ~r/:root must be the absolute path of a directory/},
            {fn -> Git.start_link(root: "/data/../x") end, ~r/:root must be/},
            {fn -> Git.start_link(root: ["/data"]) end, ~r/:root must be/},
            {fn -> Git.start_link(max_requests_per_host: nil) end,
             ~r/:max_requests_per_host must be/},
            {fn -> Git.start_link(max_requests_per_second_per_host: 0) end,
             ~r/:max_requests_per_second_per_host must be a number from 0.001 to 1000000, or/},
            {fn -> Git.start_link(max_requests_per_second_per_host: 0.0001) end, ~r/must be a num/},
            {fn -> Git.start_link(max_requests_per_second_per_host: 1.0e7) end, ~r/must be a num/},
            {fn -> Git.start_link(max_requests_per_second_per_host: "5") end,
             ~r/:max_requests_per_second_per_host must be .* got: a string/},
            {fn -> Git.sync("https://h/x", "main", "/x", match: ["a"]) end,
             ~r/unknown option :match/},
            {fn -> Git.sync("https://h/x", "main", "/x", paths: [:a]) end, ~r/:paths must be/},
            {fn -> Git.sync("https://h/x", "main", "/x", ignore: 1) end, ~r/:ignore must be/},
            {fn -> Git.sync("https://h/x", "main", "/x", hint: "main") end,
             ~r/:hint must be the full id/},
            {fn -> Git.files("/x", nil, depth: 1) end,
             ~r/unknown option :depth .*:server, :timeout/},
            {fn -> Git.head("/x", auth: Auth.bearer("t")) end, ~r/unknown option :auth/},
            {fn -> Git.sync("https://h/x", "main", "/x", 0) end,
             ~r/:depth must be a positive number/},
            {fn -> Git.sync("https://h/x", "main", "/x", -1) end, ~r/:depth must be/},
            {fn -> Git.sync("https://h/x", "main", "/x", depth: 2_147_483_647) end,
             ~r/:depth must be/},
            {fn -> Git.sync("https://h/x", "main", "/x", :infinity) end,
             ~r/must be a keyword list/},
            {fn -> Git.sync("https://h/x", "main", "/x", %{depth: 1}) end,
             ~r/must be a keyword list/},
            {fn -> Git.sync("https://h/x", "main", "/x", timeout: 0) end,
             ~r/:timeout must be a positive integer/},
            {fn -> Git.sync("https://h/x", "main", "/x", timeout: :infinity) end,
             ~r/:timeout must be/},
            {fn -> Git.sync("https://h/x", "main", "/x", force: 1) end,
             ~r/:force must be true or false/},
            {fn -> Git.sync("https://h/x", "main", "/x", progress: fn -> 1 end) end,
             ~r/:progress must be a function/},
            {fn -> Git.sync("https://h/x", "main", "/x", server: "x") end,
             ~r/:server must be a pid/},
            {fn -> Git.sync("https://h/x", "main", "/x", server: nil) end,
             ~r/:server must be a pid/},
            {fn -> Git.sync("https://h/x", :main, "/x") end, ~r/the ref must be/},
            {fn -> Git.sync("https://h/x", {:branch, :main}, "/x") end, ~r/the ref must be/},
            {fn -> Git.sync("https://h/x", {:head, "main"}, "/x") end, ~r/the ref must be/},
            {fn -> Git.sync(:url, "main", "/x") end, ~r/the URL must be/},
            {fn -> Git.sync("", "main", "/x") end, ~r/the URL must be/},
            {fn -> Git.sync("https://h/x", "main", ~c"/x") end,
             ~r/the path of the repository must be/},
            {fn -> Git.sync("https://h/x", "main", "") end, ~r/the path of the repository must be/},
            {fn -> Git.files(nil) end, ~r/the path of the repository must be/},
            {fn -> Git.files("/x", :deploy) end, ~r/the subpath must be/},
            {fn -> Git.read("/x", nil) end, ~r/the name of the file must be/},
            {fn -> Git.read("/x", "f", max_bytes: 67_108_865) end,
             ~r/:max_bytes must be .* at most 67108864/},
            {fn -> Git.checkout("/x", :main) end, ~r/the revision must be/},
            {fn -> Git.ls_remote("https://h/x", 1) end, ~r/the ref must be/},
            {fn -> Git.start_link(max_pending: 0) end, ~r/:max_pending must be/},
            {fn -> Git.start_link(binary: "alumiini-git") end,
             ~r/:binary must be an absolute path/},
            {fn -> Git.start_link(name: "x") end, ~r/:name must be/},
            {fn -> Git.start_link(pool: 1) end, ~r/unknown option :pool .*:max_pending/}
          ] do
        assert_raise ArgumentError, message, call
      end
    end

    test "never shows a secret" do
      for call <- [
            fn -> Git.sync("https://h/x", "main", "/x", auth: "s3cr3t") end,
            fn -> Git.sync("https://h/x", "main", "/x", auth: {"u", "s3cr3t"}) end,
            fn -> Git.sync("https://h/x", "main", "/x", password: "s3cr3t") end,
            fn -> Git.sync("https://h/x", "main", "/x", ["s3cr3t"]) end,
            fn -> Git.sync(~c"https://u:s3cr3t@h/x", "main", "/x") end,
            fn -> Git.sync("https://u:s3cr3t@h/x", 1, "/x") end,
            fn -> Git.sync("https://u:s3cr3t@h/x", "main", 1) end
          ] do
        error = assert_raise ArgumentError, call
        refute Exception.message(error) =~ "s3cr3t"
        refute Exception.message(error) =~ inspect(~c"s3cr3t") |> String.slice(2..-2//1)
      end
    end
  end
end
