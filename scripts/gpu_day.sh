#!/usr/bin/env bash
# Installs into .venv, then does all that waits for a GPU in under 30 minutes: scripts/gpu_day.py, which gets the arguments.
source "$(dirname "$0")/venv.sh" dev,images

say "Measuring: scripts/gpu_day.py $*"
.venv/bin/python scripts/gpu_day.py "$@"
