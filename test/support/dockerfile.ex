defmodule Alumiini.Git.Test.Dockerfile do
  @moduledoc """
  Runs a stage of a Dockerfile without Docker, in a directory that stands for the root of its image.

  What an image has and this machine has not (its packages, its Debian, a way to Hex) is for the
  caller to leave out.
  """

  defstruct [:root, :directory, env: %{}]

  @type instruction :: {String.t(), String.t()}
  @type t :: %__MODULE__{root: Path.t(), directory: Path.t(), env: %{String.t() => String.t()}}

  @doc "The instructions of the stage that begins with `from`, the first of which is its `FROM`."
  @spec stage!(String.t(), String.t()) :: [instruction]
  def stage!(text, from) do
    [first | rest] = text |> instructions() |> Enum.drop_while(&(&1 != {"FROM", from}))
    [first | Enum.take_while(rest, &(elem(&1, 0) != "FROM"))]
  end

  defp instructions(text) do
    text = Regex.replace(~r/^\s*#.*\n/m, text, "")

    for line <- text |> String.replace(~r/\\\n\s*/, "") |> String.split("\n", trim: true) do
      [name, arguments] = String.split(line, " ", parts: 2)
      {name, String.trim(arguments)}
    end
  end

  @doc """
  Runs instructions, and returns what the stage is then. `copy` says where `COPY` finds a file,
  given the stage that `--from` names or nil; `run` runs a shell command in a directory, with an
  environment, and returns its output and exit status.
  """
  @spec run!([instruction], Path.t(), (nil | String.t(), String.t() -> Path.t()), function) :: t
  def run!(instructions, root, copy, run) do
    File.mkdir_p!(root)
    Enum.reduce(instructions, %__MODULE__{root: root, directory: root}, &step!(&1, &2, copy, run))
  end

  defp step!({"FROM", _image}, stage, _copy, _run), do: stage

  defp step!({"WORKDIR", directory}, stage, _copy, _run) do
    directory = at(stage, directory)
    File.mkdir_p!(directory)
    %{stage | directory: directory}
  end

  defp step!({"ENV", pairs}, stage, _copy, _run) do
    pairs =
      for pair <- String.split(pairs),
          [name, value] = String.split(pair, "=", parts: 2),
          into: %{},
          do: {name, value}

    %{
      stage
      | env:
          Map.merge(stage.env, Map.new(pairs, fn {name, value} -> {name, inside(stage, value)} end))
    }
  end

  defp step!({"COPY", arguments}, stage, copy, _run) do
    {from, names} =
      case String.split(arguments) do
        ["--from=" <> from | names] -> {from, names}
        names -> {nil, names}
      end

    {names, [to]} = Enum.split(names, -1)
    for name <- names, do: copy!(copy.(from, name), name, at(stage, to), String.ends_with?(to, "/"))
    stage
  end

  defp step!({"RUN", command}, stage, _copy, run) do
    command = Regex.replace(~r{(?<= )/(?=\w)}, command, stage.root <> "/")

    case run.(command, stage.directory, stage.env) do
      {_output, 0} -> stage
      {output, status} -> raise "RUN #{command} ended with status #{status}: #{output}"
    end
  end

  # Of a directory it is what is in it that is copied, of a file the file; a slash at the end makes
  # its goal a directory.
  defp copy!(source, name, to, into?) do
    to = if into? and File.regular?(source), do: Path.join(to, Path.basename(name)), else: to
    File.mkdir_p!(Path.dirname(to))
    File.cp_r!(source, to)
  end

  defp at(stage, "/" <> path), do: Path.join(stage.root, path)
  defp at(stage, path), do: Path.expand(path, stage.directory)

  # A file of the image.
  defp inside(stage, "/" <> _path = value), do: at(stage, value)
  defp inside(_stage, value), do: value
end
