defmodule Alumiini.Git.Options.Read do
  @moduledoc false

  # The options of the calls that read a repository: how each is checked, and what the wire has for
  # it.

  import Alumiini.Git.Options.Value, only: [boolean!: 2, positive!: 3, wrong!: 3]

  # The worker's limits, as `protocol/README.md` has them.
  @most_files 1_000_000
  @most_snapshot_bytes 4_294_967_296
  @most_export_bytes 1_099_511_627_776
  @most_commits 100_000
  @longest_grace 86_400_000
  # 22 bytes each: what is left of a request's frame has room for all else.
  @most_known 45_000

  @revisions [:at, :from]
  @patterns [:match, :ignore]
  @booleans [:recursive, :content, :renames, :link]
  @names [:subpath, :path]

  @keys @revisions ++
          @patterns ++ @booleans ++ @names ++ [:paths, :known, :max_files, :limit, :format, :grace]

  @doc "The options that `check!/2` knows."
  @spec keys() :: [atom, ...]
  def keys, do: @keys

  @spec check!(atom, term) :: :ok
  def check!(key, value) when key in @revisions do
    if is_binary(value) and value != "",
      do: :ok,
      else: wrong!(key, "a revision: a string that is not empty", value)
  end

  def check!(key, value) when key in @patterns do
    if is_binary(value) or (is_list(value) and Enum.all?(value, &is_binary/1)),
      do: :ok,
      else: wrong!(key, "a pattern or a list of patterns, which are strings", value)
  end

  def check!(:paths, value) do
    if is_binary(value) or (is_list(value) and Enum.all?(value, &is_binary/1)),
      do: :ok,
      else: wrong!(:paths, "a path in the repository, or a list of such, which are strings", value)
  end

  def check!(key, value) when key in @booleans, do: boolean!(key, value)

  def check!(key, value) when key in @names do
    if is_binary(value), do: :ok, else: wrong!(key, "a path in the repository, a string", value)
  end

  def check!(:known, value) do
    # Whether they are hex shows when they are sent.
    list? = is_list(value) or is_struct(value, MapSet)
    if list? and Enum.all?(value, &oid?/1), do: :ok, else: wrong_known!(value)
  end

  def check!(:max_files, value), do: positive!(:max_files, value, @most_files)
  def check!(:limit, value), do: positive!(:limit, value, @most_commits)

  def check!(:format, value) do
    if value in [:directory, :tar_gz],
      do: :ok,
      else: wrong!(:format, ":directory or :tar_gz", value)
  end

  def check!(:grace, value) do
    if is_integer(value) and value in 0..@longest_grace,
      do: :ok,
      else: wrong!(:grace, "a number of milliseconds of at most #{@longest_grace}", value)
  end

  @doc "Checks the `:max_bytes` of the two that may have more than one answer holds."
  @spec max_bytes!(:snapshot | :export, term) :: :ok
  def max_bytes!(:snapshot, value), do: positive!(:max_bytes, value, @most_snapshot_bytes)
  def max_bytes!(:export, value), do: positive!(:max_bytes, value, @most_export_bytes)

  defp oid?(oid), do: is_binary(oid) and byte_size(oid) == 40

  @spec wrong_known!(term) :: no_return
  defp wrong_known!(value), do: wrong!(:known, "a list or a MapSet of ids in hex", value)

  @doc "What the wire has for those options that name files of a commit."
  @spec selection(keyword) :: map
  def selection(options) do
    %{
      "at" => options[:at],
      "match" => list(options[:match]),
      "ignore" => lines(options[:ignore])
    }
  end

  @doc "A list, of one where it is one; none where there is none."
  @spec list(binary | [binary] | nil) :: [binary] | nil
  def list(nil), do: nil
  def list(one_or_more), do: List.wrap(one_or_more)

  @doc """
  The lines of rules. A whole file of them may be given as it was read. What says nothing is not
  sent: there is a limit to how many lines may be.
  """
  @spec lines(binary | [binary] | nil) :: [binary] | nil
  def lines(nil), do: nil

  def lines(texts) do
    for text <- List.wrap(texts),
        line <- :binary.split(text, ["\r\n", "\n"], [:global]),
        line != "" and not String.starts_with?(line, "#"),
        do: line
  end

  defp bytes!(oid) do
    case Base.decode16(oid, case: :mixed) do
      {:ok, bytes} -> bytes
      :error -> wrong_known!([oid])
    end
  end

  defp hex(bytes), do: Base.encode16(bytes, case: :lower)

  @doc """
  The ids that a caller has the contents of: as the wire has them, and those among them that no
  request has room for.
  """
  @spec known(keyword) :: {[binary] | nil, MapSet.t(String.t())}
  def known(options) do
    known = options[:known] || []
    # A set has each once.
    oids = if is_list(known), do: Enum.uniq(known), else: Enum.to_list(known)

    case oids do
      [] ->
        {nil, MapSet.new()}

      oids ->
        {sent, left} = Enum.split(oids, @most_known)
        {Enum.map(sent, &bytes!/1), MapSet.new(left, &(&1 |> bytes!() |> hex()))}
    end
  end
end
