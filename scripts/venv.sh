# Sourced by quickstart.sh and test.sh: enters the repository root, makes .venv if need be, and installs this project with the extras named.
# Usage: source scripts/venv.sh EXTRAS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=$(basename "$0")
trap 'echo "$name: stopped, because this failed: $BASH_COMMAND" >&2' ERR

say() { printf '\n==> %s\n' "$*"; }

# pip too, because a run interrupted while making .venv leaves one without it.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
        echo "$name: needs Python 3.10 to 3.13 with its venv module; '$python' is not that. Install it (Debian: apt-get install python3-venv), or set PYTHON to one." >&2
        exit 1
    fi
    say "Making the virtual environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
say "Installing elegans_pyg with the extras [$1] into .venv (the first time takes a few minutes)"
# torch first, by its exact version: an open range can choose a build several gigabytes larger.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$1]"
