# Everything a person types while working on outboard. Each target does its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Some machines ask Python to keep no compiled files. Here each process would compile all of outboard again,
# which is more than half of what a command or a daemon costs to start, and the tests start hundreds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup test test-cgroup test-chaos check demo bench bench-starts bench-supervision coverage clean
help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

$(READY): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

setup: $(READY)  ## make .venv with everything in it

test: $(READY)  ## the tests, on real processes where the risk is
	$(BIN)/python -m pytest

DELEGATED = systemd-run $(if $(filter 0,$(shell id -u)),--system,--user) --scope --quiet --property=Delegate=yes

test-cgroup: $(READY)  ## what control groups and systemd keep, on a machine that has them
	$(BIN)/python -m pytest -n 0 tests/cgroup
	$(DELEGATED) $(BIN)/python -m tests.cgroup.aside \
		$(BIN)/python -m pytest -n 0 tests/process tests/supervision tests/faulty

test-chaos: $(READY)  ## half an hour on a machine of its own: the fault matrix, strictly, and ten thousand faults
	OUTBOARD_STRICT=1 $(BIN)/python -m pytest -n 0 -m "chaos or not chaos" tests/faulty
	OUTBOARD_STRICT=1 $(BIN)/python -m pytest tests/protocol tests/contracts tests/supervision/test_poison.py
	$(BIN)/python -m pytest -m chaos tests/host
	$(BIN)/python -m pytest -n 0 -m chaos tests/samples
	OUTBOARD_STRICT=1 $(BIN)/python -m tests.faulty.walk --faults 10000 --page docs/reliability.md

check: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(READY)  ## an application whose plugins are killed while it works; then a daemon
	$(BIN)/outboard demo

coverage: $(READY)  ## how much of the pure parts the tests run
	$(BIN)/coverage run -m pytest -n 0 tests/protocol tests/supervision tests/discovery tests/config
	$(BIN)/coverage report --fail-under=90

bench: $(READY)  ## a call, as a ratio to a raw pipe of the same run
	$(BIN)/python -m tests.bench.calls
	$(BIN)/python -m tests.bench.hooks
	$(BIN)/python -m tests.bench.streams

bench-starts: $(READY)  ## what a plugin, a command and the daemon cost to start, beside an empty Python
	$(BIN)/python -m tests.bench.starts

bench-supervision: $(READY)  ## what supervision promises, beside what it takes here
	$(BIN)/python -m tests.bench.supervision

clean:  ## remove what the other targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
