# make demo: environment, both arms of the quick GAN comparison on one seed, the report.
# make test: environment, all tests but the slow ones.   make test-slow: the slow ones, kills and benchmarks among them;
#   make test-slow PART=3/12: a twelfth of them.
# make results: docs/results and README's table from the sources in results/.
# make check: lint, types and the quickest tests, in two minutes.   make PYTHON=python3.12 ...: another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
# One thread a worker: two that share a core wait for each other. A few workers: each holds torch in memory.
WORKERS ?= --numprocesses auto --maxprocesses 4 --dist worksteal

QUICK := tests/test_structure.py tests/sandbox/base tests/sandbox/experiment tests/sandbox/nn/test_planes.py \
  tests/sandbox/nn/test_blocks.py tests/sandbox/report/test_stats.py tests/sandbox/train/test_schedule.py

.PHONY: demo results check test test-slow lint type format clean

demo: $(VENV)/.core
	$(BIN)/python -m sandbox.compare gan/quick --seeds 1 --jobs 2

results: $(VENV)/.core
	$(BIN)/python -m sandbox.results

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) -m "not slow" $(TESTS)

test-slow: $(VENV)/.dev
	SLOW_PART=$(PART) OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) -m slow $(TESTS)
	$(if $(PART),,FAULTS_EXAMPLES=2000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) tests/faults/test_configs.py)

check: lint type
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) -m "not slow" $(QUICK)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing (about 5 GB with torch, a minute or a few) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
