# A fresh machine needs Python 3.11 or newer, make and access to PyPI; `make help` lists the targets.
# Each target creates its own environment, and creates it again only when uv.lock or pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

UV_VERSION := 0.13.9
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The interpreter itself, not a shim on the path: uv would replace an environment that another path made.
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3 python3.12 python3.13; do \
  $$name -c '$(ENOUGH)' 2>/dev/null && $$name -c 'import sys; print(sys.executable)' && break; done)
endif
UV := .uv/bin/uv
# An active environment must not leak in: the project uses .venv and the machine's own interpreter.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME UV_PROJECT_ENVIRONMENT
export UV_PYTHON_DOWNLOADS := never
# An organization with its own certificate authority keeps it in the system's store.
export UV_SYSTEM_CERTS ?= true
# The services run as users who may not write into .venv: uncompiled modules would be compiled at every start.
export UV_COMPILE_BYTECODE := 1

BIN := .venv/bin
# Two test processes more than cores: tests wait for servers, and for the next code of an authenticator.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
DEMO ?= .demo
LOCKED := uv.lock pyproject.toml
# Servers and tools that PyPI does not carry, for tests of monitoring and pages.
SYSTEM_PACKAGES := prometheus prometheus-alertmanager redis-server chromium fonts-dejavu-core libnss-wrapper

.NOTPARALLEL:
.PHONY: help system compiled demo test test-full check bench bench-denials bench-dlp bench-ledger bench-history bench-jobs bench-predictions crash redteam simulate mutation docs up down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

system: ## install Debian packages for tests of monitoring and pages (as root, by apt)
	@missing=""; for name in $(SYSTEM_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || missing="$$missing $$name"; done; \
	  [ -z "$$missing" ] || { apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }

# As with the packages: each process of a checkout would compile its modules again. A checkout that cannot be written stays as it is.
compiled: .venv/made-demo ## compile the modules of this checkout, which each process would do again
	@$(BIN)/python -m compileall -q src || true

demo: compiled ## from a vendor's files to a verified prediction, on the real servers, in .demo/
	@$(BIN)/wellspring demo --project $(DEMO)

# All tests of a file run in one process, so its servers start once. (xdist's loadgroup does nothing under pytest 9.2.)
test: .venv/made-test compiled ## run the tests, on the real servers
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=8 --dist=loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-full: .venv/made-test compiled ## run the long tests too
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=8 --dist=loadfile --no-loadscope-reorder $(ARGS)

check: .venv/made-check ## ruff, pyright, import contracts, architecture tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pyright
	@$(BIN)/python -m pytest -q -m "not live and not slow and not crash" tests/architecture tests/mutation

bench: .venv-bench/made ## measure the cost of proof, and the journal against raw fsync
	@.venv-bench/bin/python -m benchmarks.ingest
	@.venv-bench/bin/python -m benchmarks.journal

bench-denials: .venv/made-test ## measure the denials model: five seeds of two processes
	@$(BIN)/python -m benchmarks.denials $(ARGS)

bench-dlp: .venv/made-test ## measure recall, precision and speed of the search for personal data
	@$(BIN)/python -m benchmarks.personal_data $(ARGS)

bench-history: .venv/made-test ## measure an ingest with nothing new, status, a drop, a publish and sealing after 10, 200 and 1,000 drops
	@$(BIN)/python -m benchmarks.history $(ARGS)

bench-ledger: .venv-bench/made ## measure the log: bytes of an answer, time to its checkpoint, memory, proofs, appends
	@.venv-bench/bin/python -m benchmarks.ledger $(ARGS)

bench-jobs: .venv/made-test ## measure how soon a command's job starts, and a rollback beside a training, on the real servers
	@$(BIN)/python -m benchmarks.jobs $(ARGS)

bench-predictions: .venv/made-test ## measure the latency of predictions, beside mlflow models serve, on the real servers
	@$(BIN)/python -m benchmarks.predictions $(ARGS)

crash: .venv/made-test compiled ## kill -9 at each named crash point and at random moments
	@$(BIN)/python -m tests.crash $(ARGS)

redteam: .venv/made-test compiled ## attack a project on its real servers from six positions; each attempt has a twin that is allowed
	@$(BIN)/python -m tests.redteam $(ARGS)

simulate: .venv/made-test compiled ## thirty days of a project on its real servers under a clock that the harness sets
	@$(BIN)/python -m tests.simulation $(ARGS)

mutation: .venv/made-check ## break each promise in a copy, and check that its test fails
	@$(BIN)/python -m tests.mutation $(ARGS)

docs: .venv/made-test ## run the code in the docs, and list what is undocumented
	@$(BIN)/python -m pytest -q tests/architecture/test_docs.py

up: compiled ## start the servers of the demo project, or of PROJECT=folder
	@$(BIN)/wellspring --project $(or $(PROJECT),$(DEMO)) up

down: .venv/made-demo ## stop them
	@$(BIN)/wellspring --project $(or $(PROJECT),$(DEMO)) down

clean: ## stop the demo's servers, then remove the demo, the environments and the caches
	@if [ -x $(BIN)/wellspring ] && [ -e $(DEMO)/wellspring.toml ]; then $(BIN)/wellspring --project $(DEMO) down || true; fi
	@rm -rf $(DEMO) .uv .venv .venv-bench .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	@find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# ---- environments. A stamp file marks each state; --inexact lets one target add to what another installed.

.uv/$(UV_VERSION):
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '$(ENOUGH)' 2>/dev/null || \
	  { echo "make: no Python 3.11 or newer: install it (Debian: apt install python3 python3-venv), or name one with PYTHON=..." >&2; exit 69; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 69; }
	@rm -rf .uv && $(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || \
	  { echo "make: uv $(UV_VERSION) could not be downloaded from PyPI: check the access to https://pypi.org" >&2; exit 69; }
	@touch $@

.venv/made-demo: $(LOCKED) | .uv/$(UV_VERSION)
	@$(UV) sync --quiet --locked --inexact --python $(PYTHON) --extra demo
	@touch $@

.venv/made-test: $(LOCKED) | .uv/$(UV_VERSION)
	@$(UV) sync --quiet --locked --inexact --python $(PYTHON) --extra demo --group test
	@touch $@ .venv/made-demo

.venv/made-check: $(LOCKED) | .uv/$(UV_VERSION)
	@$(UV) sync --quiet --locked --inexact --python $(PYTHON) --extra demo --group test --group check
	@touch $@ .venv/made-test .venv/made-demo

.venv-bench/made: $(LOCKED) | .uv/$(UV_VERSION)
	@UV_PROJECT_ENVIRONMENT=.venv-bench $(UV) sync --quiet --locked --python $(PYTHON) --extra demo --group test --group bench
	@touch $@
