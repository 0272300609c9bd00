# Everything a person does with Sluice, by one word. `make help` lists the words.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
UV_VERSION := 0.13.8
SEEDS ?= 1
# These tests wait for brokers, registries and time-outs half of their time: two files at a time, each with a stack.
TWO ?= -n 2 --dist loadfile --no-loadscope-reorder
FAST = $(BIN)/python -m pytest -q -n auto $(wildcard tests/unit tests/contract)
ARGS ?=

# Each of the hundreds of processes that tests start would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## Make .venv from the lock file (again only when the lock changes)

# pip checks every file against the hashes of the lock; the project itself is put in as a link, from this folder.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1 | tail -n 1), but Sluice needs Python 3.11 or newer."; \
	  echo "      Install one and name it: make PYTHON=python3.12 $(or $(MAKECMDGOALS),venv)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make a virtual environment: its modules venv and ensurepip are missing."; \
	  echo "      Install them (Debian and Ubuntu: apt install python3-venv) and run make again."; exit 1; }
	@echo "Making .venv from requirements.lock (first time: about 170 MB of wheels)"
	@rm -rf .venv build/*.egg-info
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock --quiet --progress-bar on
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --quiet --editable .
	@touch $(STAMP)

.PHONY: lint
lint: venv ## Format, lint and types of the code as it is
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: check
check: lint ## The fast gate: format, lint, types, and the tests that need no broker
	$(FAST)

.PHONY: tools
tools: ## Find, or as root on Debian install, the programs that only tests need
	@tests/tools.sh

.PHONY: warm
warm: venv ## Run the stack once to keep what its JVMs load: from then on they start in half the time
	$(BIN)/python -m ops.stack.train

# Types take one core, and so does most of a stack's start.
.PHONY: test
test: tools venv ## Every test, on a real broker and a real registry that it starts itself
	@$(MAKE) --no-print-directory -j2 lint warm
	$(FAST)
	$(BIN)/python -m pytest -q $(TWO) tests --ignore tests/unit --ignore tests/contract $(ARGS)

.PHONY: demo
demo: venv ## Run it all: broker, registry, worker and two real traces; Ctrl-C stops it, the next run goes on
	@$(BIN)/sluice demo $(ARGS)

.PHONY: faults
faults: venv ## Kill, pause and restart workers and the broker under load, count again (SEEDS=n for more runs)
	$(BIN)/python -m tests.faults --seeds $(SEEDS) $(ARGS)

.PHONY: bench
bench: venv ## Measure speed side by side with other frameworks; writes build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: generate
generate: venv ## Write again what is generated from avro/, routes, topics and rules
	$(BIN)/python -m ops.generate_events
	$(BIN)/python -m ops.reference
	$(BIN)/python -m ops.generate_metrics
	$(BIN)/python -m ops.dashboards
	$(BIN)/python -m ops.k8s_rules

.PHONY: screenshot
screenshot: venv ## Run the demo and take the pictures of its console again: docs/console.png, docs/console-dark.png
	$(BIN)/python -m ops.screenshot

.PHONY: format
format: venv ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Resolve again: requirements.lock from pyproject.toml, ops/stack/artifacts.lock from the coordinates
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra otel --generate-hashes --universal --python-version 3.11 \
	  --no-header --no-annotate --quiet --output-file requirements.lock
	$(MAKE) venv
	$(BIN)/python -m ops.stack.artifacts

.PHONY: clean
clean: ## Remove what was built; .sluice (data of the local stack) and .venv stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
