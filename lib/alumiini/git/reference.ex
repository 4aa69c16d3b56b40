defmodule Alumiini.Git.Reference do
  @moduledoc false

  # A ref as callers name it, and what the wire has for that. A form that nothing here can be done with yet is an error of
  # the call; what is no ref at all raises.

  alias Alumiini.Git.{Error, Options}

  @spec sync!(term) :: {:ok, map} | {:error, Error.t()}
  def sync!(branch) when is_binary(branch), do: {:ok, %{"branch" => branch}}
  def sync!({:branch, branch}) when is_binary(branch), do: {:ok, %{"branch" => branch}}
  def sync!({:tag, tag}) when is_binary(tag), do: {:ok, %{"tag" => tag}}
  def sync!({:commit, sha}) when is_binary(sha), do: {:ok, %{"commit" => sha}}
  def sync!({:ref, name}) when is_binary(name), do: {:ok, %{"name" => name}}
  def sync!({:semver, range}) when is_binary(range), do: {:error, unsupported(:sync, :semver, "a branch")}

  def sync!(other), do: wrong!(other, "the name of a branch, or {:branch, name}")

  @spec ls_remote!(term) :: {:ok, String.t() | map} | {:error, Error.t()}
  def ls_remote!(name) when is_binary(name), do: {:ok, name}
  def ls_remote!({:branch, branch}) when is_binary(branch), do: {:ok, %{"branch" => branch}}
  def ls_remote!({:tag, tag}) when is_binary(tag), do: {:ok, %{"tag" => tag}}
  def ls_remote!({:ref, name}) when is_binary(name), do: {:ok, %{"name" => name}}

  def ls_remote!({kind, value}) when kind in [:commit, :semver] and is_binary(value),
    do: {:error, unsupported(:ls_remote, kind, "a branch, a tag or a ref")}

  def ls_remote!(other) do
    wrong!(other, "\"HEAD\", the name of a branch, {:branch, name}, {:tag, name} or {:ref, \"refs/…\"}")
  end

  defp unsupported(op, kind, right) do
    Error.new(
      :unsupported,
      op,
      "a ref given as #{inspect(kind)} is not supported by this version; give #{right}"
    )
  end

  @spec wrong!(term, String.t()) :: no_return
  defp wrong!(ref, right) do
    raise ArgumentError, "the ref must be #{right}, got: #{Options.shown(ref)}"
  end
end
