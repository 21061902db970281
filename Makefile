# Requires rustup and a C compiler, and Go and Python for the servers of the tests. Fetches and builds everything else.

.DEFAULT_GOAL := help
.PHONY: help build demo test drills test-plugins faults soak fuzz test-servers bench bench-scale bench-policy bench-copy bench-layout bench-verify image lint toolchain

# Build results are kept outside the checkout: servers and dependencies take minutes to build.
cache := $(or $(COPYCAT_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/k8s-copycat),$(HOME)/.cache/k8s-copycat)
export CARGO_TARGET_DIR ?= $(cache)/target
CARGO ?= cargo
IMAGE ?= k8s-copycat

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: toolchain ## build the release program
	$(CARGO) build --locked --release
	@echo "built $(CARGO_TARGET_DIR)/release/k8s-copycat"

demo: toolchain ## mirror a few generated images; needs no cluster and no registry
	$(CARGO) build --locked --workspace
	@"$(CARGO_TARGET_DIR)/debug/demo" "$(CARGO_TARGET_DIR)/debug/k8s-copycat" target/demo

test: toolchain ## run unit tests, and integration tests against a real API server and real registries
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" $(CARGO) test --locked --workspace -- --skip drills::

drills: toolchain ## chart in a real cluster, alerts and dashboard in a real Prometheus, page in a real Chromium; as root
	servers=$$(tests/servers/install --drills) && tests/drills/install-axe "$$servers" && COPYCAT_SERVERS="$$servers" \
		$(CARGO) test --locked --workspace --test integration -- drills:: --test-threads 2

test-plugins: toolchain ## build the example plugins in six languages and run their cases
	$(CARGO) build --locked --workspace
	tests/toolchains/test-plugins "$(CARGO_TARGET_DIR)/debug/k8s-copycat"

# 100 schedules for each seed, from FAULT_SEED on; a failure names its seed and schedule.
faults: export FAULT_SCHEDULES ?= 10000
faults: toolchain ## run 10,000 fault schedules, and kill the program during copies
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) test --locked --workspace --test integration -- faults:: --nocapture --test-threads 1

soak: export SOAK_MINUTES ?= 30
soak: toolchain ## create and delete workloads for half an hour while registries fail at random
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) test --locked --workspace --test integration -- soak:: --nocapture

# Needs a nightly toolchain, so it is separate from the other builds. The code is safe Rust and needs no sanitizer.
FUZZ_RUNS ?= 10000000
# Seconds for each input, memory for the process.
FUZZ_LIMITS = -timeout=20 -rss_limit_mb=256
fuzz: toolchain ## run ten million inputs through each parser of untrusted input
	@command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: $(CARGO) install cargo-fuzz" >&2; exit 1; }
	rustup target add --toolchain nightly wasm32-unknown-unknown
	for target in $$(ls fuzz/seeds); do \
		mkdir -p fuzz/corpus/$$target && \
		CARGO_TARGET_DIR="$(cache)/fuzz" $(CARGO) +nightly fuzz run --sanitizer none $$target \
			fuzz/corpus/$$target fuzz/seeds/$$target -- -runs=$(FUZZ_RUNS) $(FUZZ_LIMITS) || exit 1; \
	done

test-servers: ## build missing servers for the tests
	@tests/servers/install

bench: build ## measure the release program with a real API server and real registries
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --profile dev --bench cluster -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" --pods 10000

bench-scale: build ## measure the release program with 5,000 and 20,000 Deployments, and 40,000 workloads of one image
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --profile dev --bench cluster -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" --scale

bench-policy: toolchain ## measure decisions with plugins
	$(CARGO) bench --locked --workspace --bench policy

bench-copy: build ## measure copying, compared with crane, regctl and skopeo
	servers=$$(tests/servers/install --bench) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --bench copy -- "$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" $(ARGS)

bench-layout: build ## measure passes of 5,000 and 10,000 images to an OCI image layout
	$(CARGO) bench --locked --workspace --profile dev --bench layout -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" $(ARGS)

bench-verify: build ## measure the verification of 1,000 images
	servers=$$(tests/servers/install) && COPYCAT_SERVERS="$$servers" \
		$(CARGO) bench --locked --workspace --profile dev --bench verify -- \
		"$(abspath $(CARGO_TARGET_DIR))/release/k8s-copycat" $(ARGS)

bench-plugins: build ## measure size and speed of plugins in six languages
	tests/toolchains/test-plugins "$(CARGO_TARGET_DIR)/release/k8s-copycat" --bench

image: ## build the container image, with docker or buildah
	@commit=$$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null); \
	if command -v docker >/dev/null; then docker build --build-arg "K8S_COPYCAT_COMMIT=$$commit" --tag "$(IMAGE)" .; \
	elif command -v buildah >/dev/null; then buildah bud --build-arg "K8S_COPYCAT_COMMIT=$$commit" --tag "$(IMAGE)" .; \
	else echo "neither docker nor buildah is installed: apt-get install buildah" >&2; exit 1; fi

lint: toolchain ## check formatting, clippy, and cargo-deny if installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --no-default-features -- -D warnings  # as the container image is built
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) fetch --locked && $(CARGO) deny --offline check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: licences and sources of dependencies are not checked"; \
	fi

toolchain:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust with https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc libc6-dev" >&2; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown" || rustup target add wasm32-unknown-unknown
