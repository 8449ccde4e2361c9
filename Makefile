# maxdaq-tango: everything from a fresh clone, with git, make and Python 3.11 or newer.
#
#   make demo        take a series with a simulated Eiger and check every pixel; DETECTORS=eiger,... takes others as well
#   make up          the same devices, kept running for Jive, Taurus, Sardana or your script
#   make test        the tests
#   make fuzz        random and damaged messages for every decoder, some seconds each
#   make check       lint, types, contracts, test, fuzz: what continuous integration runs
#
# PYTHON=python3.12 chooses another Python, VENV=path another place for the environment, JOBS=1 one test at a time.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo up install test test-slow lint types contracts fuzz fuzzer vendors check format counterparts clean

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
# Most tests wait for other processes. A file of tests stays in one process, for the servers that it shares.
JOBS ?= $(shell n=$$(nproc); echo $$((n > 3 ? 4 : n + 1)))

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/installed
	@$(BIN)/maxdaq demo $(if $(DETECTORS),--detectors $(DETECTORS)) $(ARGS)

up: $(VENV)/installed
	@$(BIN)/maxdaq up $(ARGS)

install: $(VENV)/installed

test: $(VENV)/installed-dev counterparts fuzzer vendors
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: $(VENV)/installed-dev counterparts vendors
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix src tests
	$(BIN)/ruff format src tests

types: $(VENV)/installed-dev
	$(BIN)/mypy

contracts: $(VENV)/installed-dev
	$(BIN)/lint-imports

check: lint types contracts test fuzz

# What it finds is kept in .fuzz/.
fuzz: fuzzer
	$(BIN)/python tests/fuzz/run.py $(or $(ARGS),--seconds 4)

# Simulators and clients that other people wrote, each in an environment of its own. Without a package index they
# cannot be made; the tests that need one then say so and are skipped.
counterparts: $(VENV)/installed-dev
	@for file in tests/counterparts/*.txt; do \
		name=$$(basename $$file .txt); \
		$(BIN)/python tests/counterparts/make_environment.py $$name \
			|| echo "$$name cannot be made here: the tests against it will be skipped"; \
	done

# Not for every Python and machine, and not for those who are without a package index: what needs it is then skipped.
fuzzer: $(VENV)/installed-dev
	@[ -e $(VENV)/installed-fuzz -a ! pyproject.toml -nt $(VENV)/installed-fuzz ] \
		|| { $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet -e '.[fuzz]' \
			&& touch $(VENV)/installed-fuzz; } \
		|| echo "atheris cannot be installed here: the decoders will not be fuzzed"

# Libraries of vendors that are published: tests compare our stand-ins with them, or say that there is none.
vendors: $(VENV)/installed-dev
	@[ -e $(VENV)/installed-vendors -a ! pyproject.toml -nt $(VENV)/installed-vendors ] \
		|| { $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet -e '.[jungfrau]' \
			&& touch $(VENV)/installed-vendors; } \
		|| echo "slsdet cannot be installed here: the tests that compare with it will be skipped"

clean:
	if [ -f $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi
	rm -rf .counterparts .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- the environment ----

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or newer found. On Debian: apt install python3 python3-venv"; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@if [ -e $(VENV) ]; then there=yes; fi; $(PYTHON) -m venv $(VENV) || { [ -n "$$there" ] || rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv"; exit 1; }

# pip's own words go into a log; a person sees which package is on its way, and the log when something went wrong.
define install
	@echo "Installing maxdaq-tango $(if $(1),and what its development needs )into $(VENV): once, about a minute"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off -e '.$(1)' 2>&1 \
		| tee $(VENV)/install.log \
		| awk -v terminal=$$([ -t 2 ] && echo 1 || echo 0) \
			'terminal && /^(Collecting|Installing)/ { printf "\r\033[K  %s %s", $$1, substr($$2, 1, 50); fflush() } \
			/^Successfully installed/ { if (terminal) printf "\r\033[K"; printf "  %d packages\n", NF - 2 }' \
		|| { tail -n 15 $(VENV)/install.log; echo "The installation failed; all of it is in $(VENV)/install.log"; exit 1; }
	@touch $@
endef

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(call install)

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(call install,[dev])
	@touch $(VENV)/installed
