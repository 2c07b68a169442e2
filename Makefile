# The commands people type. Everything lives in .venv; nothing else needs installing first but Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix clean

help: ## what the commands do
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## make .venv and install tsumiki with its development tools

# pip writes nothing when the constraints are met, so an unchanged environment costs one file's time stamp.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("tsumiki needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## check, train and ask a small bilingual model for a story (about two minutes of training)
	$(BIN)/tsumiki demo

test: $(STAMP) ## run the tests
	$(BIN)/pytest --numprocesses 2

check: $(STAMP) ## format, lint, types, import layers, shapes; changes no file
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest tests/formula tests/contract --quiet --numprocesses 2 --jaxtyping-packages=tsumiki.nn,beartype.beartype -k 'not flex and not sdpa and not compiled'

fix: $(STAMP) ## format, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## remove the environment and caches (never runs/)
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis
