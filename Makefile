# The front door. `make run` starts Alcove, `make test` tests it; the rest is for those who work on it.
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:/usr/sbin:/sbin:$(PATH)

TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
STATIC := $(TARGET)/static
PARTS := $(STATIC)/x86_64-unknown-linux-gnu/inside
CACHE := $(CURDIR)/.cache
ALCOVE := $(TARGET)/release/alcove
TEST_IMAGES := $(CACHE)/test-images

# Tests with real sandboxes, by name. With the whole workspace around them they need no crate built a second time, as they would
# alone, with fewer features.
E2E_TESTS := $(sort $(notdir $(basename $(wildcard e2e/tests/*))))
HOST_TESTS := $(foreach test,$(filter-out server,$(E2E_TESTS)),--test $(test))
# Those of the crates. One with the name of a program above would be run with that.
CRATE_TESTS := $(sort $(basename $(notdir $(wildcard crates/*/tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard crates/*/tests/*/main.rs))))
UNIT_TESTS := $(foreach test,$(filter-out $(E2E_TESTS),$(CRATE_TESTS)),--test $(test))

.PHONY: setup parts probe build images run test unit fuzz e2e conformance guest check deny
.PHONY: test-parts test-images test-clients client-programs units storms servers hosts clients

setup:
	@scripts/setup.sh

# Static programs have a target folder of their own: their flags differ, and features unify over one build.
parts: setup
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile inside \
	  --target x86_64-unknown-linux-gnu --target-dir $(STATIC) -p alcove-agent -p alcove-spawner

# What the isolation tests run inside of sandboxes.
probe: setup
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile inside \
	  --target x86_64-unknown-linux-gnu --target-dir $(STATIC) -p alcove-probe

build: parts
	ALCOVE_PARTS_DIR=$(PARTS) cargo build --locked --release -p alcove

images: build
	@ALCOVE_BIN=$(ALCOVE) images/build.sh --cached $(CACHE) default

run: build
	@archive=$$(ALCOVE_BIN=$(ALCOVE) images/build.sh --cached $(CACHE) default) && \
	  { $(ALCOVE) tls install --ask || true; } && exec $(ALCOVE) serve --check --default-image "$$archive"

# Most tests wait more than they compute, and each has a server, a runner or a database of its own: what was made ready first runs
# side by side, and is shown when it has ended. What is built is built once, with one choice of features.
test: setup
	$(MAKE) --no-print-directory --jobs=3 test-images client-programs
	$(MAKE) --no-print-directory --keep-going --jobs=5 --output-sync=target units storms servers hosts clients

unit: test-parts
	$(MAKE) --no-print-directory units

units:
	$(REAL) --lib --bins $(UNIT_TESTS)

# Each target for so many seconds: those of fuzz/ with libFuzzer, those of the agent by its own tests.
FUZZ_SECONDS ?= 60
fuzz: setup
	set -e; for target in $$(ls fuzz/corpus); do fuzz/run.sh $$target $(FUZZ_SECONDS); done
	ALCOVE_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test --locked -p alcove-agent --lib -- random

# The server as whole-system tests use it. Built beside the tests, since what is built alone has fewer features, and then all
# that it is made of is compiled a second time.
DEBUG_SERVER := ALCOVE_PARTS_DIR=$(PARTS) cargo build --locked --workspace --bins --tests

test-parts: parts probe
	$(DEBUG_SERVER)

# Mostly waits for what it fetches, and so goes well with a build.
client-programs: setup
	conformance/run.sh prepare

test-images: test-parts
	mkdir -p $(TEST_IMAGES)
	archive=$$(ALCOVE_BIN=$(TARGET)/debug/alcove images/build.sh --cached $(CACHE) busybox) && \
	  cp "$$archive" $(TEST_IMAGES)/busybox.oci.tar

test-clients: test-parts client-programs
	ALCOVE_BIN=$(TARGET)/debug/alcove images/build.sh --cached $(CACHE) default

REAL := ALCOVE_PARTS_DIR=$(PARTS) ALCOVE_IMAGES_DIR=$(TEST_IMAGES) ALCOVE_BIN=$(TARGET)/debug/alcove \
  cargo test --locked --no-fail-fast --workspace

# Real sandboxes; needs root.
e2e: test-images
	$(MAKE) --no-print-directory --keep-going hosts servers storms

# The runner alone, and the programs of the command line.
hosts:
	$(REAL) $(HOST_TESTS) -- --test-threads=1

# Whole servers.
servers:
	$(REAL) --test server -- --test-threads=1 --skip storm::

# Kills at any moment.
storms:
	$(REAL) --test server -- --test-threads=1 storm::

# The official clients against a fresh server; needs root. The same debug build as for e2e.
conformance: test-clients
	$(MAKE) --no-print-directory clients

clients:
	export ALCOVE_BIN=$(TARGET)/debug/alcove && \
	  busybox=$$(images/build.sh --cached $(CACHE) busybox) && \
	  default=$$(images/build.sh --cached $(CACHE) default) && \
	  ALCOVE_DEFAULT_IMAGE=$$busybox conformance/with-server.test.sh && \
	  ALCOVE_DEFAULT_IMAGE=$$default conformance/run.sh

# The same programs, and the runner's own, in a virtual machine: Debian's kernel 6.1, control groups of version 2.
# Needs root and some 20 minutes of two cores. `make guest ONLY=word` runs the tests with that word in their names.
guest: parts probe
	ALCOVE_PARTS_DIR=$(PARTS) cargo build --locked -p alcove
	mkdir -p $(TEST_IMAGES)
	archive=$$(ALCOVE_BIN=$(TARGET)/debug/alcove images/build.sh --cached $(CACHE) busybox) && \
	  cp "$$archive" $(TEST_IMAGES)/busybox.oci.tar
	programs=$$(cargo test --locked -p alcove-e2e -p alcove-runner --no-run --message-format=json | \
	  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p') && \
	  ALCOVE_PARTS_DIR=$(PARTS) ALCOVE_IMAGES_DIR=$(TEST_IMAGES) ALCOVE_BIN=$(TARGET)/debug/alcove \
	  ALCOVE_GUEST_CACHE=$(CACHE)/guest e2e/guest/run.sh $(if $(ONLY),-k $(ONLY)) $$programs

check: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo xtask layers
	cargo xtask files
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml > /dev/null

# Licences, second versions and banned crates; needs cargo-deny.
deny:
	cargo deny check bans licenses sources
