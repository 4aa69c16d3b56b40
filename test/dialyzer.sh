#!/bin/sh
# Runs OTP's own dialyzer over the compiled library, with nothing from Hex. `mix compile` comes first.
# The PLT of OTP and Elixir is built once for each pair of versions, into .plt/.
set -eu
cd "$(dirname "$0")/.."

build=_build/${MIX_ENV:-dev}/lib
[ -d "$build/alumiini_git/ebin" ] || { echo "nothing is compiled in $build; run mix compile first" >&2; exit 1; }

versions=$(elixir -e 'IO.write("#{System.version()}-otp#{System.otp_release()}")')
elixir_lib=$(elixir -e 'IO.write(Path.expand("../..", Application.app_dir(:elixir, "ebin")))')
plt=.plt/$versions-tls.plt
mkdir -p .plt

# Elixir's debug information is read by Elixir's own code.
run() { dialyzer -pa "$elixir_lib/elixir/ebin" "$@"; }

# Makes a PLT. What dialyzer thinks of other people's code (exit status 2) is not of interest here.
make_plt() {
  out=$1
  shift
  run "$@" --output_plt "$out.new" >"$out.log" 2>&1 || [ $? -eq 2 ] || {
    tail -n 20 "$out.log" >&2
    exit 1
  }
  mv "$out.new" "$out"
}

if [ ! -f "$plt" ]; then
  echo "Building $plt (once)"
  make_plt "$plt" --build_plt --apps erts kernel stdlib crypto compiler inets public_key ssl \
    -r "$elixir_lib/elixir/ebin" "$elixir_lib/logger/ebin" "$elixir_lib/mix/ebin"
fi

# The dependencies change with their versions; they are few, so their PLT is made anew each time.
deps=.plt/deps-$versions.plt
make_plt "$deps" --add_to_plt --plt "$plt" \
  -r "$build/msgpax/ebin" "$build/telemetry/ebin" "$build/jason/ebin" "$build/plug/ebin" "$build/telemetry_metrics/ebin"

run --plt "$deps" -Wunmatched_returns -Wextra_return -Wmissing_return -Wunknown -r "$build/alumiini_git/ebin"
