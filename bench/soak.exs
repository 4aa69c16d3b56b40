# The last part of `make soak`: what a node does in a day and more, in MINUTES=60.
#
#   MINUTES=60      how long
#   KILLS=10000     how many workers are killed meanwhile
#   SOAK_DIR=…      where everything is; bench/out unless said
#
# A whole hour writes its figures to bench/results, a shorter one to bench/out alone. It fails where
# anything was not as it should be.

support =
  ~w(directory fast_import free_port git_command http_server http_server/* leftovers oracle) ++
    ~w(hostile_packs os_process repository)

files =
  Enum.flat_map(support, &Path.wildcard("test/support/#{&1}.ex")) ++
    Enum.flat_map(~w(json machine format svg terminal result statistics), &["bench/#{&1}.ex"]) ++
    Path.wildcard("bench/soak/*.ex")

{:ok, _modules, _warnings} = Kernel.ParallelCompiler.compile(files)

number = fn name, default ->
  case Float.parse(System.get_env(name, default)) do
    {number, ""} when number > 0 -> if trunc(number) == number, do: trunc(number), else: number
    _other -> Mix.raise("#{name} is a number, and more than 0")
  end
end

[out, results] = ["bench/out", "bench/results"]
minutes = number.("MINUTES", "60")
dir = Path.expand(Path.join(System.get_env("SOAK_DIR", out), "soak-#{System.pid()}"))
to = if minutes >= 60 and Mix.env() == :prod, do: [out, results], else: [out]

case Alumiini.Git.Bench.Soak.Run.run(minutes, number.("KILLS", "10000"), dir, to) do
  [] -> :ok
  wrong -> Mix.raise("#{length(wrong)} things were not as they should be")
end
