# The two commands of the README are `make quickstart` and `make test`; each installs what it needs into .venv.
# `make PYTHON=python3.12 …` takes another interpreter than the one found.

VENV ?= .venv
BIN := $(VENV)/bin
BENCH_VENV ?= .venv-bench
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
READY := $(VENV)/ready
# hundreds of tests start a Python: without kept byte code each compiles simlaw anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help quickstart test faults components slurm lint format figures bench calibration lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

quickstart: $(READY)  ## Train the quickstart sweep here, fit, draw the headline figure, print the verdict
	@$(BIN)/simlaw reproduce quickstart --own

# three on two cores: tests of engines wait for schedulers, not for a processor
test: lint  ## Lint, types and tests
	$(BIN)/pytest --numprocesses 3 --dist worksteal

faults: $(READY)  ## Kill, hang, damage and starve sweeps, and compare their tables; the tests have a short form
	SIMLAW_FAULTS=full $(BIN)/pytest tests/faults

components: $(VENV)/components slurm  ## Install what the tests of engines run against: Ray, an S3, schemas, and as root on Debian SLURM

slurm:
	@if command -v slurmctld > /dev/null && command -v munged > /dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge > /dev/null \
			|| echo 'SLURM could not be installed, and its tests will skip'; \
	else echo 'SLURM is not here, and its tests will skip: as root, apt-get install slurm-wlm munge'; fi

$(VENV)/components: $(READY) requirements-components.lock
	@echo 'installing the components into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-components.lock
	@touch $@

# Sweeps that have a figure of their name.
DRAWN := learning_rate ptq_grid schedule train_precision train_then_ptq qat_fraction int_or_float stable_architecture zfact zrhm

# a person's own sweeps keep their own style
CODE := simlaw tests figures $(wildcard sweeps/*)

lint: $(READY)  ## Style and types
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(READY)  ## Rewrite the code in the project's style
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

figures: $(READY)  ## Redraw the committed figures from the committed tables
	$(BIN)/simlaw figure headline --sweep quickstart
	$(BIN)/simlaw figure collapse --sweep quickstart
	$(BIN)/simlaw figure best_precision --sweep train_precision
	for name in $(DRAWN); do $(BIN)/simlaw figure $$name --sweep $$name || exit; done

bench: $(READY) $(BENCH_VENV)/ready  ## Measure against the peers, side by side; writes tests/benchmarks/results.md
	$(BIN)/python tests/benchmarks/run.py --peer $(BENCH_VENV)/bin/python

calibration: $(READY)  ## Count how often intervals hold planted truths (hours; Ctrl-C is safe); writes its table.csv
	$(BIN)/python -m tests.calibration.run

lock: $(READY)  ## Choose new exact versions for requirements.lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@echo '# Exact versions of everything, with what `make components` installs; made by `make lock`.' > requirements-components.lock
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
		--group pyproject.toml:dev --group pyproject.toml:components pyproject.toml >> requirements-components.lock
	@echo '# Exact versions for Python 3.11 (where the jax 0.10 line ends) and 3.12+; made by `make lock`.' > requirements.lock
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
		--constraint requirements-components.lock --group pyproject.toml:dev pyproject.toml >> requirements.lock
	rm -rf $(VENV)-lock

clean:  ## Remove the environments and caches; the store stays
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .pytest_cache .ruff_cache build dist

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'simlaw needs Python 3.11 or newer and found none: install one, or name it: make PYTHON=/path/to/python3.12'; exit 2; }
	@command -v $(PYTHON) > /dev/null || { echo '$(PYTHON) is no Python here: name one of 3.11 or newer: make PYTHON=/path/to/python3.12'; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version): simlaw needs Python 3.11 or newer: make PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo '$(PYTHON) comes without the venv module, which makes the environment: install it (on Debian and Ubuntu: apt install python3-venv), or name another interpreter: make PYTHON=/path/to/python3.12'; exit 2; }
	@echo 'installing into $(VENV) for '"$$($(PYTHON) --version)"' (about a minute, once)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_VENV)/ready: tests/benchmarks/requirements.txt
	@echo 'installing the peers into $(BENCH_VENV)'
	@$(PYTHON) -m venv --clear $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/benchmarks/requirements.txt
	@touch $@
