# The two commands of the README: `make demo` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo
BIN    := $(VENV)/bin

.PHONY: demo test test-all check install benchmark clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11 -> make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	@PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh $(DEMO)

test: install
	$(BIN)/pytest -n auto

test-all: install
	$(BIN)/pytest -n auto -m "slow or not slow" --timeout 3600

check: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: install
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/read_time.py

clean:
	rm -rf $(DEMO) $(DEMO).private .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
