defmodule Alumiini.Git.Precompiled.Download do
  @moduledoc false

  # Downloads a file, with what OTP has. What fails for a while is tried again, from where it ended
  # if the server can do that. What comes is not to be trusted before its checksum has been held
  # against the package's.

  alias Alumiini.Git.Precompiled.{Http, Messages}
  alias Alumiini.Git.RedactedUrl

  @type options :: %{
          required(:environment) => %{optional(String.t()) => String.t()},
          optional(:authorities) => [binary] | nil,
          # Plain HTTP is allowed, where the first URL has it.
          optional(:plain_http) => boolean,
          optional(:attempts) => pos_integer,
          # Milliseconds: the first pause, which doubles each time; to connect; without a byte; for
          # all attempts.
          optional(:backoff) => non_neg_integer,
          optional(:connect_timeout) => timeout,
          optional(:stall_timeout) => timeout,
          optional(:deadline) => pos_integer,
          optional(:max_bytes) => pos_integer,
          optional(:progress) =>
            (received :: non_neg_integer, total :: non_neg_integer | nil -> any)
        }

  @defaults %{
    authorities: [],
    plain_http: false,
    attempts: 5,
    backoff: 500,
    connect_timeout: 15_000,
    stall_timeout: 30_000,
    deadline: 15 * 60_000,
    # An archive has 3 MiB.
    max_bytes: 64 * 1024 * 1024
  }

  @redirects 5
  @longest_pause 20_000

  @doc """
  Downloads `url` to `path`, which must not exist. Says whether it came in several parts. Whoever
  calls removes the file after an error.
  """
  @spec run(String.t(), Path.t(), options) :: {:ok, :whole | :resumed} | {:error, String.t()}
  def run(url, path, options) do
    options =
      @defaults |> Map.merge(%{progress: fn _received, _total -> :ok end}) |> Map.merge(options)

    uri = URI.parse(url)

    with :ok <- acceptable(uri, uri, options),
         :ok <- Http.start() do
      # Messages of a request that was given up arrive nowhere once its process is gone.
      fn -> attempts(uri, path, options) end |> Task.async() |> Task.await(:infinity)
    end
  end

  defp attempts(uri, path, options) do
    case File.open(path, [:raw, :binary, :write, :exclusive]) do
      {:ok, file} ->
        until = now() + options.deadline

        state = %{
          file: file,
          etag: nil,
          resumed: :whole,
          path: path,
          until: until,
          options: options
        }

        try do
          attempt(uri, state, 1)
        after
          _ = File.close(file)
        end

      {:error, reason} ->
        {:error, cannot_write(path, reason)}
    end
  end

  defp attempt(uri, state, number) do
    case request(uri, state, @redirects) do
      {:ok, state} ->
        {:ok, state.resumed}

      {:again, reason, pause, state} ->
        pause = pause || pause(number, state.options)

        if number < state.options.attempts and now() + pause < state.until do
          receive after: (pause -> :ok)
          attempt(uri, state, number + 1)
        else
          {:error, reason <> tries(number)}
        end

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp tries(1), do: ""
  defp tries(number), do: " (tried #{number} times)"

  # Half of it by chance, so that the machines of a CI do not come back all at once.
  defp pause(_number, %{backoff: 0}), do: 0

  defp pause(number, %{backoff: backoff}) do
    longest = min(backoff * Integer.pow(2, number - 1), @longest_pause)
    div(longest, 2) + :rand.uniform(div(longest, 2) + 1) - 1
  end

  defp request(uri, state, redirects) do
    {:ok, have} = :file.position(state.file, :eof)
    shown = shown(uri)
    deadline = min(now() + state.options.stall_timeout, state.until)

    case Http.get(uri, range(have, state.etag), state.options) do
      {:ok, request} ->
        answer(Http.next(request, deadline), request, {uri, shown, have, redirects}, state)

      {:error, reason} ->
        {:error, reason}
    end
  end

  defp range(0, _etag), do: []
  defp range(have, nil), do: [{"range", "bytes=#{have}-"}]
  # If it is not the same file any more, the server sends it from the start.
  defp range(have, etag), do: [{"range", "bytes=#{have}-"}, {"if-range", etag}]

  defp answer({:start, headers, request}, _request, {uri, shown, have, _redirects}, state) do
    case place(headers, have, state.options.max_bytes) do
      {:ok, from, total} ->
        {:ok, ^from} = :file.position(state.file, from)
        :ok = :file.truncate(state.file)
        state = if from > 0, do: %{state | resumed: :resumed}, else: state
        body(request, {uri, shown, from, total}, %{state | etag: etag(headers)})

      {:error, why} ->
        Http.cancel(request)
        {:error, "#{shown} #{why}"}
    end
  end

  # The part that we have does not fit: from the start.
  defp answer({:status, 416, _headers}, _request, {_uri, shown, have, _redirects}, state)
       when have > 0 do
    {:ok, 0} = :file.position(state.file, 0)
    :ok = :file.truncate(state.file)
    {:again, "#{shown} answers with status 416", 0, %{state | etag: nil}}
  end

  defp answer({:status, status, headers}, _request, {uri, shown, _have, redirects}, state)
       when status in [301, 302, 303, 307, 308] do
    with location when location != nil <- headers["location"],
         {:ok, location} <- URI.new(location),
         to = URI.merge(uri, location),
         :ok <- acceptable(to, uri, state.options) do
      if redirects > 0,
        do: request(same_credentials(to, uri), state, redirects - 1),
        else: {:error, "#{shown} redirects too often"}
    else
      {:error, reason} when is_binary(reason) ->
        {:error, "#{shown} redirects to where one must not follow: #{reason}"}

      _no_url ->
        {:error, "#{shown} redirects to nowhere (status #{status} without a location)"}
    end
  end

  defp answer({:status, status, headers}, _request, {_uri, shown, _have, _redirects}, state) do
    reason = Messages.status(shown, status, headers)

    if status in [408, 425, 429] or status >= 500,
      do: {:again, reason, retry_after(headers, state.options), state},
      else: {:error, reason}
  end

  defp answer({:failed, failure}, _request, {_uri, shown, _have, _redirects}, state) do
    reason = "#{shown} #{Messages.failure(failure, state.options)}"
    if Messages.lasting?(failure), do: {:error, reason}, else: {:again, reason, nil, state}
  end

  defp body(request, {uri, shown, received, total} = at, state) do
    state.options.progress.(received, total)
    deadline = min(now() + state.options.stall_timeout, state.until)

    case Http.next(request, deadline) do
      {:data, bytes, request} ->
        received = received + byte_size(bytes)

        with {:bound, true} <- {:bound, received <= state.options.max_bytes},
             :ok <- :file.write(state.file, bytes) do
          body(request, {uri, shown, received, total}, state)
        else
          {:bound, false} ->
            Http.cancel(request)

            {:error,
             "#{shown} sends more than #{mebibytes(state.options.max_bytes)}, too much for a " <>
               "worker"}

          {:error, reason} ->
            Http.cancel(request)
            {:error, cannot_write(state.path, reason)}
        end

      :finished when total in [nil, received] ->
        {:ok, state}

      :finished ->
        {:again, "#{shown} ended after #{received} of #{total} bytes", nil, state}

      {:failed, _failure} = failed ->
        answer(failed, request, {uri, shown, elem(at, 2), 0}, state)
    end
  end

  # Where the body belongs: at the start, or behind what is there.
  defp place(headers, have, max_bytes) do
    length = integer(headers["content-length"])

    case headers["content-range"] &&
           Regex.run(~r{\Abytes (\d+)-\d+/(\d+|\*)\z}, headers["content-range"]) do
      [_all, from, total] ->
        if String.to_integer(from) == have,
          do: bounded(have, integer(total) || (length && have + length), max_bytes),
          else: {:error, "sends another part than was asked for"}

      _no_range ->
        if String.starts_with?(String.downcase(headers["content-type"] || ""), "text/html"),
          do:
            {:error,
             "answers with a web page where an archive was expected; is there a login page or " <>
               "a proxy in between?"},
          else: bounded(0, length, max_bytes)
    end
  end

  defp bounded(_from, total, max_bytes) when is_integer(total) and total > max_bytes,
    do: {:error, "has #{total} bytes, more than #{mebibytes(max_bytes)}, too much for a worker"}

  defp bounded(from, total, _max_bytes), do: {:ok, from, total}

  # A weak one does not say that the bytes are the same.
  defp etag(%{"etag" => "\"" <> _ = etag}), do: etag
  defp etag(_headers), do: nil

  defp retry_after(headers, %{backoff: backoff}) do
    seconds = integer(headers["retry-after"])
    if seconds && seconds > 0 && backoff > 0, do: min(seconds * 1000, @longest_pause)
  end

  defp acceptable(%URI{scheme: "https", host: host}, _from, _options) when host not in [nil, ""],
    do: :ok

  defp acceptable(%URI{scheme: "http", host: host} = uri, from, options)
       when host not in [nil, ""] do
    cond do
      not options.plain_http ->
        {:error,
         "#{shown(uri)} is plain HTTP; use https://, or allow it with ALUMIINI_GIT_ALLOW_HTTP=1"}

      from.scheme == "https" ->
        {:error, "#{shown(uri)} is plain HTTP, where the way so far was encrypted"}

      true ->
        :ok
    end
  end

  defp acceptable(uri, _from, _options),
    do: {:error, "#{inspect(shown(uri))} is not an https:// URL"}

  # Never to another host, and never those that a redirect names.
  defp same_credentials(to, from) do
    same? = {to.scheme, to.host, to.port} == {from.scheme, from.host, from.port}
    %{to | userinfo: if(same?, do: from.userinfo), authority: nil}
  end

  @doc """
  A URL as it may be shown and recorded: a query may hold a signature, and the rest credentials.
  """
  @spec shown(URI.t()) :: String.t()
  # Without a host it is no URL, and its scheme all that can be shown.
  def shown(%URI{host: host} = uri) when host in [nil, ""], do: RedactedUrl.clean("#{uri.scheme}:")
  def shown(uri), do: %{uri | authority: nil} |> URI.to_string() |> RedactedUrl.clean()

  @doc "What is said when a file cannot be written."
  @spec cannot_write(Path.t(), File.posix()) :: String.t()
  def cannot_write(path, reason) do
    "#{Path.dirname(path)} cannot be written to: #{:file.format_error(reason)}"
  end

  defp mebibytes(bytes), do: "#{Float.round(bytes / 1024 / 1024, 1)} MiB"

  defp integer(nil), do: nil

  defp integer(text) do
    case Integer.parse(text) do
      {number, ""} when number >= 0 -> number
      _other -> nil
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
