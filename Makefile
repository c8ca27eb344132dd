# Every target does its own set-up on a fresh Debian 12: virtual environment, dependencies, Mosquitto.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: run test crash-slow lab lint format bench deb docs docs-check setup broker test-programs clean

run: setup broker
	$(BIN)/pos-agent demo $(ARGS)

test: setup test-programs
	$(BIN)/python -m pytest $(ARGS)

crash-slow: setup test-programs
	$(BIN)/python -m tests.crash.figures $(ARGS)

lab: setup
	@.ci/lab-setup
	POS_AGENT_LAB=$${POS_AGENT_LAB:-required} $(BIN)/python -m pytest -m lab tests/lab $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup test-programs
	$(BIN)/python -m tests.bench $(ARGS)

deb: setup
	$(BIN)/python -m package.build_deb $(ARGS)

docs: setup
	$(BIN)/python -m docs._generate

docs-check: setup
	$(BIN)/python -m docs._generate --check

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@.ci/python-setup $(PYTHON) $(VENV)

broker:
	@.ci/broker-setup

test-programs:
	@.ci/broker-setup tests

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
