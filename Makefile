# Rust and git must be there; `bin/setup`, which every target runs first, sees to the rest.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-follow test soak bench fuzz release-check cross-test

run := bin/in-env

# For `make demo`. What is not given is taken from the local sample.
export URL BRANCH DIR

# For `make fuzz`.
SECONDS ?= 600

# For `make bench`: some scenarios, rounds and sizes only, see bench/run.exs.
export ONLY ROUNDS SIZES

# For `make soak`.
export MINUTES KILLS SOAK_DIR

# For `make release-check`: some targets only, another directory.
export TARGETS WORK

help: ## this list
	@echo "make <target>"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is missing (every other target does that, too)
	@bin/setup

demo: setup ## see it at work, on a local sample or with URL=… BRANCH=… DIR=… on any repository
	@$(run) mix run test/support/demo/run.exs

demo-follow: setup ## see who wakes at a push to a monorepo, and how soon
	@$(run) mix run test/support/demo/run.exs follow

test: ## all checks and tests
	@bin/setup checks
	@$(run) sh bin/check

soak: setup ## the tests in their long form, then an hour (MINUTES=60) of 10,000 kills and a day's polls
	@ALUMIINI_SOAK=1 $(run) cargo test --quiet --locked --profile quick --features fault-injection --target-dir target/fault-injection
	@MIX_ENV=test $(run) mix test --include soak
	@MIX_ENV=prod $(run) mix run bench/soak.exs

bench: ## measure, beside the git command
	@bin/setup checks
	@MIX_ENV=prod $(run) mix run bench/run.exs

fuzz: setup ## feed each parser of what others choose with noise, for SECONDS=600 each
	@$(run) sh bin/fuzz $(SECONDS)

# For `make cross-test`: a target of Cross.toml, and which tests (all, unless parts of their names are given).
TARGET ?= aarch64-unknown-linux-gnu
TESTS ?=

cross-test: ## the worker's own tests as on another machine, TARGET=s390x-unknown-linux-gnu, in a container under QEMU
	@bin/cross-test $(TARGET) $(TESTS)

release-check: setup ## make a release here and install it as a user does, of TARGETS="…" (see bin/release/targets)
	@bin/release/check
