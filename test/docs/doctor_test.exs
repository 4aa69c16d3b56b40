defmodule Alumiini.Git.DoctorTest do
  # It changes the environment and Mix's shell, which all share.
  use Alumiini.Git.Test.HttpCase, async: false

  alias Alumiini.Git.{Auth, Secret}
  alias Alumiini.Git.Doctor.{Arguments, Report}
  alias Alumiini.Git.Test.{ScriptedWorker, Vm}
  alias Mix.Tasks.AlumiiniGit.Doctor

  @moduletag :tmp_dir

  @pem "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"

  setup %{tmp_dir: directory} do
    Vm.mix_shell!()

    # Where dependencies were compiled just now, the first thing said has the project's name before
    # it.
    _ = Mix.Shell.printable_app_name()
    Vm.put_env!(%{"DOCTOR_SECRET" => "s3cr3t", "DOCTOR_UNSET" => nil})

    write = fn name, content ->
      path = Path.join(directory, name)
      File.write!(path, content)
      path
    end

    %{write: write}
  end

  test "--help prints what there is to know, and all is well" do
    for help <- ["--help", "-h"], rest <- [[], ["https://h/x"], ["--tokn"]] do
      {status, text} = run([help | rest])
      assert status == 0
      for words <- ["--token-env VAR", "Exit status", "--help"], do: assert(text =~ words)
    end
  end

  # What it prints, without colours, and its exit status.
  defp run(argv) do
    status =
      try do
        Doctor.run(argv)
        0
      catch
        :exit, {:shutdown, status} -> status
      end

    {status, printed()}
  end

  defp printed do
    receive do
      {:mix_shell, _info_or_error, [line]} ->
        String.replace(line, ~r/\e\[\d+m/, "") <> "\n" <> printed()
    after
      0 -> ""
    end
  end

  defp plain(lines), do: Enum.map(lines, &(&1 |> IO.ANSI.format(false) |> IO.iodata_to_binary()))

  describe "a report" do
    test "is aligned, and says what failed and what to add" do
      error =
        Error.new(:host_key, :probe, "the host key is not known", %{
          line: "h ssh-ed25519 AAAA",
          fingerprint: "SHA256:x"
        })

      report = %Report{
        worker: [{"binary", "/x/alumiini-git"}, {"version", "1.2.3"}],
        url: "ssh://git@h/x",
        steps: [
          %{name: "resolve", us: 1_840, note: "192.0.2.7", error: nil},
          %{name: "connect", us: nil, note: "", error: nil},
          %{name: "ssh", us: 1_234_567, note: "ssh-ed25519", error: error}
        ]
      }

      refute Report.ok?(report)

      assert plain(Report.lines(report)) == [
               "The worker",
               "  binary   /x/alumiini-git",
               "  version  1.2.3",
               "",
               "ssh://git@h/x",
               "  ✓ resolve       1.8 ms  192.0.2.7",
               "  ✓ connect             ",
               "  ✗ ssh        1234.6 ms  ssh-ed25519",
               "    the host key is not known",
               "    add to known_hosts, once the fingerprint has been checked:",
               "    h ssh-ed25519 AAAA",
               "",
               "Something is wrong, see above."
             ]

      coloured = report |> Report.lines() |> IO.ANSI.format(true) |> IO.iodata_to_binary()
      assert coloured =~ "#{IO.ANSI.red()}✗#{IO.ANSI.reset()}"
      assert coloured =~ "#{IO.ANSI.green()}✓#{IO.ANSI.reset()}"
    end

    test "of no worker, of no remote, and of one that is well" do
      error = Error.new(:worker_unavailable, :hello, "there is no worker binary")
      missing = %Report{worker: [{"binary", "/x"}], error: error}
      refute Report.ok?(missing)

      assert plain(Report.lines(missing)) ==
               ["The worker", "  binary  /x", "  ✗ there is no worker binary", ""] ++
                 ["Something is wrong, see above."]

      alone = %Report{worker: [{"binary", "/x"}]}
      assert Report.ok?(alone)
      assert plain(Report.lines(alone)) == ["The worker", "  binary  /x", "", "The worker runs."]

      step = %{name: "refs", us: 12, note: "3 refs", error: nil}
      well = %Report{worker: [], url: "https://h/x", steps: [step]}
      assert Report.ok?(well)

      assert plain(Report.lines(well)) ==
               ["The worker", "", "https://h/x", "  ✓ refs       0.0 ms  3 refs", ""] ++
                 ["The worker runs, and the remote can be read."]
    end
  end

  describe "arguments" do
    test "become options of a call, with secrets from the environment and from files", %{
      write: write
    } do
      key = write.("key", "KEY")
      hosts = write.("known_hosts", "HOSTS")
      pem = write.("pem", @pem)
      var = "DOCTOR_SECRET"

      for {argv, expected} <- [
            {~w(--username u --password-env #{var}), Auth.basic("u", "s3cr3t")},
            {~w(--token-env #{var}), Auth.token("s3cr3t")},
            {~w(--token-env #{var} --username x-token-auth), Auth.token("s3cr3t", "x-token-auth")},
            {~w(--bearer-env #{var}), Auth.bearer("s3cr3t")},
            {~w(--ssh-key #{key}), Auth.ssh_key("KEY")},
            {~w(--ssh-key #{key} --passphrase-env #{var} --username u --known-hosts #{hosts}),
             Auth.ssh_key("KEY", passphrase: "s3cr3t", username: "u", known_hosts: "HOSTS")},
            {~w(--ssh-agent --known-hosts #{hosts}), Auth.ssh_agent(known_hosts: "HOSTS")}
          ] do
        assert {:ok, arguments} = Arguments.parse(["https://h/x" | argv])
        assert {argv, wire(arguments.options[:auth])} == {argv, wire(expected)}
      end

      argv = ~w(ssh://git@h/x --ca #{pem} --cert #{pem} --key #{pem} --proxy socks5://proxy:1080
           --no-proxy a,b --allow-insecure --ref main --timeout 5000)

      assert {:ok, %Arguments{url: "ssh://git@h/x", ref: "main", timeout: 5_000} = arguments} =
               Arguments.parse(argv)

      assert Enum.sort(arguments.options) == [
               allow_insecure: true,
               no_proxy: "a,b",
               proxy: "socks5://proxy:1080",
               tls: [ca: @pem, cert: @pem, key: @pem]
             ]

      assert {:ok, %Arguments{options: [proxy: :environment], timeout: 30_000, ref: nil}} =
               Arguments.parse(["https://h/x", "--proxy", "environment"])

      assert {:ok, %Arguments{url: nil, options: []}} = Arguments.parse([])
      assert {:ok, %Arguments{url: nil, timeout: 500}} = Arguments.parse(["--timeout", "500"])
    end

    test "that are wrong end with status 2 and a sentence that is documented", %{write: write} do
      url = "https://h/x"
      text = write.("text", "text")
      missing = Path.join(Path.dirname(text), "missing")

      told =
        for argv <- [
              [url, "--tokn", "s3cr3t"],
              [url, "--token=s3cr3t"],
              [url, "--timeout", "s3cr3t"],
              [url, "--timeout", "0"],
              [url, "https://u:s3cr3t@h/y"],
              ["--ref", "main"],
              ["https://u:s3cr3t@h/x"],
              ["https://s3cr3t@h/x"],
              ["ssh://git:s3cr3t@h/x"],
              [url, "--token-env", "DOCTOR_SECRET", "--ssh-agent"],
              [url, "--password-env", "DOCTOR_SECRET"],
              [url, "--username", "u"],
              [url, "--known-hosts", text],
              [url, "--token-env", "DOCTOR_SECRET", "--passphrase-env", "DOCTOR_SECRET"],
              [url, "--token-env", "DOCTOR_UNSET"],
              # The secret where its variable's name should be.
              [url, "--token-env", "s3cr3t"],
              [url, "--ssh-key", missing],
              [url, "--cert", text],
              [url, "--ca", text],
              [url, "--proxy", "s3cr3t"],
              [url, "--proxy", "http://u:s3cr3t@proxy:3128"]
            ] do
          assert {2, "mix alumiini_git.doctor: " <> message} = run(argv)
          refute message =~ "s3cr3t"
          String.trim(message)
        end

      {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Doctor)
      [_before, errors] = String.split(doc, "## Errors about arguments")
      # A long one is on two lines.
      lines = for [_all, lines] <- Regex.scan(~r/\* `([^`]+)`/, errors), do: lines
      documented = for line <- lines, do: String.replace(line, ~r/\n +/, " ")
      assert Enum.sort(Enum.uniq(told) -- ["unknown option --token"]) == Enum.sort(documented)
    end
  end

  describe "the task" do
    setup [:dir, :origin, :commit, :http]

    test "tells about the worker" do
      {:ok, binary} = Alumiini.Git.Server.Binary.locate(nil)
      assert {0, printed} = run([])
      assert printed =~ "  binary    #{binary}\n"
      assert printed =~ ~r/^  origin +\S/m
      assert printed =~ ~r/^  checksum +sha256:[0-9a-f]{64}, as when it was installed$/m

      for label <- ["version", "target", "libgit2", "protocol"],
          do: assert(printed =~ ~r/^  #{label} +\S+$/m)

      assert printed =~ "The worker runs.\n"
    end

    test "tells how far one gets with a remote, step by step", %{
      url: url,
      commit: commit,
      http: http
    } do
      assert {0, printed} = run([url, "--ref", "main"])
      steps = for [_all, name] <- Regex.scan(~r/^  ✓ (\w+) +\d+\.\d ms/m, printed), do: name
      assert List.last(steps) == "ref"
      assert "connect" in steps and "refs" in steps
      assert printed =~ ~r/ref +\d+\.\d ms  main is #{commit}\n/
      assert printed =~ "\n#{url}\n"

      assert {1, printed} = run([url, "--ref", "nowhere"])
      assert printed =~ ~r/✗ ref/
      assert printed =~ "nowhere"

      HttpServer.rule(http, {:require, {:basic, "git", "s3cr3t"}})
      assert {1, printed} = run([url])
      assert printed =~ "✗ "
      refute printed =~ "✓ refs"
      assert printed =~ "Something is wrong"

      argv = [url, "--token-env", "DOCTOR_SECRET", "--allow-insecure"]
      assert {0, printed} = run(argv)
      refute printed =~ "s3cr3t"
    end

    test "tells whether a server sends some paths only", %{url: url, http: http} do
      assert {0, printed} = run([url])
      assert printed =~ "Git protocol v2; sends some paths only where `paths` asks for them"
      HttpServer.rule(http, {:config, [{"uploadpack.allowFilter", "false"}]})
      assert {0, printed} = run([url])
      assert printed =~ "Git protocol v2; sends all files, also where `paths` asks for some"
    end

    test "tells where there is no worker", %{tmp_dir: directory, url: url} do
      before = Application.get_env(:alumiini_git, :binary)
      on_exit(fn -> Application.put_env(:alumiini_git, :binary, before) end)
      missing = Path.join(directory, "nothing")
      Application.put_env(:alumiini_git, :binary, missing)
      assert {1, printed} = run([url])
      assert printed =~ "  binary  #{missing}\n"
      assert printed =~ "✗ there is no worker binary at #{missing}"

      garbage = ScriptedWorker.write!(directory, [[:read, {:raw, <<0, 0, 0, 1, ?x>>}, :hang]])
      Application.put_env(:alumiini_git, :binary, garbage)
      assert {1, printed} = run([])
      assert printed =~ "✗ #{garbage}"
    end

    test "shows no secret that a worker repeats, and says when it makes no sense", %{
      tmp_dir: directory
    } do
      before = Application.get_env(:alumiini_git, :binary)
      on_exit(fn -> Application.put_env(:alumiini_git, :binary, before) end)

      failed = %{
        "err" => "no https://u:s3cr3t@h",
        "kind" => "network",
        "retryable" => true,
        "detail" => %{}
      }

      for {steps, shown} <- [
            {[%{"step" => "resolve", "us" => 5, "note" => "http://u:s3cr3t@proxy"}],
             "http://proxy"},
            {[%{"step" => "connect", "us" => 5, "error" => failed}], "no https://h"},
            {[%{"unknown" => 1}], "please report it"},
            {"no steps", "please report it"}
          ] do
        script = ScriptedWorker.hello() ++ [:read, {:answer, %{}}, :read, {:answer, steps}, :serve]
        Application.put_env(:alumiini_git, :binary, ScriptedWorker.write!(directory, [script]))
        assert {_status, printed} = run(["https://h/x"])
        assert printed =~ shown
        refute printed =~ "s3cr3t"
      end
    end
  end

  defp wire(auth) do
    {:ok, wire} = auth |> Auth.wire("https://h/x") |> Secret.reveal()
    wire
  end
end
