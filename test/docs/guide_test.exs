defmodule Alumiini.Git.GuideTest do
  # Runs every example of guides/authentication.md; documents_test.exs has the blocks of the other
  # documents. The name of a test ends up in that of its directory, and that in a shell script: no
  # quotes in it. Not async: they call the server of the default name, and read the environment.
  use Alumiini.Git.Test.HttpCase, async: false

  alias Alumiini.Git.Test.{Document, ScriptedWorker, Vm}

  @moduletag :tmp_dir

  # {the headings above it, the code}
  @examples (for %{language: "elixir"} = block <- Document.blocks("guides/authentication.md") do
               heading = block.name |> String.split(": ", parts: 2) |> Enum.at(1, "")
               {heading, block.code}
             end)

  # Who the server of an example wants to see, given the secret that is everywhere in the
  # environment.
  @required %{
    "" => {:basic, "git", "s3cr3t"},
    "Kubernetes and Flux: A secret as Flux has it" => {:basic, "flux", "s3cr3t"},
    "Kubernetes and Flux: A secret that is mounted" => {:bearer, "s3cr3t"},
    "GitHub: A personal access token" => {:basic, "git", "s3cr3t"},
    "GitLab: A personal, project or group access token" => {:basic, "git", "s3cr3t"},
    "GitLab: A deploy token" => {:basic, "gitlab+deploy-token-42", "s3cr3t"},
    "GitLab: In a CI job" => {:basic, "gitlab-ci-token", "s3cr3t"},
    "Gitea and Forgejo" => {:basic, "ann", "s3cr3t"},
    "Bitbucket: A repository, project or workspace access token" =>
      {:basic, "x-token-auth", "s3cr3t"},
    "Bitbucket: An API token of a user" => {:basic, "x-bitbucket-api-token-auth", "s3cr3t"},
    "Azure DevOps: A personal access token" => {:basic, "git", "s3cr3t"},
    "AWS CodeCommit: Git credentials" => {:basic, "s3cr3t", "s3cr3t"},
    "Tokens that expire" => {:bearer, "s3cr3t"}
  }

  @key "-----BEGIN OPENSSH PRIVATE KEY-----\nkey\n-----END OPENSSH PRIVATE KEY-----\n"
  @certificate "-----BEGIN CERTIFICATE-----\ncertificate\n-----END CERTIFICATE-----\n"

  # Of those that a server of ours cannot check: what goes to the worker.
  @sent %{
    "SSH: A key" => %{
      "url" => "ssh://git@git.example.com/team/app.git",
      "auth" => %{
        "type" => "ssh_key",
        "private_key" => @key,
        "passphrase" => "s3cr3t",
        "known_hosts" => "hosts"
      }
    },
    "GitHub: A GitHub App" => %{
      "auth" => %{
        "type" => "github_app",
        "app_id" => "12345",
        "private_key" => @key,
        "owner" => "acme"
      }
    },
    "Azure DevOps: Microsoft Entra ID, with a client secret" => %{
      "auth" => %{
        "type" => "azure",
        "tenant_id" => "7c2f51a0-0000-0000-0000-000000000000",
        "client_id" => "1f0b8cd2-0000-0000-0000-000000000000",
        "client_secret" => "s3cr3t",
        "endpoint" => "https://login.example.com/"
      }
    },
    "Azure DevOps: Workload identity" => %{
      "auth" => %{
        "type" => "azure",
        "tenant_id" => "tenant",
        "client_id" => "client",
        "token_file" => "/azure/token",
        "endpoint" => "https://login.example.com/"
      }
    },
    "AWS CodeCommit: An access key" => %{
      "auth" => %{
        "type" => "codecommit",
        "access_key_id" => "s3cr3t",
        "secret_access_key" => "s3cr3t"
      }
    },
    "AWS CodeCommit: The role of a pod" => %{
      "auth" => %{
        "type" => "codecommit",
        "role_arn" => "arn:aws:iam::1:role/git",
        "token_file" => "/aws/token",
        "session_name" => "alumiini-git"
      }
    },
    "Google Cloud: The service account of the machine" => %{"auth" => %{"type" => "google"}},
    "Google Cloud: Workload identity federation" => %{
      "auth" => %{
        "type" => "google",
        "audience" =>
          "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k",
        "token_file" => "/var/run/secrets/tokens/google",
        "service_account" => "reader@project.iam.gserviceaccount.com"
      }
    },
    "Several remotes" => %{
      "url" => "https://git.example.com/team/app.git",
      "auth" => %{"type" => "basic", "username" => "ann", "password" => "s3cr3t"}
    },
    "SSH: An agent" => %{"auth" => %{"type" => "ssh_agent", "known_hosts" => "hosts"}},
    "Certificates: A client certificate" => %{"tls" => %{"cert" => @certificate, "key" => @key}},
    "Proxies: One proxy" => %{
      "proxy" => "http://proxy.example.com:3128",
      "no_proxy" => ".internal.example.com,10.0.0.0/8"
    },
    "Proxies: The proxy of the environment" => %{"proxy" => "http://proxy.of.the.environment:3128"}
  }

  @own_authority "Certificates: A certificate authority of your own"

  # What pods have in their environment.
  @pod [
    {"AZURE_TENANT_ID", "tenant"},
    {"AZURE_CLIENT_ID", "client"},
    {"AZURE_FEDERATED_TOKEN_FILE", "/azure/token"},
    {"AZURE_AUTHORITY_HOST", "https://login.example.com/"},
    {"AWS_ROLE_ARN", "arn:aws:iam::1:role/git"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/aws/token"},
    {"AWS_ROLE_SESSION_NAME", nil}
  ]

  # What a reader has modules of their own for.
  defmodule Elixir.MyApp.Tokens do
    # The first is outdated, so that it has to be asked again.
    def current do
      stale? = Process.get(:stale?, true)
      Process.put(:stale?, false)
      if stale?, do: "outdated", else: "s3cr3t"
    end
  end

  setup %{tmp_dir: directory} do
    variables =
      for {_heading, code} <- @examples,
          [_all, name] <- Regex.scan(~r/fetch_env!\("(\w+)"\)/, code),
          do: name

    proxy = {"https_proxy", "http://proxy.of.the.environment:3128"}
    Vm.put_env!([proxy | @pod] ++ for(name <- variables, do: {name, "s3cr3t"}))

    write = fn name, content ->
      path = Path.join(directory, name)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, content)
      path
    end

    write.("secret/bearerToken", "s3cr3t\n")

    bindings = [
      secret: %{
        "data" => %{"username" => Base.encode64("flux"), "password" => Base.encode64("s3cr3t")}
      },
      directory: Path.join(directory, "secret"),
      ssh_url: "ssh://git@git.example.com/team/app.git",
      key_file: write.("key", @key),
      cert_file: write.("cert", @certificate),
      known_hosts_file: write.("known_hosts", "hosts")
    ]

    %{write: write, bindings: bindings}
  end

  test "every example is known here" do
    known = [@own_authority | Map.keys(@required) ++ Map.keys(@sent)]
    assert Enum.sort(Enum.map(@examples, &elem(&1, 0))) == Enum.sort(known)
  end

  describe "over HTTPS" do
    setup [:dir, :origin, :commit, :certificate, :https]

    for {heading, code} <- @examples, is_map_key(@required, heading) do
      test "the example of #{heading}, sends what the service wants", context do
        start_supervised!({Git, tls: [ca: File.read!(context.ca_file)]})
        path = Path.join(context.tmp_dir, "clone")
        required = Map.fetch!(@required, unquote(heading))
        HttpServer.rule(context.https, {:require, required})
        run(unquote(code), [url: context.https_url, path: path] ++ context.bindings)
        assert {:ok, %{sha: sha}} = Git.head(path)
        assert sha == context.commit
        assert "#{elem(required, 0)}" in Enum.map(HttpServer.log(context.https), & &1.authorization)
      end
    end

    for {heading, code} <- @examples, heading == @own_authority do
      test "the example of an authority trusts it, and nothing else does", context do
        start_supervised!(Git)
        path = Path.join(context.tmp_dir, "clone")
        assert {:error, %{reason: :certificate}} = Git.sync(context.https_url, "main", path)

        run(
          unquote(code),
          [url: context.https_url, path: path, ca_file: context.ca_file] ++ context.bindings
        )

        assert {:ok, %{sha: sha}} = Git.head(path)
        assert sha == context.commit
      end
    end
  end

  for {heading, code} <- @examples, is_map_key(@sent, heading) do
    test "the example of #{heading}, asks the worker for it", context do
      frame = Path.join(context.tmp_dir, "frame")

      script =
        ScriptedWorker.hello() ++
          [
            :read,
            {:shell, ~s(echo $frame > "#{frame}")},
            {:answer, ScriptedWorker.synced("sha")},
            :serve
          ]

      start_supervised!({Git, binary: ScriptedWorker.write!(context.tmp_dir, [script])})

      run(
        unquote(code),
        [url: "https://git.example.com/team/app.git", path: "/srv/app"] ++ context.bindings
      )

      sent =
        frame |> File.read!() |> String.trim() |> Base.decode16!(case: :lower) |> Msgpax.unpack!()

      expected = Map.fetch!(@sent, unquote(heading))
      assert Map.take(sent, Map.keys(expected)) == expected
    end
  end

  # An example uses some of the bindings; that it leaves others alone is no news.
  defp run(code, bindings), do: Code.eval_string(code, bindings)
end
