# Every target sets up .venv first when it is missing or stale; `make` alone says what there is.
#   make quickstart [TORCH=cuda]     TORCH: auto (default), cpu, cuda
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
TORCH ?= auto
BIN := .venv/bin
PYTEST_ARGS ?= -m "not slow" -n 2
BENCH_ARGS ?=
LANGUAGE_BENCH_ARGS ?= --shape 31m
ENGINE_BENCH_ARGS ?= --shape 135m
SERVICE_BENCH_ARGS ?=
SEARCH_BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint format bench docs lock clean base-model env env-dev env-mlflow

help:
	@echo "make quickstart   the whole journey on shipped data: check, train, prove, predict"
	@echo "make test         the tests            (PYTEST_ARGS='-m slow' for the slow ones)"
	@echo "make lint         ruff, mypy, import contracts"
	@echo "make bench        ours against the peers, ratios in one run"
	@echo "make base-model   trains luthier-nano again, from public text (hours; build/base-model)"
	@echo "make docs         writes docs/cli.md and docs/recipe.md again"
	@echo "make lock         writes constraints.txt from .venv"
	@echo "make clean        removes caches and quickstart's output (not .venv, not runs/)"

env:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/setup_env.py --torch $(TORCH)

env-dev:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/setup_env.py --profile dev --torch $(TORCH)

# MLflow pins pandas, pyarrow and protobuf below ours, so its server, which only tests need, lives apart.
env-mlflow:
	@test -x .venv-mlflow/bin/mlflow || { $(PYTHON) -m venv .venv-mlflow && .venv-mlflow/bin/pip install -q "mlflow>=3,<4"; }

quickstart: env
	@$(BIN)/python -m luthier.cli.quickstart

# One thread per process: two processes on two cores beat two threads each on tiny models.
test: env-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: env-dev
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: env-dev
	@$(BIN)/ruff format src tests scripts
	@$(BIN)/ruff check --fix .

bench: env-dev
	@$(BIN)/pip install -q -c constraints.txt -e ".[bench]"
	@$(BIN)/python -m benchmarks.speed $(BENCH_ARGS)
	@$(BIN)/python -m benchmarks.language_speed $(LANGUAGE_BENCH_ARGS)
	@$(BIN)/python -m benchmarks.engine $(ENGINE_BENCH_ARGS)
	@$(BIN)/python -m benchmarks.service $(SERVICE_BENCH_ARGS)
	@$(BIN)/python -m benchmarks.search_speed $(SEARCH_BENCH_ARGS)

base-model: env-dev
	@$(BIN)/pip install -q -c constraints.txt -e ".[base-model]"
	@$(BIN)/python -m scripts.base_model.build

docs: env-dev
	@$(BIN)/python scripts/build_docs.py

lock: env-dev
	@$(BIN)/python scripts/lock.py

clean:
	@rm -rf quickstart-run .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build/lib build/bdist.* dist .bench
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
