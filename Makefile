# Every command for users, developers and CI. The logic is in infra/.
SHELL := /bin/bash
.DEFAULT_GOAL := help

NATIVE := infra/native/stack
COMPOSE := infra/compose.sh
# auto: Docker Compose where an engine answers, else processes of this user. As
# with all settings, the environment wins over .env.
STACK ?= $(or $(shell sed -n 's/^STACK=//p' .env 2>/dev/null | tail -n 1),auto)
ifeq ($(STACK),auto)
RUN = $$(docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 && echo $(COMPOSE) || echo $(NATIVE))
else ifeq ($(STACK),compose)
RUN = $(COMPOSE)
else ifeq ($(STACK),native)
RUN = $(NATIVE)
else
$(error STACK is auto, compose or native)
endif

# Named points at which tests of faults kill a service.
INJECTION := --features worker/fault-injection,data-streams/fault-injection
# Tokens of Kafka need libcurl's headers.
ifeq ($(shell pkg-config --exists libcurl 2>/dev/null && echo yes),yes)
TOKENS := --features worker/oauthbearer,data-streams/oauthbearer,tests/oauthbearer
INJECTION += $(TOKENS)
endif
# OpenSSL's build takes two minutes of CPU time; where the system has its headers,
# they are used. Changing this variable rebuilds what depends on it.
ifeq ($(shell pkg-config --exists 'openssl >= 3' 2>/dev/null && echo yes),yes)
export OPENSSL_NO_VENDOR := 1
endif
TEST_THREADS := $(or $(RUST_TEST_THREADS),6)
WAITING := change_log,connections,limits,pace
DEBUG := $(or $(CARGO_TARGET_DIR),target)/debug

.PHONY: help
help: ## Shows this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: up
up: ## Builds and starts everything, begins the first sync, says where to look
	@$(RUN) up

.PHONY: down
down: ## Stops what up started; the data stays
	@$(RUN) down

.PHONY: clean-data
clean-data: ## Stops everything and removes the data
	@$(RUN) clean-data

.PHONY: status
status: ## Shows whether each process runs
	@$(RUN) status

.PHONY: logs
logs: ## Shows all logs and keeps following them
	@$(RUN) logs

.PHONY: test
test: ## Every test, over real servers on free ports (ONLY=name: those whose name contains it)
	@$(NATIVE) install
ifdef ONLY
	@set -o pipefail; RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace $(INJECTION) --bins --tests -- $(ONLY) \
		| tee /dev/stderr | { grep -q '^test .* ok$$' || { echo "no test passed with $(ONLY) in its name" >&2; exit 1; }; cat >/dev/null; }
else
	@$(NATIVE) python -c ''
	@$(NATIVE) install-sdk
	@# Tests enable further features of libraries. Binaries that are built without
	@# them would need all libraries a second time.
	cargo build --workspace --bins --tests $(INJECTION)
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace $(INJECTION) -- \
		--skip dashboard:: --skip worker_crashes::
	@# A browser takes the time of two scenarios from those beside it. So only what mostly
	@# waits runs beside it: one scenario, which would else be the last one for a minute, and
	@# some benchmarks. Each runs once, on little data: whether it works, not how fast it is.
	$(DEBUG)/bench --size tiny --runs 1 --only $(WAITING) & waiting=$$!; \
		cargo test --workspace $(INJECTION) --test scenarios -- dashboard:: worker_crashes:: && \
		$(DEBUG)/bench --size tiny --runs 1 --skip $(WAITING); others=$$?; \
		wait $$waiting && exit $$others
endif

.PHONY: test-fast
test-fast: ## Unit and property tests: needs no server
	cargo test --workspace $(INJECTION) --lib --bins

.PHONY: snapshots
snapshots: ## Generates the file that tests compare with: the OpenAPI document
	@# As test-fast builds it. Fails where the test has another name.
	UPDATE_SNAPSHOTS=1 cargo test --quiet --workspace $(INJECTION) --lib the_openapi_document \
		| tee /dev/stderr | grep '1 passed' >/dev/null

.PHONY: torture
torture: ## Random faults of all kinds, then checks (SEED=1 KILLS=40 MINUTES=8)
	@$(NATIVE) install
	cargo build --workspace --bins --tests $(INJECTION)
	$(DEBUG)/torture

.PHONY: check
check: ## Format, lints, docs, dependency policy, layering, chart, alerts
	cargo fmt --all --check
	@infra/check.sh
	cargo clippy --workspace --all-targets $(TOKENS) -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps $(TOKENS)

.PHONY: check-fast
check-fast: ## What an editor or a pre-commit hook runs: format, layering, types
	cargo fmt --all --check
	@infra/check.sh fast
	cargo check --quiet --workspace --all-targets

.PHONY: bench
bench: ## The benchmarks, as a table (ONLY=name,name RUNS=3 SIZE=tiny|default|full)
	@$(NATIVE) install
	cargo build --release -p worker -p data-streams -p hubspot-sim -p bench
	@cargo run --quiet --release -p bench
	@[ -n "$(ONLY)" ] || cargo bench --quiet -p schemas -p worker -p data-streams --benches

.PHONY: ci
ci: check test ## What CI runs

.PHONY: tools
tools: ## Installs what check uses beyond cargo
	@$(NATIVE) tool cargo-deny --version

.PHONY: sbom
sbom: ## Prints what is compiled into the services, as CycloneDX
	@$(or $(shell command -v python3.11),python3) infra/sbom.py

.PHONY: fix
fix: ## Formats and applies what clippy can
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all
