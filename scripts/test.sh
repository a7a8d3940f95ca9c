#!/usr/bin/env bash
# Runs ruff, mypy and the tests in .venv, made on the first run, but for those that take longer: ./scripts/test.sh -m slow.
# Arguments go to pytest: ./scripts/test.sh tests/nn -k gradient
source "$(dirname "$0")/venv.sh" dev

say "ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
say "mypy"
.venv/bin/mypy
say "pytest"
.venv/bin/python -m pytest --numprocesses auto --dist worksteal -m "not slow" "$@"
