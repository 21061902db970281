# Needs rustup, a C compiler, and Go and Python for the tests' servers; fetches and builds all else by itself.

.DEFAULT_GOAL := help
.PHONY: help build demo test test-plugins faults soak fuzz test-servers bench bench-scale bench-policy bench-copy bench-layout image lint toolchain

# What was built outlives the checkout: the servers take minutes, and so do the dependencies.
cache := $(or $(COPYCAT_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/k8s-copycat),$(HOME)/.cache/k8s-copycat)
export CARGO_TARGET_DIR ?= $(cache)/target
CARGO ?= cargo
IMAGE ?= k8s-copycat

help: ## say what can be made
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: toolchain ## the program, for release
	$(CARGO) build --locked --release
	@echo "built $(CARGO_TARGET_DIR)/release/k8s-copycat"

demo: toolchain ## see images being mirrored; needs no cluster and no registry
	$(CARGO) build --locked --workspace
	@"$(CARGO_TARGET_DIR)/debug/demo" "$(CARGO_TARGET_DIR)/debug/k8s-copycat" target/demo

test: toolchain ## unit tests, and tests against a real API server and real registries
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" $(CARGO) test --locked --workspace

test-plugins: toolchain ## build the example plugins in six languages, and put them to their cases
	$(CARGO) build --locked --workspace
	tests/toolchains/test-plugins "$(CARGO_TARGET_DIR)/debug/k8s-copycat"

# 100 of each seed, from FAULT_SEED on; a failure names its seed and its schedule.
faults: export FAULT_SCHEDULES ?= 10000
faults: toolchain ## thousands of schedules of faults, and kills in mid-copy
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) test --locked --workspace --test integration -- faults:: --nocapture --test-threads 1

soak: export SOAK_MINUTES ?= 30
soak: toolchain ## half an hour of workloads that come and go while registries fail at random
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) test --locked --workspace --test integration -- soak:: --nocapture

# Of a nightly toolchain, and so not among what is built otherwise. The code is safe Rust: no sanitizer is needed.
FUZZ_RUNS ?= 10000000
# Seconds for one input, and memory for the whole process.
FUZZ_LIMITS = -timeout=20 -rss_limit_mb=256
fuzz: toolchain ## ten million inputs for each thing that reads what a stranger sends
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: $(CARGO) install cargo-fuzz" >&2; exit 1; }
	rustup target add --toolchain nightly wasm32-unknown-unknown
	for target in $$(ls fuzz/seeds); do \
		mkdir -p fuzz/corpus/$$target && \
		CARGO_TARGET_DIR="$(cache)/fuzz" $(CARGO) +nightly fuzz run --sanitizer none $$target \
			fuzz/corpus/$$target fuzz/seeds/$$target -- -runs=$(FUZZ_RUNS) $(FUZZ_LIMITS) || exit 1; \
	done

test-servers: ## build the servers that the tests need, where they are missing
	@tests/servers/install

bench: build ## what the release program costs beside a real API server and real registries
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --profile dev --bench cluster -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" --pods 10000

bench-scale: build ## what the release program costs with 5,000 and 20,000 Deployments, and with 40,000 workloads of one image
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --profile dev --bench cluster -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" --scale

bench-policy: toolchain ## what deciding with plugins costs
	$(CARGO) bench --locked --workspace --bench policy

bench-copy: build ## what copying with the release program costs, beside crane, regctl and skopeo
	servers=$$(tests/servers/install --bench) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --bench copy -- "$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" $(ARGS)

bench-layout: build ## what a pass of 5,000 and of 10,000 images into an image layout costs
	$(CARGO) bench --locked --workspace --profile dev --bench layout -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" $(ARGS)

bench-plugins: build ## what plugins in six languages weigh, and how long they take
	tests/toolchains/test-plugins "$(CARGO_TARGET_DIR)/release/k8s-copycat" --bench

image: ## the container image, with docker or buildah
	@if command -v docker >/dev/null; then docker build --tag "$(IMAGE)" .; \
	elif command -v buildah >/dev/null; then buildah bud --tag "$(IMAGE)" .; \
	else echo "neither docker nor buildah is installed: apt-get install buildah" >&2; exit 1; fi

lint: toolchain ## formatting, clippy, and cargo-deny where that is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) fetch --locked && $(CARGO) deny --offline check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: licences and sources of dependencies are not checked"; \
	fi

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust with https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc libc6-dev" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" || rustup target add wasm32-unknown-unknown
