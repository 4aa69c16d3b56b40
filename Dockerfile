# An image of an application that uses alumiini_git, from this repository: docker build --tag follower .
# Then: docker run --rm --env GIT_URL=https://git.example.com/shop.git --volume shop:/data follower
#
# It is an example to copy from. With the package from Hex, the first stage is not needed, and guides/installation.md has the second
# one: there, `mix deps.compile` downloads the worker and verifies it. All stages are of one Debian: a program runs with the libc it
# was built on, or a later one.

# 1. The worker. Rust and a C compiler are needed here, and in no other stage.
FROM rust:1.95-slim-bookworm AS worker
# Debian keeps no older versions: one that is pinned could not be installed after the next update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY native/alumiini-git native/alumiini-git
RUN cargo build --locked --release --package alumiini-git

# 2. The application, as a release: its code, that of its dependencies, the worker and the BEAM, in one directory.
FROM elixir:1.18-otp-27-slim AS application
RUN grep --quiet bookworm /etc/os-release || { echo "this image is of another Debian than the other stages'"; exit 1; }
RUN mix local.hex --force && mix local.rebar --force
ENV MIX_ENV=prod
# The worker of the first stage is copied, and nothing is built or downloaded.
COPY --from=worker /build/target/release/alumiini-git /worker/alumiini-git
ENV ALUMIINI_GIT_PATH=/worker/alumiini-git
WORKDIR /build
COPY mix.exs ./
COPY lib lib
# Dependencies before the application, which changes more often.
COPY examples/follower/mix.exs examples/follower/
WORKDIR /build/examples/follower
RUN mix deps.get --only prod && mix deps.compile
COPY examples/follower/lib lib
RUN mix release --path /app

# 3. What runs: the release, the libraries that the BEAM needs, and the certificate authorities that HTTPS remotes are held against.
# There is no git in it, and no Rust; the worker needs neither.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates libncurses6 libssl3 libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
# Repositories lie in a volume. Nothing else need be written to: the image may run with --read-only and --tmpfs /tmp.
RUN useradd --uid 10001 --no-create-home app \
 && mkdir /data \
 && chown app: /data
COPY --from=application /app /app
USER 10001
VOLUME /data
# File names in repositories are UTF-8.
ENV LANG=C.UTF-8 RELEASE_TMP=/tmp RELEASE_DISTRIBUTION=none HOME=/tmp
# The BEAM is the first process, so that it gets the signals, and stops the worker before it ends.
CMD ["/app/bin/follower", "start"]
