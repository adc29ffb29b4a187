# Everything a developer types. `make up` is all that a newcomer needs.
.DEFAULT_GOAL := help
.PHONY: help up down status test check format bench clean
PY := .venv/bin/python
export PYTHON

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

up:  ## Start everything; options by FLAGS="--detach --wait --json --no-demo"
	@scripts/bootstrap requirements.txt
	@exec $(PY) manage.py up $(FLAGS)

down:  ## Stop everything
	@[ -x $(PY) ] || { echo "not running"; exit 0; }; exec $(PY) manage.py down

status:  ## Show the processes; FLAGS=--json for programs
	@[ -x $(PY) ] || { echo "not running"; exit 3; }; exec $(PY) manage.py status $(FLAGS)

test:  ## Run all tests
	@scripts/bootstrap requirements-dev.txt
	@scripts/test

check:  ## Run the linters, the type checker, the import contracts and the tidy tests
	@scripts/bootstrap requirements-dev.txt
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	$(PY) -m pytest -q -p no:cacheprovider tests/architecture/test_tidy.py tests/architecture/test_docs.py

format:  ## Format the code
	@scripts/bootstrap requirements-dev.txt
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench:  ## Measure a local cluster; options by FLAGS
	@scripts/bootstrap requirements.txt
	@exec $(PY) -m benchmarks $(FLAGS)

clean: down  ## Stop everything and remove what was made here, data included
	rm -rf clients/typescript/node_modules clients/typescript/build clients/typescript/dist .venv .venv-second .aerolith .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
