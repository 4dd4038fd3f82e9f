# Every target sets the environment up first; that takes minutes once and nothing afterwards.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One compute thread: two that wait for each other on a busy machine are far slower than one.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export MLFLOW_DISABLE_TELEMETRY ?= true

.PHONY: help setup demo test lint serve ui bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: polydraft needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(READY)  ## Make .venv with everything in it

demo: $(READY)  ## Ask a real server seven questions, with and without speculation
	@$(BIN)/polydraft demo

# Two halves at once, one a core. The first half's report comes when both are done.
HALF := tests/commands tests/e2e tests/serving tests/training

test: lint  ## Lint, types, import contracts, tests
	@mkdir -p out
	@$(BIN)/python -m pytest $(HALF:%=--ignore=%) > out/tests.log 2>&1 & first=$$!; \
	  $(BIN)/python -m pytest $(HALF); second=$$?; \
	  wait $$first; first=$$?; cat out/tests.log; exit $$((first | second))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

serve: $(READY)  ## Serve the starter on http://127.0.0.1:8000
	@$(BIN)/polydraft serve

ui: $(READY)  ## Open the drafts in MLflow on http://127.0.0.1:5000
	@$(BIN)/polydraft registry ui

bench: $(READY)  ## Measure by topic: plain, prompt lookup, drafts chosen in four ways
	@$(BIN)/polydraft bench topics --per-topic 8 --repeats 2

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache out
