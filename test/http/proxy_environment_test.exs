defmodule Alumiini.Git.ProxyEnvironmentTest do
  # Proxies that the environment names. Not async: the environment is that of the whole VM.
  use Alumiini.Git.Test.HttpCase, async: false

  alias Alumiini.Git.Test.{Proxy, Vm}

  @names ~w(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY)

  setup [:no_proxy, :dir, :origin, :commit, :certificate, :http, :https, :proxy]

  defp no_proxy(_context) do
    Vm.put_env!(Map.new(@names, &{&1, nil}))
  end

  defp proxy(_context), do: %{proxy: start_supervised!({Proxy, auth: {"ann", "open"}})}

  defp ls_remote(context, url, git, options \\ []) do
    Git.ls_remote(url, "main", [server: git, tls: [ca: context.certificate.ca]] ++ options)
  end

  test "are used when that is asked for, by a call or for a server, and not otherwise", context do
    for {name, value} <- [{"http_proxy", context.proxy}, {"https_proxy", context.proxy}] do
      System.put_env(name, Proxy.url(value, auth: {"ann", "open"}))
    end

    # The worker is started with them around.
    git = start_supervised!({Git, name: nil})

    for url <- [context.url, context.https_url],
        do: assert(ls_remote(context, url, git) == {:ok, context.commit})

    assert Proxy.log(context.proxy) == []

    asking = start_supervised!({Git, name: nil, proxy: :environment}, id: :asking)

    for url <- [context.url, context.https_url],
        do: assert({:ok, _commit} = ls_remote(context, url, asking))

    seen = length(Proxy.log(context.proxy))
    assert seen >= 2
    assert Enum.any?(Proxy.log(context.proxy), &(&1.method == "CONNECT"))

    for url <- [context.url, context.https_url] do
      assert {:ok, _commit} = ls_remote(context, url, asking, proxy: :none)
    end

    assert length(Proxy.log(context.proxy)) == seen

    for url <- [context.url, context.https_url] do
      assert {:ok, _commit} = ls_remote(context, url, git, proxy: :environment)
    end

    assert length(Proxy.log(context.proxy)) > seen
  end

  test "are not for the hosts that it excepts", context do
    # Without a password: whoever asks this proxy is refused.
    System.put_env("ALL_PROXY", Proxy.url(context.proxy))
    git = start_supervised!({Git, name: nil, proxy: :environment})
    assert {:error, %{reason: :auth}} = ls_remote(context, context.url, git)
    assert {:error, %{reason: :auth}} = ls_remote(context, context.https_url, git)

    System.put_env("no_proxy", "elsewhere.example, 127.0.0.0/8")
    assert ls_remote(context, context.url, git) == {:ok, context.commit}
    assert {:error, %{reason: :auth}} = ls_remote(context, context.https_url, git)

    System.put_env("no_proxy", "127.0.0.1,localhost")
    assert ls_remote(context, context.https_url, git) == {:ok, context.commit}
    # What a call says of it stands above.
    assert {:error, %{reason: :auth}} = ls_remote(context, context.https_url, git, no_proxy: "")
  end
end
