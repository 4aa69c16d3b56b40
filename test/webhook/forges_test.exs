defmodule Alumiini.Git.WebhookForgesTest do
  # What each forge sends, and what it comes to.
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Error, Webhook}
  alias Alumiini.Git.Test.Webhooks
  alias Alumiini.Git.Webhook.Push

  @secret "s3cr3t"
  @zeros Webhooks.zeros()
  @one String.duplicate("1", 40)
  @two String.duplicate("2", 40)
  @long String.duplicate("ab", 32)

  # {what happens, the ref, as the forge tells it: from, to; as we do: before, after}
  @pushes [
    {"a push", "refs/heads/main", {@one, @two}, {@one, @two}},
    {"a branch with slashes", "refs/heads/team/ann/x", {@one, @two}, {@one, @two}},
    {"a branch that is created", "refs/heads/feature", {@zeros, @one}, {nil, @one}},
    {"a branch that is deleted", "refs/heads/feature", {@one, @zeros}, {@one, nil}},
    {"a tag that is created", "refs/tags/v1.2.3", {@zeros, @one}, {nil, @one}},
    {"a tag that is moved", "refs/tags/v1", {@one, @two}, {@one, @two}},
    {"a tag that is deleted", "refs/tags/v1.2.3", {@one, @zeros}, {@one, nil}}
  ]

  defp parse(forge, headers, body, options \\ []) do
    headers = Webhooks.proven(forge, headers, body, @secret)
    Webhook.parse(headers, body, [secret: @secret] ++ options)
  end

  for forge <- Webhooks.forges(), {what, ref, told, expected} <- @pushes do
    test "#{forge}: #{what}" do
      forge = unquote(forge)
      {before, later} = unquote(Macro.escape(told))
      {headers, body} = Webhooks.push(forge, unquote(ref), before, later)
      assert {:ok, %Push{} = push} = parse(forge, headers, body)

      {before, later} = unquote(Macro.escape(expected))
      change = %{ref: unquote(ref), before: before, after: later}

      assert push == %Push{
               forge: forge,
               urls: Webhooks.urls(forge),
               ref: change.ref,
               before: before,
               after: later,
               changes: [change],
               delivery: Webhooks.delivery()
             }
    end
  end

  for forge <- Webhooks.forges() do
    test "#{forge}: ids of SHA-256, and a URL that each is the same repository as" do
      forge = unquote(forge)
      {headers, body} = Webhooks.push(forge, "refs/heads/main", @zeros <> "00", @long)
      # Zeros of any other length are no id.
      assert {:error, %Error{reason: :invalid}} = parse(forge, headers, body)

      {headers, body} = Webhooks.push(forge, "refs/heads/main", String.duplicate("0", 64), @long)

      assert {:ok, %Push{before: nil, after: @long, urls: urls}} = parse(forge, headers, body)

      for one <- urls, other <- urls, do: assert(Webhook.same_repository?(one, other))
    end

    test "#{forge}: another event is ignored, by its name" do
      forge = unquote(forge)
      {event, body} = other_event(forge)
      assert parse(forge, Webhooks.headers(forge, event), body) == {:ok, {:ignored, event}}
    end

    test "#{forge}: a payload of another shape is refused, and says of which forge" do
      forge = unquote(forge)
      {headers, body} = Webhooks.push(forge, "refs/heads/main", @one, @two)

      for {from, to} <- [
            {"refs/heads/main", "main"},
            {~s("name": "main"), ~s("name": 1)},
            {~r/"(ref|name)": "refs/, ~s("is_not": "refs)},
            {@two, "HEAD"},
            {@two, String.duplicate("G", 40)},
            {~s("#{@two}"), "2"},
            {~s("#{@two}"), "null"},
            {~r/"(after|toHash|newObjectId|hash)"/, ~s("is_not")},
            {~r/"(clone_url|ssh_url|git_http_url|git_ssh_url|remoteUrl|clone|html)"/, ~s("is_not")},
            {~r/"(repository|project)"/, ~s("is_not")},
            {~r/"(changes|refUpdates|ref)"/, ~s("is_not")}
          ],
          changed = String.replace(body, from, to),
          changed != body do
        assert {:error, %Error{reason: :invalid, op: :webhook} = error} =
                 parse(forge, headers, changed)

        assert error.detail == %{status: 400}
        assert error.message =~ "the payload of #{forge} "
        assert {changed, byte_size(error.message) < 200} == {changed, true}
      end
    end

    test "#{forge}: what stands in the place of objects and lists hurts nobody" do
      forge = unquote(forge)
      {headers, body} = Webhooks.push(forge, "refs/heads/main", @one, @two)
      place = ~r/"(repository|project|push|changes|refUpdates|resource|links|clone)": *[\[{]/

      for [whole, name] <- Regex.scan(place, body), stand_in <- ["null", "1", ~s("x"), "[1]"] do
        # The rest of it becomes a field of its own.
        changed =
          String.replace(
            body,
            whole,
            ~s("#{name}": #{stand_in}, "rest": ) <> String.last(whole),
            global: false
          )

        # GitLab names its URLs twice, and of some of these nothing is asked.
        case parse(forge, headers, changed) do
          {:ok, %Push{urls: [_one | _more]}} -> :ok
          {:error, %Error{reason: reason}} -> assert reason in [:invalid, :unsupported]
        end
      end
    end
  end

  defp other_event(:gitlab), do: {"merge_request", ~s({"object_kind": "merge_request"})}
  defp other_event(:bitbucket_cloud), do: {"pullrequest:created", "{}"}
  defp other_event(:bitbucket_data_center), do: {"pr:opened", "{}"}

  defp other_event(:azure_devops),
    do: {"git.pullrequest.created", ~s({"eventType": "git.pullrequest.created", "resource": {}})}

  defp other_event(_forge), do: {"pull_request", ~s({"action": "opened"})}

  test "a forge that tries the webhook is told apart" do
    assert parse(:github, Webhooks.headers(:github, :ping), ~s({"zen": "x", "hook_id": 1})) ==
             {:ok, :ping}

    for forge <- [:bitbucket_cloud, :bitbucket_data_center] do
      assert parse(forge, Webhooks.headers(forge, "diagnostics:ping"), ~s({"test": true})) ==
               {:ok, :ping}
    end
  end

  test "GitHub's own events of branches and tags, which have no commit, are left to its pushes" do
    for event <- ["create", "delete"] do
      body = Webhooks.created_or_deleted(:github, "refs/heads/x", @one)

      assert parse(:github, Webhooks.headers(:github, event), body) == {:ok, {:ignored, event}}
    end
  end

  for forge <- [:gitea, :forgejo, :gogs], ref <- ["refs/heads/team/x", "refs/tags/v1"] do
    test "#{forge}: #{ref} is created and deleted without a push" do
      {forge, ref} = {unquote(forge), unquote(ref)}
      body = Webhooks.created_or_deleted(forge, ref, @one)

      assert {:ok, %Push{ref: ^ref, before: nil, after: @one}} =
               parse(forge, Webhooks.headers(forge, "create"), body)

      body = Webhooks.created_or_deleted(forge, ref, nil)

      assert {:ok, %Push{ref: ^ref, before: nil, after: nil, forge: ^forge}} =
               parse(forge, Webhooks.headers(forge, "delete"), body)

      body = String.replace(body, "ref_type", "is_not")

      assert {:error, %Error{reason: :invalid}} =
               parse(forge, Webhooks.headers(forge, "delete"), body)
    end
  end

  test "several refs of one push are all told, the first of them also by itself" do
    refs = for n <- 1..3, do: "refs/heads/b#{n}"
    expected = for ref <- refs, do: %{ref: ref, before: @one, after: @two}

    for {forge, list, one} <- [
          {:bitbucket_cloud, "changes", &Webhooks.cloud_change(&1, @one, @two)},
          {:bitbucket_data_center, "changes", &Webhooks.data_center_change(&1, @one, @two)},
          {:azure_devops, "refUpdates",
           &~s({"name": "#{&1}", "oldObjectId": "#{@one}", "newObjectId": "#{@two}"})}
        ] do
      {headers, body} = Webhooks.push(forge, "refs/heads/main", @one, @two)
      all = Enum.map_join(refs, ", ", one)
      body = String.replace(body, ~r/"#{list}": \[.*\]/, ~s("#{list}": [#{all}]))
      assert {:ok, %Push{changes: ^expected} = push} = parse(forge, headers, body)
      assert {push.ref, push.before, push.after} == {"refs/heads/b1", @one, @two}

      # It need not name any.
      body = String.replace(body, ~r/"#{list}": \[.*\]/, ~s("#{list}": []))

      assert {:ok, %Push{changes: [], ref: nil, before: nil, after: nil}} =
               parse(forge, headers, body)
    end
  end

  test "GitLab's system hooks tell of a push in one of two ways" do
    headers = Webhooks.headers(:gitlab, "System Hook")
    {_headers, body} = Webhooks.push(:gitlab, "refs/heads/main", @one, @two)
    body = String.replace(body, ~s("object_kind": "push",), "")
    assert {:ok, %Push{ref: "refs/heads/main", after: @two}} = parse(:gitlab, headers, body)

    body = """
    {
      "event_name": "repository_update",
      "project": {"git_http_url": "https://git.example.com/team/app.git"},
      "changes": [
        {"before": "#{@one}", "after": "#{@two}", "ref": "refs/heads/main"},
        {"before": "#{@zeros}", "after": "#{@two}", "ref": "refs/tags/v1"}
      ],
      "refs": ["refs/heads/main", "refs/tags/v1"]
    }
    """

    assert {:ok, %Push{changes: changes, urls: ["https://git.example.com/team/app.git"]}} =
             parse(:gitlab, headers, body)

    assert changes == [
             %{ref: "refs/heads/main", before: @one, after: @two},
             %{ref: "refs/tags/v1", before: nil, after: @two}
           ]

    assert parse(:gitlab, headers, ~s({"event_name": "user_create"})) ==
             {:ok, {:ignored, "user_create"}}

    assert parse(:gitlab, headers, "{}") == {:ok, {:ignored, "System Hook"}}
  end

  test "Azure DevOps is known by what it sends" do
    headers = Webhooks.headers(:azure_devops, :push)

    for body <- ["{}", ~s({"eventType": 1, "resource": {}}), ~s({"eventType": "git.push"})] do
      assert {:error, %Error{reason: :unsupported} = error} = parse(:azure_devops, headers, body)
      assert error.message =~ "no webhook of a forge that is known"
    end

    {headers, body} = Webhooks.push(:azure_devops, "refs/heads/main", @one, @two)
    ssh = "git@ssh.dev.azure.com:v3/team/project/app"
    body = String.replace(body, ~s("remoteUrl"), ~s("sshUrl": "#{ssh}", "remoteUrl"))
    assert {:ok, %Push{urls: [https, ^ssh]}} = parse(:azure_devops, headers, body)
    assert Webhook.same_repository?(https, ssh)
  end
end
