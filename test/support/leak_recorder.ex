defmodule Alumiini.Git.Test.LeakRecorder do
  @moduledoc """
  Takes down what is printed or told while a test runs, and looks for a secret in it.

      recorder = LeakRecorder.start!()
      LeakRecorder.note(recorder, "the answer", Alumiini.Git.sync(…))
      assert LeakRecorder.places(recorder, secret) == []

  All telemetry of the library and all events of the logger are noted by themselves, the latter also
  as they are before anybody has formatted them. Use it in tests that are not async: it sees the
  whole VM.
  """

  use Agent

  @doc "Begins to take notes; ends with the test."
  @spec start!() :: pid
  def start! do
    {:ok, recorder} = Agent.start_link(fn -> [] end)
    id = :"#{__MODULE__}.#{System.unique_integer([:positive])}"

    :ok = :telemetry.attach_many(id, Alumiini.Git.Telemetry.events(), &__MODULE__.event/4, recorder)

    # Elixir's filter drops reports of OTP's own processes before any handler sees them.
    %{filters: filters, level: level} = :logger.get_primary_config()
    :ok = :logger.set_primary_config(%{:logger.get_primary_config() | filters: [], level: :all})
    :ok = :logger.add_handler(id, __MODULE__, %{level: :all, config: %{recorder: recorder}})

    ExUnit.Callbacks.on_exit(fn ->
      :telemetry.detach(id)
      :logger.remove_handler(id)
      :logger.set_primary_config(%{:logger.get_primary_config() | filters: filters, level: level})
    end)

    recorder
  end

  @doc "Takes down a term in every way in which somebody might print it, or a text as it is."
  @spec note(pid, String.t(), term) :: term
  def note(recorder, place, term) do
    text = if is_binary(term), do: term, else: Enum.join(printed(term), "\n")
    Agent.update(recorder, &[{place, text} | &1])
    term
  end

  @doc "All regular files below a directory, and their names."
  @spec note_files(pid, Path.t()) :: [Path.t()]
  def note_files(recorder, directory) do
    {names, 0} = System.cmd("find", [directory, "-print0"])
    paths = String.split(names, <<0>>, trim: true)
    note(recorder, "the names of files", names)
    for path <- paths, File.regular?(path), do: note(recorder, path, File.read!(path))
    paths
  end

  @doc "What a process shows of itself."
  @spec note_process(pid, String.t(), pid) :: term
  def note_process(recorder, place, pid) do
    keys = [:messages, :dictionary, :backtrace, :current_stacktrace, :initial_call, :links]
    note(recorder, place, Process.info(pid, keys))
  end

  @doc "Every note so far about places that begin like this."
  @spec notes(pid, String.t()) :: [String.t()]
  def notes(recorder, place) do
    for {at, text} <- Agent.get(recorder, & &1), String.starts_with?(at, place), do: text
  end

  @doc """
  Where the secret was seen, and what of it. `secret` is made of letters and digits only, so it has
  no escaped form.
  """
  @spec places(pid, String.t()) :: [{String.t(), String.t()}]
  def places(recorder, secret) do
    forms = forms(secret)

    for {place, text} <- Agent.get(recorder, & &1),
        form <- forms,
        found = :binary.match(text, form),
        found != :nomatch,
        uniq: true do
      {at, length} = found
      from = max(0, at - 60)
      {place, inspect(binary_part(text, from, min(byte_size(text), at + length + 20) - from))}
    end
  end

  @doc """
  How a secret looks, also as a part of something longer: itself, as bytes, in hex, percent-encoded,
  in base64.
  """
  @spec forms(String.t()) :: [String.t()]
  def forms(secret) do
    bytes = :binary.bin_to_list(secret)
    hex = Base.encode16(secret)
    percent = for byte <- bytes, into: "", do: "%" <> Base.encode16(<<byte>>)

    # Three bytes become four characters, so a text has three forms within another one. The ends
    # depend on neighbours.
    base64 =
      for before <- 0..2 do
        encoded = Base.encode64(String.duplicate("x", before) <> secret, padding: false)
        first = Enum.at([0, 2, 3], before)
        binary_part(encoded, first, byte_size(encoded) - first - 2)
      end

    [secret, String.reverse(secret)] ++
      [hex, String.downcase(hex), percent, String.downcase(percent)] ++
      [Enum.join(bytes, ","), Enum.join(bytes, ", ")] ++
      base64 ++ Enum.map(base64, &(&1 |> String.replace("+", "-") |> String.replace("/", "_")))
  end

  @doc false
  def event(event, measurements, metadata, recorder) do
    overheard(fn -> note(recorder, "telemetry #{inspect(event)}", {measurements, metadata}) end)
  end

  @doc false
  def log(event, %{config: %{recorder: recorder}}) do
    overheard(fn ->
      note(recorder, "log", event)
      note(recorder, "log", event |> :logger_formatter.format(%{}) |> IO.chardata_to_string())
    end)
  end

  # The end of a test is noticed late by what it leaves behind.
  defp overheard(note) do
    note.()
  catch
    :exit, _the_recorder_is_gone -> :ok
  end

  defp printed(term) do
    message =
      case term do
        {:error, exception} when is_exception(exception) -> [Exception.message(exception)]
        exception when is_exception(exception) -> [Exception.message(exception)]
        _other -> []
      end

    all = [limit: :infinity, printable_limit: :infinity]

    message ++
      [inspect(term, all), inspect(term, [structs: false] ++ all)] ++
      for format <- ["~tp", "~w"], do: format |> :io_lib.format([term]) |> IO.chardata_to_string()
  end
end
