defmodule Alumiini.Git.Test.GitCommand do
  @moduledoc "The `git` command, the oracle of the tests, out of reach of anybody's configuration."

  # Ids of fixture commits depend on these, so that they are the same on every run.
  @identity [
    {"GIT_AUTHOR_NAME", "Fixture Author"},
    {"GIT_AUTHOR_EMAIL", "author@example.com"},
    {"GIT_AUTHOR_DATE", "1700000000 +0200"},
    {"GIT_COMMITTER_NAME", "Fixture Committer"},
    {"GIT_COMMITTER_EMAIL", "committer@example.com"},
    {"GIT_COMMITTER_DATE", "1700000000 +0000"}
  ]

  @isolation [
    {"GIT_CONFIG_NOSYSTEM", "1"},
    {"GIT_CONFIG_GLOBAL", "/dev/null"},
    {"GIT_TERMINAL_PROMPT", "0"},
    {"GIT_ADVICE", "0"},
    {"HOME", "/nonexistent"},
    {"XDG_CONFIG_HOME", nil},
    {"LC_ALL", "C.UTF-8"},
    {"http_proxy", nil},
    {"https_proxy", nil},
    {"HTTPS_PROXY", nil},
    {"ALL_PROXY", nil},
    {"all_proxy", nil}
  ]

  @type options :: [
          cd: Path.t(),
          config: [{String.t(), String.t()}],
          env: [{String.t(), String.t() | nil}]
        ]

  @doc "Runs git and returns `{output, status}`; standard error is part of the output."
  @spec run([String.t()], options) :: {binary, non_neg_integer}
  def run(args, options \\ []) do
    env =
      environment() ++
        config([{"safe.directory", "*"} | options[:config] || []]) ++ (options[:env] || [])

    System.cmd("git", args, [env: env, stderr_to_stdout: true] ++ Keyword.take(options, [:cd]))
  end

  @doc "Runs git and returns its output; raises where it fails."
  @spec run!([String.t()], options) :: binary
  def run!(args, options \\ []) do
    case run(args, options) do
      {output, 0} -> output
      {output, status} -> raise "git #{Enum.join(args, " ")} ended with #{status}: #{output}"
    end
  end

  @doc """
  Runs git with `input` on its standard input, and returns what it printed by the time that `done?`
  says so.

  For programs that answer each line or know an end of their own: a port cannot close standard input
  alone.
  """
  @spec converse!([String.t()], iodata, (binary -> boolean), options) :: binary
  def converse!(args, input, done?, options \\ []) do
    env = environment() ++ config([{"safe.directory", "*"} | options[:config] || []])

    port =
      Port.open(
        {:spawn_executable, System.find_executable("git")},
        [:binary, :exit_status, :use_stdio, args: args, env: charlists(env)] ++
          Keyword.take(options, [:cd])
      )

    Port.command(port, input)
    output = collect(port, [], done?, args)
    close(port)
    output
  end

  # `done?` sees the newest piece only, so that a large output is not copied again and again.
  defp collect(port, pieces, done?, args) do
    receive do
      {^port, {:data, data}} ->
        pieces = [pieces | data]
        if done?.(data), do: IO.iodata_to_binary(pieces), else: collect(port, pieces, done?, args)

      {^port, {:exit_status, 0}} ->
        IO.iodata_to_binary(pieces)

      {^port, {:exit_status, status}} ->
        raise "git #{Enum.join(args, " ")} ended with #{status}: #{IO.iodata_to_binary(pieces)}"
    end
  end

  defp close(port) do
    Port.close(port)
  rescue
    ArgumentError -> true
  after
    receive do
      {^port, {:exit_status, _}} -> :ok
    after
      0 -> :ok
    end
  end

  @doc "The directory of git's own programs."
  @spec exec_path() :: Path.t()
  def exec_path, do: ["--exec-path"] |> run!() |> String.trim()

  @doc """
  An environment in which git does the same everywhere: nothing of the user's, fixed names and
  dates.
  """
  @spec environment() :: [{String.t(), String.t() | nil}]
  def environment do
    inherited = for {"GIT_" <> _ = name, _} <- System.get_env(), do: {name, nil}
    inherited ++ @isolation ++ @identity
  end

  @doc "Configuration as environment variables, which takes precedence over any file."
  @spec config([{String.t(), String.t()}]) :: [{String.t(), String.t()}]
  def config(pairs) do
    entries =
      for {{key, value}, n} <- Enum.with_index(pairs) do
        [{"GIT_CONFIG_KEY_#{n}", key}, {"GIT_CONFIG_VALUE_#{n}", value}]
      end

    [{"GIT_CONFIG_COUNT", Integer.to_string(length(pairs))} | List.flatten(entries)]
  end

  @doc "For `Port.open/2`. The last of several values counts."
  @spec charlists([{String.t(), String.t() | nil}]) :: [{charlist, charlist | false}]
  def charlists(env) do
    for {name, value} <- Map.new(env) do
      {String.to_charlist(name), if(value, do: String.to_charlist(value), else: false)}
    end
  end
end
