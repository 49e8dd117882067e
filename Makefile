# Every target sets up what it needs; `make` alone lists them.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
VENV = .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-real lint format bench soak mutants fuzz

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

venv: $(VENV)/.installed ## create .venv and install Runyard with its development tools (PYTHON=python3.12 picks one)

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Runyard needs Python 3.11 or later: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make environments: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "installing Runyard and what it needs into $(VENV): about a minute, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: venv ## run the examples on the embedded stack and serve its page (ONCE=1: end after printing)
	$(BIN)/runyard demo $(if $(ONCE),--once)

test: venv ## all tests that need no server
	$(PYTEST) -m 'not real'

test-real: venv ## the tests on a real Kafka and a real Elasticsearch, which it downloads, starts and stops
	$(PYTEST) -m real

lint: venv ## formatter, linter, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: venv ## measure throughput and dispatch on real servers
	$(BIN)/python -m tests.servers sh -c '$(BIN)/python -m benchmarks.throughput && $(BIN)/python -m benchmarks.dispatch'

soak: venv ## the engine on 10,000 random flows, with everything going wrong that may
	$(PYTEST) tests/property/test_engine.py tests/property/test_engine_processor.py --hypothesis-profile=soak --timeout 0

mutants: venv ## change the engine in small ways and see that a test notices each
	$(BIN)/python -m benchmarks.mutants

fuzz: venv ## the property tests with many more examples
	$(PYTEST) tests/property --hypothesis-profile=fuzz
