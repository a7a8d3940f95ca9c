#!/usr/bin/env bash
# Installs into .venv, then trains the hermaphrodite connectome and its nulls together on the embedded digits.
# Arguments go to the main job: ./scripts/quickstart.sh --iterations 100
source "$(dirname "$0")/venv.sh" fast

say "Training the connectome and its nulls on the embedded digits: elegans-pyg ensemble $*"
.venv/bin/elegans-pyg ensemble "$@"

echo "Next, your own wiring: source .venv/bin/activate, then elegans-pyg ensemble --connectome FILE (docs/your_own_connectome.md)"
