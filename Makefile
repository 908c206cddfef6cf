PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# Empty: compiling sources and tests anew would cost each process up to 8 s.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-whole test-all test-lowest test-integrations lint bench docs readme clean

demo: $(VENV)/.installed
	$(BIN)/phasescope demo

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not whole"

# Parts of studies, the demo and coverages, whole at a small size: two minutes more.
test-whole: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "whole and not slow"

test-all: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The lowest versions that are allowed, in an environment of their own. What they warn of themselves is theirs.
test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not whole" -W ignore::DeprecationWarning

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	PIP_CONSTRAINT=$(CURDIR)/constraints-lowest.txt .venv-lowest/bin/python -m pip install --quiet \
		--disable-pip-version-check -e ".[dev]"
	touch $@

# The recorder in other people's loops and beside their trackers, in an environment of its own that sees the first.
test-integrations: .venv-integrations/.installed
	.venv-integrations/bin/python -m pytest -q -n 0 -p no:hypothesispytest \
		tests/instruments/test_callbacks.py tests/instruments/test_trackers.py

.venv-integrations/.installed: $(VENV)/.installed-dev
	$(PYTHON) -m venv .venv-integrations
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		$$(.venv-integrations/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/first.pth
	PIP_CONSTRAINT= .venv-integrations/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-integrations.txt -e ".[integrations]"
	touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

readme: $(VENV)/.installed
	$(BIN)/python docs/make_readme.py

# One virtual environment; each stamp adds what its target needs.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-integrations docs/_build docs/gallery docs/generated build dist
