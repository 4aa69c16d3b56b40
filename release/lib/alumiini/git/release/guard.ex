defmodule Alumiini.Git.Release.Guard do
  @moduledoc false

  # What keeps a package from being built: it would be one that nobody can install, or that says it
  # is something else. Pure.

  alias Alumiini.Git.Precompiled.Target

  @type facts :: %{
          version: String.t(),
          # nil where there is no checksum file.
          checksums: %{optional(String.t()) => String.t()} | nil,
          # Version in the worker's Cargo.toml.
          worker: String.t() | nil,
          changelog: String.t(),
          # Of the commit that is checked out.
          tags: [String.t()]
        }

  @doc """
  What is wrong, each a sentence. A version that ends with -dev is built from source, and needs no
  release.
  """
  @spec problems(facts) :: [String.t()]
  def problems(facts) do
    if String.ends_with?(facts.version, "-dev"),
      do: worker(facts) ++ tags(facts),
      else: worker(facts) ++ tags(facts) ++ changelog(facts) ++ checksums(facts)
  end

  defp worker(%{worker: version, version: version}), do: []

  defp worker(%{worker: worker, version: version}),
    do: ["native/alumiini-git/Cargo.toml has version #{worker || "(none)"}, mix.exs has #{version}"]

  defp tags(%{tags: tags, version: version}) do
    case Enum.filter(tags, &(&1 =~ ~r/\Av\d/)) do
      [] ->
        []

      tags ->
        if ("v" <> version) in tags,
          do: [],
          else: ["this commit is tagged #{Enum.join(tags, ", ")}, mix.exs has #{version}"]
    end
  end

  # The newest version is the first heading after that of what is unreleased, which then must be
  # empty.
  defp changelog(%{changelog: text, version: version}) do
    case Regex.scan(~r/^## \[?([^\]\s]+)\]?.*$/m, text) do
      [[_, "Unreleased"], [_, ^version] | _] ->
        if text =~ ~r/^## \[?Unreleased\]?.*\n\s*## /m,
          do: [],
          else: ["CHANGELOG.md still has changes under Unreleased; they belong to #{version}"]

      [[_, ^version] | _] ->
        []

      _other ->
        [
          "the newest version in CHANGELOG.md is not #{version}; give it a heading: ## " <>
            "#{version} - #{Date.utc_today()}"
        ]
    end
  end

  defp checksums(%{checksums: nil}),
    do: [
      "there is no checksum file; write it from the release's archives: mix " <>
        "alumiini_git.checksum DIR"
    ]

  defp checksums(%{checksums: checksums, version: version}) do
    wanted = for target <- Target.all(), do: Target.archive(version, target)
    stale = Map.keys(checksums) -- wanted

    missing =
      for target <- Target.first_tier(),
          archive = Target.archive(version, target),
          not Map.has_key?(checksums, archive),
          do: archive

    sentence("the checksum file lacks", missing) ++
      sentence("the checksum file has what is no archive of version #{version}:", Enum.sort(stale))
  end

  defp sentence(_text, []), do: []
  defp sentence(text, archives), do: ["#{text} #{Enum.join(archives, ", ")}"]
end
