defmodule Alumiini.Git.Reference do
  @moduledoc false

  # A ref as callers name it, and what the wire has for that. What is no ref at all raises; one that
  # cannot be is an error of the call.

  alias Alumiini.Git.{Error, Operation, Options, Ref, Remote, Semver}

  @type t :: {:ok, map | String.t()} | {:semver, Semver.t()} | {:error, Error.reason(), String.t()}

  @doc "The ref of a sync."
  @spec sync!(term) :: t
  def sync!(:default), do: {:ok, %{"default" => true}}
  def sync!(branch) when is_binary(branch), do: {:ok, %{"branch" => branch}}
  def sync!({:commit, sha}) when is_binary(sha), do: {:ok, %{"commit" => sha}}

  def sync!(other) do
    named(
      other,
      "the name of a branch, {:branch, name}, {:tag, name}, {:semver, requirement}, {:semver, " <>
        "requirement, options}, " <>
        "{:commit, sha}, {:ref, \"refs/…\"} or :default"
    )
  end

  @doc "The ref of `ls_remote`."
  @spec ls_remote!(term) :: t
  def ls_remote!(:default), do: {:ok, "HEAD"}
  def ls_remote!(name) when is_binary(name), do: {:ok, name}

  def ls_remote!({:commit, sha}) when is_binary(sha),
    do: {:error, :unsupported, "a commit's id is known; ask for a branch, a tag or a ref"}

  def ls_remote!(other) do
    named(
      other,
      "\"HEAD\", the name of a branch, {:branch, name}, {:tag, name}, {:semver, requirement}, " <>
        "{:ref, \"refs/…\"} or :default"
    )
  end

  defp named({:branch, branch}, _right) when is_binary(branch), do: {:ok, %{"branch" => branch}}
  defp named({:tag, tag}, _right) when is_binary(tag), do: {:ok, %{"tag" => tag}}
  defp named({:ref, name}, _right) when is_binary(name), do: {:ok, %{"name" => name}}
  defp named({:semver, requirement}, right), do: named({:semver, requirement, []}, right)

  defp named({:semver, requirement, options}, _right) when is_binary(requirement) do
    semver_options!(options)

    case Semver.new(requirement, options) do
      {:ok, semver} ->
        {:semver, semver}

      :error ->
        {:error, :invalid,
         "the requirement of :semver must be one of Elixir's Version, such as \"~> 1.2\" or " <>
           "\">= 1.0.0 and < 2.0.0\""}
    end
  end

  defp named(other, right), do: wrong!(other, right)

  defp semver_options!(options) do
    valid? =
      Keyword.keyword?(options) and
        Enum.all?(options, fn
          {:prefix, prefix} -> is_binary(prefix)
          {:filter, filter} -> is_struct(filter, Regex)
          {:pre, pre} -> is_boolean(pre)
          _other -> false
        end)

    if not valid? do
      raise ArgumentError,
            "the options of {:semver, requirement, options} are prefix: a string, filter: a " <>
              "regex and pre: true or false"
    end
  end

  @doc """
  What the wire has for a ref, for the operation `op`. Versions are looked for among the remote's
  tags first. Returns what is left of the time with it.
  """
  @spec locate(t, atom, keyword, Remote.t()) ::
          {:ok, map | String.t(), keyword} | {:error, Error.t()}
  def locate({:ok, reference}, _op, options, _remote), do: {:ok, reference, options}

  def locate({:error, reason, sentence}, op, _options, _remote),
    do: {:error, Error.new(reason, op, sentence)}

  def locate({:semver, semver}, op, options, remote) do
    began = System.monotonic_time(:millisecond)

    request = %{"op" => "refs", "prefixes" => Semver.ref_prefixes(semver)}

    with {:ok, %{"ok" => wire}} <-
           Operation.request(request, Keyword.delete(options, :progress), remote),
         {:ok, refs} <- Ref.from_wire(wire),
         {:ok, ref} <- Semver.pick(semver, refs) do
      "refs/tags/" <> tag = ref.name
      found = %{"tag" => tag, "id" => ref.sha, "commit" => ref.peeled || ref.sha}
      passed = System.monotonic_time(:millisecond) - began
      {:ok, found, Keyword.put(options, :timeout, max(Options.Check.timeout(options) - passed, 1))}
    else
      {:error, %Error{reason: :too_large} = error} -> {:error, too_many(error, semver, op, remote)}
      {:error, %Error{} = error} -> {:error, %{error | op: op}}
      :error -> {:error, none(semver, op, remote)}
      _not_as_documented -> {:error, Error.unexpected(op)}
    end
  end

  defp too_many(error, semver, op, remote) do
    message =
      "#{remote.shown} has more tags that #{semver.text} may take than are looked through " <>
        "(their names and ids have more than " <>
        "#{error.detail[:limit]} bytes); give the requirement an upper bound, or a prefix:"

    Error.new(:too_large, op, message, error.detail)
  end

  defp none(semver, op, remote) do
    with_prefix = if semver.prefix == "", do: "", else: " whose name begins with `#{semver.prefix}`"
    pre = if semver.pre?, do: "", else: "; pre-releases count with pre: true only"

    Error.new(
      :ref_not_found,
      op,
      "#{remote.shown} has no tag#{with_prefix} of a version that #{semver.text} takes#{pre}",
      %{url: remote.shown, ref: semver.text, near: []}
    )
  end

  @spec wrong!(term, String.t()) :: no_return
  defp wrong!(ref, right) do
    raise ArgumentError, "the ref must be #{right}, got: #{Options.Check.shown(ref)}"
  end
end
