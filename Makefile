# The words of the house. A fresh machine needs Python 3.11 (or newer), make and a way to PyPI; `make help` lists the words.
# Each word makes its own environment: warm, that costs nothing; it is made anew when uv.lock or pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

UV_VERSION := 0.13.9
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for each in python3.11 python3 python3.12 python3.13; do \
  $$each -c '$(ENOUGH)' 2>/dev/null && command -v $$each && break; done)
endif
UV := .uv/bin/uv
# An environment around us must not leak in: ours is .venv, and the interpreter is the machine's own.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME UV_PROJECT_ENVIRONMENT
export UV_PYTHON_DOWNLOADS := never
# Houses with a certificate authority of their own put it into the system's store.
export UV_SYSTEM_CERTS ?= true
# The services run as users who may not write into .venv: what is not compiled now would be compiled at every start.
export UV_COMPILE_BYTECODE := 1

BIN := .venv/bin
JOBS ?= auto
DEMO ?= .demo
LOCKED := uv.lock pyproject.toml

.NOTPARALLEL:
.PHONY: help demo test test-full check bench bench-denials bench-answers crash mutation docs up down clean

help: ## list the words
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/made-demo ## from a vendor's drops to a proved answer, on the real servers, in .demo/
	@$(BIN)/wellspring demo --project $(DEMO)

# One file, one process: its servers start once. (xdist's loadgroup does nothing under pytest 9.2.)
test: .venv/made-test ## the tests, on the real servers (10 minutes on 2 cores)
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=8 --dist=loadfile -m "not long" $(ARGS)

test-full: .venv/made-test ## the long ones too
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses=8 --dist=loadfile $(ARGS)

check: .venv/made-check ## the laws: ruff, pyright, imports, the house's rules (2 minutes)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pyright
	@$(BIN)/python -m pytest -q -m "not live and not slow and not crash" tests/architecture tests/mutation

bench: .venv-bench/made ## the promises, measured: the price of proof, and the journal against raw fsync
	@.venv-bench/bin/python -m benchmarks.receive
	@.venv-bench/bin/python -m benchmarks.journal

bench-denials: .venv/made-test ## what the denials model is worth: five seeds of two processes (10 minutes)
	@$(BIN)/python -m benchmarks.denials $(ARGS)

bench-answers: .venv/made-test ## how long an answer takes, beside mlflow models serve, on the real servers
	@$(BIN)/python -m benchmarks.answers $(ARGS)

crash: .venv/made-test ## kill -9 at each named crash point and at 25 random moments
	@$(BIN)/python -m tests.crash $(ARGS)

mutation: .venv/made-check ## break each promise in a copy, and check that its test fails (12 minutes at most)
	@$(BIN)/python -m tests.mutation $(ARGS)

docs: .venv/made-test ## run the code in the docs, and look for what is undocumented
	@$(BIN)/python -m pytest -q tests/architecture/test_docs.py

up: .venv/made-demo ## start the servers of the demo project, or of PROJECT=folder
	@$(BIN)/wellspring --project $(or $(PROJECT),$(DEMO)) up

down: .venv/made-demo ## stop them
	@$(BIN)/wellspring --project $(or $(PROJECT),$(DEMO)) down

clean: ## stop the demo's servers, then remove the demo, the environments and the caches
	@if [ -x $(BIN)/wellspring ] && [ -e $(DEMO)/wellspring.toml ]; then $(BIN)/wellspring --project $(DEMO) down || true; fi
	@rm -rf $(DEMO) .uv .venv .venv-bench .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	@find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# ---- environments. A stamp stands in each for what was asked of it; --inexact lets one word add to what another made.

.uv/$(UV_VERSION):
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '$(ENOUGH)' 2>/dev/null || \
	  { echo "make: no Python 3.11 or newer: install it (Debian: apt install python3 python3-venv), or say where with PYTHON=..." >&2; exit 69; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 69; }
	@rm -rf .uv && $(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || \
	  { echo "make: uv $(UV_VERSION) could not be had from PyPI: is there a way to https://pypi.org from here?" >&2; exit 69; }
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
