# Needs Python >= 3.11, make and a network. `make help` lists what there is.
# Another interpreter: make PYTHON=python3.12 test. More options for pytest: make test ARGS="-k fusion".

VENV ?= .venv
OPENXR_ROOT ?= $(VENV)/openxr
ARGS ?=
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-openxr soak fuzz bench docs lint format clean

help:
	@echo "make demo    live capture of the synthetic camera, shown in a browser"
	@echo "make test    install what tests need and run the whole suite"
	@echo "make test-openxr  the OpenXR source against a real runtime without hardware (Debian, root)"
	@echo "make soak    the long-running tests"
	@echo "make fuzz    20,000 mutated inputs for every parser (about an hour)"
	@echo "make bench   the benchmarks, compared with the committed baseline"
	@echo "make docs    the documentation as a site, into site/"
	@echo "make lint    formatting, lint, types and layers"
	@echo "make format  put the code into its format"
	@echo "make clean   remove the environment and caches"

demo: $(VENV)/.runtime
	$(BIN)/bodystream live --source synthetic $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

# Needs root and debootstrap; makes a folder of 0.8 GB with Monado in it.
test-openxr: $(VENV)/.dev
	tests/openxr/make_runtime.sh $(OPENXR_ROOT)
	tests/openxr/run_tests.sh $(OPENXR_ROOT) $(BIN)/python $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 7200 $(ARGS)

# The number of mutations of each parser: make fuzz FUZZ=100000.
FUZZ ?= 20000
fuzz: $(VENV)/.dev
	BODYSTREAM_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q -k fuzz --timeout 7200 $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/bodystream bench $(ARGS)

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first interpreter that is new enough; PYTHON overrides the search.
$(BIN)/python:
	@set -e; chosen=; \
	for candidate in $(if $(PYTHON),$(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "error: Python 3.11 or newer is needed, and $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1 || true)." >&2; \
	    echo "       Install it, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! $$chosen -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "error: $$chosen cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; \
	fi; \
	$$chosen -m venv $(VENV)

# Stamps: each set of packages is installed again only when the inputs change.
$(VENV)/.runtime: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,train,export]"
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@ $(VENV)/.runtime
