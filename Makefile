PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
INSTALLED := $(VENV)/.installed

# $(call or_fail,what failed,what to do): appended to a command, stops make with both sentences.
or_fail = || { printf 'make: %s\n      %s\n' "$(1)" "$(2)" >&2; exit 1; }
network = The message above says why. Check the network and the free disk space (6 GB), then run make again.

.DEFAULT_GOAL := help
.PHONY: help env demo demo-crnas demo-detnas demo-nats test test-slow coverage bench docs lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) (makes the environment), VENV=$(VENV) (where it lies),"
	@echo "           DEMO=... (options of the demo, e.g. DEMO='--seed 2')"
	@echo "           PYTEST=... (options of pytest, e.g. PYTEST='-n 0' for a single process)"

env: $(INSTALLED) ## make the virtual environment, once (6 GB with torch's CUDA libraries)

$(INSTALLED): pyproject.toml constraints.txt crnas_d2/verbs/install_detectron2.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		$(call or_fail,$(PYTHON) is no Python >= 3.10.,Name one: make env PYTHON=/path/to/python3.11)
	@$(PYTHON) -c 'import ensurepip, venv' \
		$(call or_fail,$(PYTHON) cannot make virtual environments.,On Debian and Ubuntu: sudo apt install python3-venv)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		$(call or_fail,No virtual environment could be made in $(VENV).,Choose a folder that can be written: make env VENV=/path/to/venv)
	@echo "Installing into $(VENV): torch, Detectron2, crnas-d2. The first time takes minutes."
# Before all else: fvcore, iopath and antlr4 come as source and are built with these two.
	@$(INSTALL) setuptools wheel $(call or_fail,setuptools and wheel could not be installed.,$(network))
	@$(INSTALL) torch torchvision $(call or_fail,torch and torchvision could not be installed.,$(network))
	@$(BIN)/python tools/install_detectron2.py \
		$(call or_fail,Detectron2 could not be installed.,The message above says what to do.)
	@$(INSTALL) --editable '.[dev]' $(call or_fail,crnas-d2 could not be installed.,$(network))
	@touch $@
	@echo "Ready: $(BIN)/python"

demo: $(INSTALLED) ## which blocks does a trained detector need? On a CPU
	@$(BIN)/python -W ignore::FutureWarning -m crnas_d2 demo letters $(DEMO)

demo-crnas: $(INSTALLED) ## the same, then a dilation for each block that is left
	@$(BIN)/python -W ignore::FutureWarning -m crnas_d2 demo crnas $(DEMO)

demo-detnas: $(INSTALLED) ## the kernels of a ShuffleNetV2 from scratch, by evolution
	@$(BIN)/python -W ignore::FutureWarning -m crnas_d2 demo detnas $(DEMO)

demo-nats: $(INSTALLED) ## a dilation for each channel group, by gradient
	@$(BIN)/python -W ignore::FutureWarning -m crnas_d2 demo nats $(DEMO)

test: $(INSTALLED) ## run the fast tests on up to four cores, and list the slowest ones
	$(BIN)/python -m pytest tests -n auto --maxprocesses 4 --durations 20 $(PYTEST)

test-slow: $(INSTALLED) ## run the slow tests
	$(BIN)/python -m pytest tests -m slow --durations 20 $(PYTEST)

coverage: $(INSTALLED) ## run the fast tests, and print which lines they miss
	$(BIN)/python -m pytest tests -n auto --maxprocesses 4 --cov crnas_d2 --cov-report term-missing:skip-covered $(PYTEST)

bench: $(INSTALLED) ## run every benchmark
	$(BIN)/python tools/benchmark.py all

docs: $(INSTALLED) ## build the documentation site, build/site/index.html; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -W ignore -m mkdocs build --strict

lint: $(INSTALLED) ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## fix what can be fixed of style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and build leftovers; the environment and output/ stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .coverage
	find . -path ./.git -prune -o -path ./output -prune -o -path './$(VENV)' -prune -o -name __pycache__ -type d -exec rm -rf {} +
