# Two commands are enough: `make run` and `make test`.  Each sets up what it needs: Python 3.11 or later, nothing else.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run demo test check bench format docs schema lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.base: requirements/base.txt scripts/set_up.py pyproject.toml
	@$(PYTHON) scripts/set_up.py base

.venv/.browser: requirements/browser.txt scripts/set_up.py pyproject.toml
	@$(PYTHON) scripts/set_up.py browser

.venv/.dev: requirements/dev.txt scripts/set_up.py pyproject.toml
	@$(PYTHON) scripts/set_up.py dev

run: .venv/.base ## Set up and serve: API, GraphiQL, embedded PostgreSQL, a demo shop, a portal and a robot
	@exec $(BIN)/robot-jobs serve --dev --with-robot

demo: .venv/$(if $(BROWSER),.browser,.base) ## Ship the sample orders through the sandbox portal, live (BROWSER=1, ARGS="--again", ARGS="orders.csv")
	@$(BIN)/robot-jobs demo $(if $(BROWSER),--browser) $(ARGS)

test: .venv/.dev ## Set up and run all tests, shuffled (ARGS="-k retry")
	@$(BIN)/python -m pytest -n 5 --dist worksteal $(ARGS)

check: .venv/.dev ## Formatting, lint, types, layers, schema drift
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/robot-jobs schema | diff schema/schema.graphql - || (echo "run: make schema"; exit 1)

bench: .venv/.dev ## Measure speed: medians and ratios, side by side (ARGS="streams", ARGS="operations", ARGS="claims")
	@$(BIN)/python -m tests.benchmarks $(ARGS)

format: .venv/.dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: .venv/.dev ## Write the answers and tables of docs/api.md anew, from a real server
	@ROBOT_JOBS_REWRITE_DOCS=1 $(BIN)/python -m pytest -p no:randomly tests/docs

schema: .venv/.dev ## Write the committed schema anew
	@$(BIN)/robot-jobs schema > schema/schema.graphql

lock: .venv/.dev ## Resolve the dependencies anew (needs uv)
	@for name in base browser dev node; do \
	  case $$name in base) from=pyproject.toml;; browser|dev) from="pyproject.toml --extra $$name";; node) from="--group node";; esac; \
	  uv pip compile $$from --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --quiet --output-file requirements/$$name.txt || exit 1; \
	done
