defmodule Alumiini.Git.Test.Answers do
  @moduledoc false

  # What a stub says that a call returns, as a worker would put it on the wire: the library then
  # makes of it what it makes of a worker's reply. Pure.

  alias Alumiini.Git.{Change, Commit, Error, Export, Lease, Ref, Snapshot, Status, Update, Url}

  @empty_tree "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

  @returned %{
    sync: "{:ok, sha} or {:ok, %Alumiini.Git.Update{}}",
    update: "{:ok, %Alumiini.Git.Update{}} or {:ok, sha}",
    files: "{:ok, [name]}",
    read: "{:ok, content}",
    head: "{:ok, %Alumiini.Git.Commit{}} or {:ok, sha}",
    checkout: "{:ok, sha}",
    ls_remote: "{:ok, sha}",
    refs: "{:ok, [%Alumiini.Git.Ref{}]}",
    snapshot: "{:ok, %Alumiini.Git.Snapshot{}}",
    diff: "{:ok, [%Alumiini.Git.Change{}]}",
    log: "{:ok, [%Alumiini.Git.Commit{}]}",
    export: "{:ok, %Alumiini.Git.Export{}}",
    status: "{:ok, [%Alumiini.Git.Status{}]}",
    lease: ":ok",
    release: ":ok",
    normalize: "{:ok, %Alumiini.Git.Url{}}"
  }

  @doc "What a stub may answer, for each function."
  @spec returned() :: %{atom => String.t()}
  def returned, do: @returned

  @doc """
  What is sent to the caller: the worker's reply, or the server's own error. `:wrong` where the
  function returns nothing of the kind.
  """
  @spec reply(atom, map, term) ::
          {:answer, map} | {:error, Error.reason(), String.t(), boolean} | :wrong
  def reply(op, arguments, result) do
    case result do
      {:error, %Error{} = error} -> error(error)
      %Error{} = error -> error(error)
      :ok when op in [:lease, :release] -> {:answer, %{"ok" => true}}
      {:ok, value} -> value(op, arguments, value)
      _other -> :wrong
    end
  end

  defp value(op, arguments, value) do
    case wire(op, arguments, value) do
      :wrong -> :wrong
      wire -> {:answer, %{"ok" => wire}}
    end
  end

  # Those that only a server says, and those of which it says that nothing changes by itself.
  defp error(%Error{reason: reason, message: message, retryable?: retryable?} = error) do
    %{retryable: retryable, never_on_the_wire: of_servers} = Error.reasons()
    message = message || "it failed (#{inspect(reason)})"

    if reason in of_servers or retryable? != reason in retryable do
      {:error, reason, message, reason in retryable and not retryable?}
    else
      detail = Map.new(error.detail, fn {key, value} -> {Atom.to_string(key), value} end)
      kind = Atom.to_string(reason)

      {:answer, %{"err" => message, "kind" => kind, "retryable" => retryable?, "detail" => detail}}
    end
  end

  defp wire(op, arguments, sha) when op in [:sync, :update] and is_binary(sha),
    do: wire(op, arguments, %Update{sha: sha, changed?: true})

  defp wire(op, arguments, %Update{} = update) when op in [:sync, :update] do
    %{
      "sha" => update.sha,
      "branch" => branch(update.ref, arguments[:ref]),
      "tag" => update.tag,
      "previous" => update.previous,
      "changed" => update.changed?,
      "cloned" => update.cloned?,
      "repaired" => update.repaired?,
      "bytes" => update.bytes,
      "objects" => update.objects
    }
  end

  defp wire(op, _arguments, text)
       when op in [:read, :checkout, :ls_remote] and is_binary(text),
       do: text

  defp wire(:head, _arguments, sha) when is_binary(sha), do: commit(%Commit{sha: sha})
  defp wire(:head, _arguments, %Commit{} = commit), do: commit(commit)
  defp wire(:files, _arguments, names) when is_list(names), do: each(names, &name/1)
  defp wire(:refs, _arguments, refs) when is_list(refs), do: each(refs, &plain(&1, Ref))
  defp wire(:diff, _arguments, list) when is_list(list), do: each(list, &plain(&1, Change))
  defp wire(:status, _arguments, list) when is_list(list), do: each(list, &plain(&1, Status))
  defp wire(:log, _arguments, list) when is_list(list), do: each(list, &commit/1)

  defp wire(:snapshot, arguments, %Snapshot{files: files} = snapshot) do
    case each(files, &file(&1, arguments)) do
      :wrong -> :wrong
      files -> %{"commit" => snapshot.commit, "tree" => snapshot.tree, "files" => files}
    end
  end

  defp wire(:export, _arguments, export), do: plain(export, Export)
  defp wire(:lease, _arguments, %Lease{}), do: true
  defp wire(op, _arguments, true) when op in [:lease, :release], do: true

  defp wire(:normalize, _arguments, %Url{} = url) do
    {hidden, wire} = url |> plain(Url) |> Map.pop("hidden?")
    Map.put(wire, "hidden", hidden)
  end

  defp wire(_op, _arguments, _other), do: :wrong

  # HEAD is on a branch only where one was asked for.
  defp branch("refs/heads/" <> branch, _asked), do: branch
  defp branch(nil, branch) when is_binary(branch), do: branch
  defp branch(_other, _asked), do: nil

  defp name(name) when is_binary(name), do: name
  defp name(_other), do: :wrong

  # What a test leaves out is what an empty commit has.
  defp commit(%Commit{} = commit) do
    blank = %{
      tree: @empty_tree,
      author: "",
      email: "",
      committer: "",
      committer_email: "",
      message: ""
    }

    commit
    |> Map.merge(blank, fn _key, told, blank -> told || blank end)
    |> plain(Commit)
  end

  defp commit(_other), do: :wrong

  # A worker leaves out what the caller has, or does not want.
  defp file(%Snapshot.File{} = file, arguments) do
    unsent? = arguments[:content] == false or file.oid in (arguments[:known] || [])
    content = if unsent?, do: nil, else: file.content
    lfs = file.lfs && %{"oid" => file.lfs.oid, "size" => file.lfs.size}
    size = file.size || (file.content && byte_size(file.content))

    Map.merge(plain(file, Snapshot.File), %{"content" => content, "lfs" => lfs, "size" => size})
  end

  defp file(_other, _arguments), do: :wrong

  defp plain(%module{} = struct, module) do
    for {key, value} <- Map.from_struct(struct), into: %{}, do: {Atom.to_string(key), text(value)}
  end

  defp plain(_other, _module), do: :wrong

  defp text(atom) when is_atom(atom) and atom not in [nil, true, false], do: Atom.to_string(atom)
  defp text(other), do: other

  defp each(list, function) do
    wire = Enum.map(list, function)
    if :wrong in wire, do: :wrong, else: wire
  end
end
