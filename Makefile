# `make run` and `make test` install what they need into .venv first; everything else is optional.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= recipes/mobilenet3d_int8.yaml
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run test check format lock clean

help:  ## Lists these commands.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

install: $(VENV)/.installed  ## Creates .venv with every pinned package.

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	$(BIN)/pip check --disable-pip-version-check
	touch $@

run: install  ## Runs the main job on the embedded data: report in out/mobilenet3d_int8/report.html.
	$(BIN)/python -m compress.run $(RECIPE) $(ARGS)

test: install  ## Runs every test.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 $(ARGS)

check: install  ## Format, lint, types and the fast tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

format: install  ## Formats the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Not after install: that ends with a check which fails as long as a new package is not pinned. What nothing needs any
# more is taken out of requirements.lock by hand before, with .venv removed.
lock:  ## Installs what pyproject.toml asks for beside the pins, and pins all of it in requirements.lock.
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q --no-build-isolation -e '.[dev]'
	$(BIN)/pip check --disable-pip-version-check
	( head -1 requirements.lock; $(BIN)/pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' \
	  | sed 's/^coremltools==.*/& ; sys_platform == "darwin" or platform_machine == "x86_64"/' \
	  | sed 's/^tensorflow[_-]cpu==.*/& ; sys_platform == "linux" and platform_machine == "x86_64"/' ) > lock.tmp
	mv lock.tmp requirements.lock
	touch $(VENV)/.installed

clean:  ## Removes results and caches, not .venv.
	rm -rf out .pytest_cache .mypy_cache .ruff_cache
