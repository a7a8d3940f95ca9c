#!/usr/bin/env bash
# Installs into .venv, then does what waits for a GPU, for at most 29 minutes a call: scripts/gpu_day.py, which gets the arguments.
source "$(dirname "$0")/venv.sh" dev,images

say "Measuring: scripts/gpu_day.py $*"
.venv/bin/python scripts/gpu_day.py "$@"
