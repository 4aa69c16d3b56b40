defmodule Alumiini.Git.SemverTest do
  use ExUnit.Case, async: true

  alias Alumiini.Git.{Ref, Semver}

  defp semver(requirement, options \\ []) do
    {:ok, semver} = Semver.new(requirement, options)
    semver
  end

  defp pick(requirement, tags, options \\ []) do
    refs = for tag <- tags, do: %Ref{name: "refs/tags/" <> tag, sha: tag}

    case Semver.pick(semver(requirement, options), refs) do
      {:ok, ref} -> ref.sha
      :error -> nil
    end
  end

  # semver.org, "Spec item 11": each takes precedence over those before it.
  @order ~w(1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11
            1.0.0-rc.1 1.0.0 1.0.1 1.9.0 1.10.0 1.11.0 2.0.0 2.1.0 2.1.1)

  test "the order is that of the specification" do
    for count <- 1..length(@order) do
      tags = Enum.take(@order, count)
      assert pick(">= 0.0.1-a", Enum.shuffle(tags), pre: true) == List.last(tags)
    end
  end

  test "build metadata takes no part in precedence; the choice is the same in any order" do
    tags = ~w(1.0.0+b 1.0.0+a 1.0.0 v1.0.0)
    for _ <- 1..20, do: assert(pick("~> 1.0", Enum.shuffle(tags)) == "v1.0.0")
    assert pick("~> 1.0", ~w(1.0.0+20130313144700 1.0.0+exp.sha.5114f85)) == "1.0.0+exp.sha.5114f85"
    assert pick("~> 1.0", ~w(1.0.0-rc.1+build.9 1.0.0+build.1)) == "1.0.0+build.1"
  end

  test "pre-releases count where they are asked for" do
    tags = ~w(v1.0.0 v1.1.0-rc.1)
    assert pick(">= 1.0.0", tags) == "v1.0.0"
    assert pick(">= 1.0.0", tags, pre: true) == "v1.1.0-rc.1"
    assert pick(">= 1.1.0-alpha", tags) == "v1.1.0-rc.1"
    assert pick(">= 2.0.0", tags, pre: true) == nil
  end

  test "what is no version is passed over" do
    tags = [
      "release",
      "1",
      "1.2",
      "v1.2",
      "1.2.3.4",
      "01.2.3",
      "1.2.03",
      "vv1.0.0",
      "1.0.0-",
      "1.0.0-01",
      "v1.0.0",
      <<"v2.0.0", 0xFF>>
    ]

    assert pick(">= 0.0.0", tags) == "v1.0.0"
    assert pick(">= 0.0.0", []) == nil
    # Nor is what only looks like one.
    assert pick(">= 0.0.0", [String.duplicate("9", 60_000) <> ".0.0", "1.0.0"]) == "1.0.0"
  end

  test "a prefix stands before the version, a filter is held against the whole name" do
    tags = ~w(app-v1.0.0 app-1.1.0 lib-9.0.0 v8.0.0 app-2.0.0-dirty)
    assert pick("~> 1.0", tags, prefix: "app-") == "app-1.1.0"
    assert pick(">= 1.0.0", tags, prefix: "lib-") == "lib-9.0.0"
    assert pick(">= 1.0.0", tags) == "v8.0.0"
    # As Flux's documentation has it: release candidates only.
    rc = ~w(1.0.0 1.1.0-rc.1 1.1.0-rc.2 1.1.0-beta.9)
    assert pick(">= 0.1.0", rc, pre: true, filter: ~r/-rc\./) == "1.1.0-rc.2"
  end

  test "bounds narrow what is asked for" do
    for {requirement, expected} <- [
          {"~> 1.2", ["1."]},
          {"~> 1.2.3", ["1.2."]},
          {"== 1.2.3", ["1.2.3"]},
          {"1.2.3", ["1.2.3"]},
          {">= 1.2.0 and < 2.0.0", ["1.", "2."]},
          {">= 1.2.0 and < 1.4.0", ["1.2.", "1.3.", "1.4."]},
          {"~> 1.0 or ~> 3.1.0", ["1.", "3.1."]},
          {"< 2.0.0", ["0.", "1.", "2."]},
          {"> 1.0.0 and <= 1.2.0", ["1.0.", "1.1.", "1.2."]},
          {"~> 1.2.3-rc.1", ["1.2."]}
        ] do
      expected = for beginning <- expected, v <- ["", "v"], do: "refs/tags/x-" <> v <> beginning

      assert {requirement, Semver.ref_prefixes(semver(requirement, prefix: "x-"))} ==
               {requirement, expected}
    end

    # Too much is left open, or nothing at all.
    for requirement <- [
          ">= 1.0.0",
          "~> 1.0 or >= 3.0.0",
          "< 999999999999999999999.0.0",
          "> 2.0.0 and < 1.0.0"
        ] do
      assert Semver.ref_prefixes(semver(requirement)) == ["refs/tags/"]
    end
  end

  test "what is asked for holds all that matches" do
    versions =
      for major <- 0..3,
          minor <- 0..3,
          patch <- 0..2,
          pre <- ["", "-rc.1", "+b"],
          do: "#{major}.#{minor}.#{patch}#{pre}"

    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..500 do
      requirement = requirement()
      semver = semver(requirement, pre: true)
      prefixes = Semver.ref_prefixes(semver)

      for version <- versions, Version.match?(version, semver.requirement, allow_pre: true) do
        name = "refs/tags/v" <> version

        assert String.starts_with?(name, prefixes),
               "#{requirement} takes #{version}, and #{inspect(prefixes)} leave it out"
      end
    end
  end

  defp requirement do
    Enum.map_join(1..Enum.random(1..2), " or ", fn _ ->
      Enum.map_join(1..Enum.random(1..3), " and ", fn _ ->
        numbers = Enum.map_join(1..3, ".", fn _ -> "#{Enum.random(0..3)}" end)

        case Enum.random(["~", "~>", ">=", "<=", "==", ">", "<"]) do
          "~" -> "~> #{Enum.random(0..3)}.#{Enum.random(0..3)}"
          operator -> operator <> " " <> numbers
        end
      end)
    end)
  end

  test "what is no requirement is refused" do
    for text <- [
          "",
          "latest",
          "1.x",
          "^1.2",
          "~> 1",
          String.duplicate("> 1.0.0 and ", 100) <> "> 1.0.0"
        ] do
      assert Semver.new(text, []) == :error
    end
  end
end
