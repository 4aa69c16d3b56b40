defmodule Alumiini.Git.DoctorRunTest do
  # `Alumiini.Git.Doctor.run/2`, which a release has; doctor_test.exs is about the task. Not async:
  # it looks for the server of the default name.
  use Alumiini.Git.Test.HttpCase, async: false

  alias Alumiini.Git.{Auth, Doctor}
  alias Alumiini.Git.Doctor.Report

  setup [:dir, :origin, :commit, :http]

  defp names(report),
    do: for(step <- report.steps, do: {step.name, step.error && step.error.reason})

  test "tells about the worker of a server, and each step to a remote", context do
    git = start_supervised!({Git, name: nil})
    report = Doctor.run(context.url, server: git, ref: {:branch, "main"}, timeout: 20_000)

    assert Doctor.ok?(report)
    assert report.url == context.url
    assert Enum.all?(report.steps, &(&1.error == nil))
    assert List.last(report.steps).note == ~s({:branch, "main"} is #{context.commit})
    worker = Map.new(report.worker)
    {:ok, binary} = Alumiini.Git.Server.Binary.locate(nil)
    assert %{"binary" => ^binary, "origin" => _, "checksum" => _, "version" => _} = worker

    text = Doctor.to_text(report)
    assert text =~ "The worker\n  binary    #{binary}\n"
    assert text =~ "\n#{context.url}\n  ✓ "
    assert String.ends_with?(text, "\nThe worker runs, and the remote can be read.\n")
    refute text =~ "\e["

    json = Doctor.to_json(report)
    assert json =~ ~s({"error":null,"ok":true,"steps":[{"error":null,"name":")
    assert json =~ ~s("url":"#{context.url}","worker":{"binary":"#{binary}",)
    refute json =~ "\n"
  end

  test "says at which step it ends, and shows no secret", context do
    HttpServer.rule(context.http, {:require, {:basic, "git", "another"}})
    auth = Auth.token("s3cr3t")
    url = String.replace(context.url, "://", "://u:s3cr3t@")

    for {url, options, reason} <- [
          {context.url, [auth: auth, allow_insecure: true], :auth},
          {url <> "?token=s3cr3t", [allow_insecure: true], nil}
        ] do
      report = Doctor.run(url, [server: nil] ++ options)
      refute Doctor.ok?(report)
      assert report.url == context.url
      failed = for {_name, reason} <- names(report), reason != nil, do: reason
      assert [found] = failed
      if reason, do: assert(found == reason)

      assert Doctor.to_text(report) =~ "Something is wrong, see above."
      assert Doctor.to_json(report) =~ ~s("ok":false,)
      assert Doctor.to_json(report) =~ ~s("reason":"#{found}","retryable":)
      shown = inspect(report, structs: false, limit: :infinity, printable_limit: :infinity)

      for text <- [shown, Doctor.to_text(report), Doctor.to_json(report)],
          do: refute(text =~ "s3cr3t")
    end
  end

  test "asks the server of the application, with what that was told, where it runs", context do
    links = Process.info(self(), :links)
    assert Doctor.ok?(Doctor.run(context.url))
    # What was started for it is gone.
    assert Process.info(self(), :links) == links

    start_supervised!({Git, schemes: [:https]})
    report = Doctor.run(context.url)
    refute Doctor.ok?(report)
    assert Doctor.to_text(report) =~ "http"
    assert :unsupported in [report.error && report.error.reason | Keyword.values(reasons(report))]
    # It leaves the server with its rules.
    assert {:error, %{reason: :unsupported}} = Git.ls_remote(context.url)
    assert Doctor.ok?(Doctor.run(context.url, server: nil))
    assert Doctor.ok?(Doctor.run())
  end

  defp reasons(report), do: for({name, reason} <- names(report), do: {String.to_atom(name), reason})

  test "tells where there is no worker, and no server", context do
    missing = Path.join(context.dir, "nothing")
    git = start_supervised!({Git, name: nil, binary: missing})
    report = Doctor.run(context.url, server: git)
    assert %Report{steps: [], worker: [], error: %{reason: :worker_unavailable}} = report
    assert Doctor.to_text(report) =~ "✗ there is no worker binary at #{missing}"
    assert Doctor.to_json(report) =~ ~s("error":{"detail":{},"message":"there is no worker binary)

    report = Doctor.run(nil, server: :nobody_has_this_name)
    assert %{error: %{reason: :worker_unavailable}, url: nil, worker: []} = report
  end

  test "wrong options raise", %{url: url} do
    for {call, words} <- [
          {fn -> Doctor.run(url, [:server]) end, "must be a keyword list"},
          {fn -> Doctor.run(url, token: "s3cr3t") end,
           "unknown option :token of Alumiini.Git.Doctor.run"},
          {fn -> Doctor.run(url, timeout: 0) end, ":timeout must be"},
          {fn -> Doctor.run(url, ref: 1) end, "the ref must be"},
          {fn -> Doctor.run(url, auth: "s3cr3t") end, ":auth must be made by"},
          {fn -> Doctor.run(nil, ref: "main") end, "how to reach a URL, but there is none"},
          {fn -> Doctor.run("") end, "the URL must be"}
        ] do
      error = assert_raise ArgumentError, call
      assert error.message =~ words
      refute error.message =~ "s3cr3t"
    end
  end

  test "JSON has all of a report, and is UTF-8 whatever it holds" do
    error =
      Error.new(:host_key, :probe, ~s(it is "not" known\\), %{line: "h AAAA", near: ["a", "b"]})

    report = %Report{
      worker: [{"binary", "/ä/\xFF"}],
      url: "ssh://h/x",
      steps: [
        %{name: "resolve", us: 1_840, note: "a\tb\u2028", error: nil},
        %{name: "ssh", us: nil, note: "", error: error}
      ]
    }

    detail = ~S({"line":"h AAAA","near":["a","b"]})
    message = ~S("it is \"not\" known\\")

    assert Doctor.to_json(report) ==
             ~s({"error":null,"ok":false,"steps":[) <>
               ~S({"error":null,"name":"resolve","note":"a\u0009b\u2028","ok":true,"us":1840},) <>
               ~s({"error":{"detail":#{detail},"message":#{message},"reason":"host_key",) <>
               ~s("retryable":false},"name":"ssh","note":"","ok":false,"us":null}],) <>
               ~s("url":"ssh://h/x","worker":{"binary":"/ä/\uFFFD"}})
  end
end
