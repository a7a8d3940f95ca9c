#!/usr/bin/env bash
# Runs ruff, mypy and the whole test suite in .venv, made on the first run. Arguments go to pytest: ./scripts/test.sh tests/nn -k gradient
source "$(dirname "$0")/venv.sh" dev

say "ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
say "mypy"
.venv/bin/mypy
say "pytest"
.venv/bin/python -m pytest --numprocesses auto "$@"
