defmodule Alumiini.Git.Precompiled.Archive do
  @moduledoc false

  # Takes the worker out of an archive, in memory: what is in there can name no place to be written
  # to. Accepted is exactly one regular file with the name that is expected.

  # Of the unpacked archive. A worker has about 6 MiB.
  @limit 64 * 1024 * 1024

  @spec unpack(binary, name :: String.t(), limit :: pos_integer) ::
          {:ok, binary} | {:error, String.t()}
  def unpack(bytes, name, limit \\ @limit) do
    with {:ok, tar} <- inflate(bytes, limit),
         :ok <- only(tar, name),
         :ok <- plain(tar) do
      extract(tar, name)
    end
  end

  # `:erl_tar` would unpack as much as there is, so this comes first.
  defp inflate(bytes, limit) do
    z = :zlib.open()

    try do
      # 16 stands for the header of gzip.
      :ok = :zlib.inflateInit(z, 16 + 15)
      inflate(z, :zlib.safeInflate(z, bytes), [], 0, limit)
    rescue
      _data_error -> {:error, "it is no gzip file, or a damaged one"}
    after
      :zlib.close(z)
    end
  end

  defp inflate(z, {step, output}, acc, size, limit) do
    size = size + IO.iodata_length(output)

    cond do
      size > limit ->
        {:error, "it unpacks to more than #{div(limit, 1024 * 1024)} MiB"}

      step == :continue ->
        inflate(z, :zlib.safeInflate(z, []), [acc, output], size, limit)

      true ->
        # Raises where the end is missing.
        :ok = :zlib.inflateEnd(z)
        {:ok, IO.iodata_to_binary([acc, output])}
    end
  end

  defp only(tar, name) do
    case :erl_tar.table({:binary, tar}, [:verbose]) do
      {:ok, [entry]} ->
        case {type(entry), to_string(elem(entry, 0))} do
          {:regular, ^name} -> :ok
          {type, other} -> unexpected("#{what(type)} #{inspect(other)}", name)
        end

      {:ok, []} ->
        unexpected("nothing", name)

      {:ok, entries} ->
        unexpected("#{length(entries)} entries", name)

      {:error, _reason} ->
        {:error, "it is no tar archive, or a damaged one"}
    end
  end

  defp type(entry), do: elem(entry, 1)

  defp what(:regular), do: "the file"
  defp what(type), do: "the #{type}"

  defp unexpected(found, name),
    do: {:error, "it holds #{found}, where exactly one file #{inspect(name)} is expected"}

  # The type in the first header. Entries of other types say how to understand the next one: that it
  # has another name, or that its holes make it larger than the whole archive, which `:erl_tar`
  # would believe.
  defp plain(<<_before::binary-size(156), type, _after::binary>>) when type in [?0, 0], do: :ok
  defp plain(_other), do: {:error, "what it holds is no plain file"}

  defp extract(tar, name) do
    case :erl_tar.extract({:binary, tar}, [:memory]) do
      {:ok, [{_name, content}]} when content != "" -> {:ok, content}
      {:ok, _other} -> unexpected("an empty file", name)
      {:error, _reason} -> {:error, "it is no tar archive, or a damaged one"}
    end
  end
end
