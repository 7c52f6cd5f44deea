# Everything a person or a CI job runs. `make` alone lists the targets.
# All paths are relative, so that the project may lie in a directory with spaces.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
.PHONY: help setup check format test tools coverage quick faults soak demo bench docs site screenshot image sbom audit \
    package lock licences clean

BIN := .venv/bin
COVERAGE_FLOOR := 90
CHECKED := src tests bench scripts examples
# A module's tests on one worker, in the order of tests/conftest.py: what is long comes first.
SPREAD := -n 2 --dist loadscope --no-loadscope-reorder

help:
	@echo 'circleci-relay: what make can do'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

# Quick when nothing changed; what else needs the project runs it first.
setup:
	@scripts/setup

demo: setup ## show the relay at work in under 30 s (STAY=1: then stay up to play with)
	@$(BIN)/circleci-relay demo $(if $(STAY),--stay) $(ARGS)

test: setup tools ## everything that must pass: `make check` and all tests
	@$(MAKE) check
	PATH="$$PWD/.tools:$$PATH" $(BIN)/python -m pytest $(SPREAD) --durations=10 $(ARGS)

# Apart, since it makes the tests take half as long again.
coverage: setup tools ## all tests once more, and what part of the code they run
	@rm -f .coverage .coverage.*
	PATH="$$PWD/.tools:$$PATH" $(BIN)/coverage run -m pytest $(SPREAD) $(ARGS)
	@$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

# Servers and programs that the tests are held against; what cannot be had is said.
tools:
	@scripts/prometheus
	@scripts/chromium
	@scripts/faketime
	@scripts/alertmanager
	@scripts/brokers
	@scripts/kafka

# The soak comes last, and only when what is before it passes.
faults: setup ## the fault suite in full, then the soak (ARGS="-k clock", RELAY_SEED=7, SOAK=0: no soak)
	@scripts/faketime
	RELAY_FAULTS=full $(BIN)/python -m pytest tests/faults --ignore=tests/faults/test_soak.py -vv -s $(ARGS)
	@$(if $(filter 0,$(SOAK)),echo 'faults: SOAK=0, so no soak',$(MAKE) soak ARGS=)

soak: setup ## ten minutes at half of what the relay can take (RELAY_SOAK=120: two)
	RELAY_FAULTS=full $(BIN)/python -m pytest tests/faults/test_soak.py -vv -s $(ARGS)

quick: setup ## the tests alone, without coverage (ARGS="tests/unit -k word")
	@PATH="$$PWD/.tools:$$PATH" $(BIN)/python -m pytest $(ARGS)

check: setup ## lint, format, types, import layers
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy $(CHECKED)
	$(BIN)/lint-imports

format: setup ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

bench: setup ## the relay measured beside a naive one (ARGS="postgres growth --quick", --help)
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

docs: setup ## write the generated pages of docs/reference again
	@$(BIN)/python scripts/pages
	@$(BIN)/python scripts/dashboard.py

site: setup ## the documentation as one site, in build/site
	@$(BIN)/python scripts/build_site.py

screenshot: setup ## take the README's picture of the page again
	@scripts/chromium
	@$(BIN)/python scripts/screenshot.py

image: ## build the container image, run it locked down, post a signed event to it
	@scripts/image $(ARGS)

sbom: setup ## the image's bill of materials: dist/sbom.cdx.json
	@$(BIN)/python scripts/bill.py sbom dist/sbom.cdx.json

audit: setup ## ask the advisory database about every package of the image
	@$(BIN)/python scripts/bill.py audit $(ARGS)

package: setup ## pack the chart into dist/
	@$(BIN)/python scripts/chart_package.py dist

lock: setup ## resolve requirements/*.lock anew from pyproject.toml (ARGS=--upgrade)
	@scripts/lock $(ARGS)

licences: setup ## write THIRD-PARTY.md again, after `make lock`
	@$(BIN)/python scripts/bill.py licences

clean: ## remove what the targets above made, the virtual environment included
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist .coverage .coverage.*
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +
