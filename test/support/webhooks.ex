defmodule Alumiini.Git.Test.Webhooks do
  @moduledoc """
  Deliveries of forges: their headers and payloads, after each forge's own documentation, and
  shortened to what tells the repository and the push apart from the rest.

      {headers, body} = Webhooks.push(:github, "refs/heads/main", before, later)
      headers = Webhooks.proven(:github, headers, body, "the secret")
  """

  @zeros String.duplicate("0", 40)
  @delivery "7c1d4f0e-0000-4000-8000-5d2f8f6b9a10"

  @doc "All forges."
  def forges do
    [
      :github,
      :gitlab,
      :gitea,
      :forgejo,
      :gogs,
      :bitbucket_cloud,
      :bitbucket_data_center,
      :azure_devops
    ]
  end

  @doc "The id of each delivery here."
  def delivery, do: @delivery

  @doc "What stands for a ref that is not there."
  def zeros, do: @zeros

  @doc "The URLs that the payloads of a forge name."
  def urls(:github), do: ["https://github.com/team/app.git", "git@github.com:team/app.git"]

  def urls(:bitbucket_cloud),
    do: ["https://bitbucket.org/team/app.git", "git@bitbucket.org:team/app.git"]

  def urls(:bitbucket_data_center) do
    [
      "ssh://git@git.example.com:7999/team/app.git",
      "https://git.example.com/scm/team/app.git"
    ]
  end

  def urls(:azure_devops), do: ["https://dev.azure.com/team/project/_git/app"]
  def urls(_forge), do: ["https://git.example.com/team/app.git", "git@git.example.com:team/app.git"]

  @doc "The delivery of a push; zeros as `before` or `later` where the ref is created or deleted."
  def push(forge, ref, before, later),
    do: {headers(forge, :push, ref), body(forge, ref, before, later)}

  @doc "The headers of a delivery, without what proves that it is one."
  def headers(forge, event, ref \\ "refs/heads/main")

  def headers(:github, event, _ref) do
    [
      {"Content-Type", "application/json"},
      {"User-Agent", "GitHub-Hookshot/0a1b2c3"},
      {"X-GitHub-Delivery", @delivery},
      {"X-GitHub-Event", to_string(event)},
      {"X-GitHub-Hook-ID", "1"}
    ]
  end

  def headers(:gitlab, event, ref) do
    name = if String.starts_with?(ref, "refs/tags/"), do: "Tag Push Hook", else: "Push Hook"

    [
      {"Content-Type", "application/json"},
      {"X-Gitlab-Event", if(event == :push, do: name, else: event)},
      {"X-Gitlab-Event-UUID", "another"},
      {"X-Gitlab-Webhook-UUID", "and another"},
      {"Idempotency-Key", @delivery}
    ]
  end

  # Each also sends what those before it send.
  def headers(:gogs, event, _ref) do
    [
      {"Content-Type", "application/json"},
      {"X-Gogs-Delivery", @delivery},
      {"X-Gogs-Event", to_string(event)}
    ]
  end

  def headers(:gitea, event, _ref) do
    headers(:gogs, event) ++
      [
        {"X-GitHub-Delivery", @delivery},
        {"X-GitHub-Event", to_string(event)},
        {"X-Gitea-Delivery", @delivery},
        {"X-Gitea-Event", to_string(event)}
      ]
  end

  def headers(:forgejo, event, _ref) do
    headers(:gitea, event) ++
      [{"X-Forgejo-Delivery", @delivery}, {"X-Forgejo-Event", to_string(event)}]
  end

  def headers(:bitbucket_cloud, event, _ref) do
    [
      {"Content-Type", "application/json"},
      {"X-Attempt-Number", "1"},
      {"X-Event-Key", if(event == :push, do: "repo:push", else: event)},
      {"X-Hook-UUID", "3f1c"},
      {"X-Request-UUID", @delivery}
    ]
  end

  def headers(:bitbucket_data_center, event, _ref) do
    [
      {"Content-Type", "application/json; charset=utf-8"},
      {"X-Event-Key", if(event == :push, do: "repo:refs_changed", else: event)},
      {"X-Request-Id", @delivery}
    ]
  end

  def headers(:azure_devops, _event, _ref),
    do: [{"Content-Type", "application/json; charset=utf-8"}]

  @doc "The headers with what proves it, as the forge makes it of the secret."
  def proven(:gitlab, headers, _body, secret), do: headers ++ [{"X-Gitlab-Token", secret}]

  def proven(:azure_devops, headers, _body, secret),
    do: headers ++ [{"Authorization", "Basic " <> Base.encode64("hook:" <> secret)}]

  def proven(forge, headers, body, secret) do
    mac = mac(secret, body)

    headers ++
      case forge do
        :github ->
          [{"X-Hub-Signature", "sha1=0"}, {"X-Hub-Signature-256", "sha256=" <> mac}]

        :gogs ->
          [{"X-Gogs-Signature", mac}]

        :gitea ->
          [
            {"X-Gogs-Signature", mac},
            {"X-Gitea-Signature", mac},
            {"X-Hub-Signature", "sha1=0"},
            {"X-Hub-Signature-256", "sha256=" <> mac}
          ]

        :forgejo ->
          [{"X-Gitea-Signature", mac}, {"X-Forgejo-Signature", mac}]

        forge when forge in [:bitbucket_cloud, :bitbucket_data_center] ->
          [{"X-Hub-Signature", "sha256=" <> mac}]
      end
  end

  @doc "HMAC-SHA256, in hexadecimal."
  def mac(secret, body),
    do: :hmac |> :crypto.mac(:sha256, secret, body) |> Base.encode16(case: :lower)

  @doc "The payload of a push."
  def body(forge, ref, before, later) when forge in [:github, :gitea, :forgejo, :gogs] do
    [https, ssh] = urls(forge)

    """
    {
      "ref": "#{ref}",
      "before": "#{before}",
      "after": "#{later}",
      "created": #{before == @zeros},
      "deleted": #{later == @zeros},
      "commits": [
        {"id": "#{later}", "message": "Say \\"hello\\" \\u00e4 \\ud83d\\ude00", "added": []}
      ],
      "repository": {
        "id": 35129377,
        "name": "app",
        "full_name": "team/app",
        "private": true,
        "html_url": "https://git.example.com/team/app",
        "ssh_url": "#{ssh}",
        "clone_url": "#{https}",
        "default_branch": "main",
        "size": 1.5e3
      },
      "pusher": {"name": "ann", "email": null},
      "sender": {"login": "ann", "id": 6752317}
    }
    """
  end

  def body(:gitlab, ref, before, later) do
    [https, ssh] = urls(:gitlab)
    kind = if String.starts_with?(ref, "refs/tags/"), do: "tag_push", else: "push"

    """
    {
      "object_kind": "#{kind}",
      "event_name": "#{kind}",
      "before": "#{before}",
      "after": "#{later}",
      "ref": "#{ref}",
      "checkout_sha": "#{later}",
      "user_name": "Ann",
      "project_id": 15,
      "project": {
        "id": 15,
        "name": "App",
        "web_url": "https://git.example.com/team/app",
        "git_ssh_url": "#{ssh}",
        "git_http_url": "#{https}",
        "path_with_namespace": "team/app",
        "default_branch": "main"
      },
      "repository": {
        "name": "App", "url": "#{ssh}", "git_http_url": "#{https}", "git_ssh_url": "#{ssh}"
      },
      "commits": [],
      "total_commits_count": 0
    }
    """
  end

  def body(:bitbucket_cloud, ref, before, later) do
    """
    {
      "actor": {"type": "user", "display_name": "Ann"},
      "repository": {
        "type": "repository",
        "name": "app",
        "full_name": "team/app",
        "uuid": "{0f1e}",
        "scm": "git",
        "links": {
          "self": {"href": "https://api.bitbucket.org/2.0/repositories/team/app"},
          "html": {"href": "https://bitbucket.org/team/app"}
        }
      },
      "push": {"changes": [#{cloud_change(ref, before, later)}]}
    }
    """
  end

  def body(:bitbucket_data_center, ref, before, later) do
    [ssh, https] = urls(:bitbucket_data_center)

    """
    {
      "eventKey": "repo:refs_changed",
      "date": "2026-02-03T09:45:32+1000",
      "actor": {"name": "ann", "id": 1, "type": "NORMAL"},
      "repository": {
        "slug": "app",
        "id": 84,
        "name": "app",
        "scmId": "git",
        "project": {"key": "TEAM", "id": 84, "name": "team", "type": "NORMAL"},
        "links": {
          "clone": [{"href": "#{ssh}", "name": "ssh"}, {"href": "#{https}", "name": "http"}],
          "self": [{"href": "https://git.example.com/projects/TEAM/repos/app/browse"}]
        }
      },
      "changes": [#{data_center_change(ref, before, later)}]
    }
    """
  end

  def body(:azure_devops, ref, before, later) do
    """
    {
      "subscriptionId": "00000000-0000-0000-0000-000000000001",
      "notificationId": 1,
      "id": "#{@delivery}",
      "eventType": "git.push",
      "publisherId": "tfs",
      "message": {"text": "Ann pushed updates to app"},
      "resource": {
        "commits": [],
        "refUpdates": [{"name": "#{ref}", "oldObjectId": "#{before}", "newObjectId": "#{later}"}],
        "repository": {
          "id": "278d5cd2",
          "name": "app",
          "url": "https://dev.azure.com/team/_apis/git/repositories/278d5cd2",
          "project": {"id": "6ce954b1", "name": "project"},
          "defaultBranch": "refs/heads/main",
          "remoteUrl": "https://team@dev.azure.com/team/project/_git/app"
        },
        "pushedBy": {"displayName": "Ann"},
        "pushId": 14
      },
      "resourceVersion": "1.0",
      "createdDate": "2026-02-03T09:45:32.1Z"
    }
    """
  end

  @doc "One of the changes in a payload of Bitbucket Cloud."
  def cloud_change(ref, before, later) do
    side = fn
      @zeros -> "null"
      oid -> ~s({"type": "#{kind(ref)}", "name": "#{short(ref)}", "target": {"hash": "#{oid}"}})
    end

    ~s({"old": #{side.(before)}, "new": #{side.(later)}, "created": #{before == @zeros}, ) <>
      ~s("closed": #{later == @zeros}, "forced": false, "truncated": false})
  end

  @doc "One of the changes in a payload of Bitbucket Data Center."
  def data_center_change(ref, before, later) do
    type = if before == @zeros, do: "ADD", else: if(later == @zeros, do: "DELETE", else: "UPDATE")
    kind = String.upcase(kind(ref))

    ~s({"ref": {"id": "#{ref}", "displayId": "#{short(ref)}", "type": "#{kind}"}, ) <>
      ~s("refId": "#{ref}", "fromHash": "#{before}", "toHash": "#{later}", "type": "#{type}"})
  end

  @doc "The payload by which Gitea, Forgejo and Gogs tell of a branch or tag that begins or ends."
  def created_or_deleted(forge, ref, oid) do
    [https, ssh] = urls(forge)
    sha = if oid, do: ~s("sha": "#{oid}", ), else: ~s("pusher_type": "user", )

    ~s({"ref": "#{short(ref)}", "ref_type": "#{kind(ref)}", #{sha}) <>
      ~s("repository": {"clone_url": "#{https}", "ssh_url": "#{ssh}"}})
  end

  defp kind("refs/tags/" <> _name), do: "tag"
  defp kind("refs/heads/" <> _name), do: "branch"
  defp short(ref), do: ref |> String.split("/", parts: 3) |> List.last()
end
